"""Which library an activity means, by what its first parameter is annotated with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from holdfast.core.errors import DefinitionError
from holdfast.integrations.asyncpg import Asyncpg
from holdfast.integrations.library import Library

_TAKES = "asyncpg.Connection"


def library_for(annotation: Any, what: str) -> Library:
    """The library whose connection this is; without an annotation it is asyncpg.

    Raises:
        DefinitionError: nobody here knows such a connection.
    """
    if annotation is None or annotation is Any:
        return Asyncpg()
    for name in _names(annotation):
        match name.partition(".")[0]:
            case "asyncpg":
                return Asyncpg()
            case _:
                continue
    raise DefinitionError(
        f"{what}: its first parameter takes the connection, and {_shown(annotation)} is not one that is known; "
        f"annotate it with {_TAKES}"
    )


def _names(annotation: Any) -> Iterator[str]:
    """The full names of the classes that it may be, those of their bases included."""
    if isinstance(annotation, str):
        # Imported for type checkers only: what stands there has to do.
        yield from re.findall(r"[\w.]+", annotation)
        return
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type):
        for one in origin.__mro__[:-1]:
            yield f"{one.__module__}.{one.__qualname__}"
    for argument in get_args(annotation):
        if isinstance(argument, type):
            yield from _names(argument)


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__qualname__", repr(annotation))
