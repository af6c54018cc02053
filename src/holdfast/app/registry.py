"""The definitions of one app, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError


class Registry:
    """Workflows and activities by name: one name, one definition, whatever its kind."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition[..., Any]] = {}
        self.definitions: Mapping[str, Definition[..., Any]] = MappingProxyType(self._definitions)
        """All of them, for reading; what is added later is seen here too."""

    def add(self, definition: Definition[..., Any]) -> None:
        """Takes the definition in.

        Raises:
            DefinitionError: another one has its name; the message says where both are.
        """
        other = self._definitions.get(definition.name)
        if other is not None:
            raise DefinitionError(
                f"{definition.what} at {place_of(definition.fn)} has the name of {other.what} at {place_of(other.fn)}; "
                "give one of them another with name="
            )
        self._definitions[definition.name] = definition


def place_of(fn: Callable[..., object]) -> str:
    """Where the function is written: ``shop/orders.py:12``."""
    function = inspect.unwrap(fn)
    code = getattr(function, "__code__", None)
    if code is None:
        return f"module {getattr(fn, '__module__', '?')}"
    return f"{code.co_filename}:{code.co_firstlineno}"
