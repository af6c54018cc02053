"""What makes an activity transactional: its library and its isolation level."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.core.errors import DefinitionError
from holdfast.core.hints import annotation_of
from holdfast.core.isolation import ISOLATION_LEVELS, IsolationLevel
from holdfast.integrations.catalogue import class_names, library_for
from holdfast.integrations.library import Library

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactional:
    """The transaction that an activity is given; without an isolation level it is the database's own default."""

    library: Library
    isolation_level: IsolationLevel | None = None

    @classmethod
    def of(
        cls, fn: Callable[..., object], library: Library | None, isolation_level: IsolationLevel | None, *, what: str
    ) -> Transactional:
        """As the function says by its first parameter, if no library is given.

        Raises:
            DefinitionError: it says nothing that can be used.
        """
        given: Any = library
        if given is not None and (isinstance(given, type) or not hasattr(given, "source")):
            raise DefinitionError(
                f"{what}: transactional= takes True, or a library such as Psycopg() of holdfast.integrations.psycopg, "
                f"and not {given!r}"
            )
        first = connection_parameter(fn, what=what)
        annotation = annotation_of(fn, first)
        if library is None:
            library = library_for(annotation, what)
        elif annotation is not None:
            library = library.fitted(class_names(annotation))
        return cls(library=library, isolation_level=isolation_level)

    def check(self, what: str, *, is_async: bool, max_concurrency: int | None) -> None:
        """Raises DefinitionError where this does not fit the function or its other options."""
        level: Any = self.isolation_level
        if level is not None and level not in ISOLATION_LEVELS:
            raise DefinitionError(f"{what}: isolation_level={level!r} is not one of {', '.join(ISOLATION_LEVELS)}")
        if self.library.is_async != is_async:
            kind = "an `async def`" if self.library.is_async else "a plain `def`, which runs in a thread"
            raise DefinitionError(f"{what}: with a connection of {self.library} it has to be {kind}")
        if max_concurrency is not None:
            raise DefinitionError(f"{what}: the worker's max_transactions= limits it, max_concurrency= does not")


def connection_parameter(fn: Callable[..., object], *, what: str) -> str:
    """The name of the first parameter, which takes the connection.

    Raises:
        DefinitionError: there is none that can be passed by position.
    """
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{what}: its parameters cannot be read: {error}") from error
    if not parameters or parameters[0].kind not in _BY_POSITION:
        raise DefinitionError(
            f"{what} is transactional, so its first parameter takes the connection: "
            "write `async def activity(connection: asyncpg.Connection, ...)`"
        )
    return parameters[0].name
