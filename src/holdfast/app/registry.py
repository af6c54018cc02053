"""The definitions of one app, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError
from holdfast.core.states import RunKind
from holdfast.core.version import rank


class Registry:
    """Workflows and activities by name: one name, one definition, whatever its kind; or versions of one workflow."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition[..., Any]] = {}
        self._executables: dict[str, Definition[..., Any]] = {}
        self.definitions: Mapping[str, Definition[..., Any]] = MappingProxyType(self._definitions)
        """What new runs are made of, by name: of several versions the highest. What is added later is seen here too."""
        self.executables: Mapping[str, Definition[..., Any]] = MappingProxyType(self._executables)
        """All of them, by the names that tasks have: each version for itself."""

    def add(self, definition: Definition[..., Any]) -> None:
        """Takes the definition in.

        Raises:
            DefinitionError: another one has its name, or cannot be told from it; the message says where both are.
        """
        for other in self._others(definition):
            raise DefinitionError(
                f"{definition.what} at {place_of(definition.fn)} has the name of {other.what} at {place_of(other.fn)}; "
                "give one of them another with name="
                + (", or another version with version=" if definition.kind is RunKind.WORKFLOW is other.kind else "")
            )
        self._executables[definition.task_name] = definition
        newest = self._definitions.get(definition.name)
        if newest is None or rank(newest.version) < rank(definition.version):
            self._definitions[definition.name] = definition

    def _others(self, definition: Definition[..., Any]) -> Iterable[Definition[..., Any]]:
        """Those that it cannot be registered beside."""
        for other in self._executables.values():
            if other.name == definition.name and (
                RunKind.ACTIVITY in (other.kind, definition.kind) or rank(other.version) == rank(definition.version)
            ):
                yield other


def place_of(fn: Callable[..., object]) -> str:
    """Where the function is written: ``shop/orders.py:12``."""
    function = inspect.unwrap(fn)
    code = getattr(function, "__code__", None)
    if code is None:
        return f"module {getattr(fn, '__module__', '?')}"
    return f"{code.co_filename}:{code.co_firstlineno}"
