"""What the names in a function stand for, as far as it can be told without executing it."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from holdfast.core.definition import Definition
from holdfast.lint.names import Names
from holdfast.lint.rules import plain_name
from holdfast.lint.source import FunctionNode


class _Nothing:
    """There is no object at hand."""


NOTHING: Final = _Nothing()


@dataclass(frozen=True, slots=True)
class Thing:
    """What an expression stands for: an object of a loaded module, or at least its full name."""

    value: object = NOTHING
    name: str | None = None
    outer: bool = False
    """Whether it lives longer than the run: in a module, or in a function around the workflow."""


UNKNOWN = Thing()


class Scope:
    """The names of one function. ``owner`` is the class that ``self`` is of, where that is known."""

    def __init__(self, function: Callable[..., Any], node: FunctionNode, owner: type | None = None) -> None:
        self._globals: dict[str, Any] = function.__globals__
        self._cells: dict[str, object] = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                self._cells[name] = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
        self._names = Names(node)
        self._owner = owner
        self._first = _first_parameter(node) if owner is not None else None

    def thing(self, node: ast.expr) -> Thing:
        """What this expression stands for."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        return UNKNOWN

    def class_of(self, node: ast.expr) -> type | None:
        """The class that the value of this expression is of, where that can be told."""
        if isinstance(node, ast.Await):
            return None
        if isinstance(node, ast.Call):
            called = self.thing(node.func).value
            return called if isinstance(called, type) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self.class_of(node.left)
        if isinstance(node, ast.Name):
            if self._owner is not None and node.id == self._first:
                return self._owner
            return self._class_of_name(node.id)
        return None

    def assigned(self, name: str) -> list[ast.expr | None]:
        """What is assigned to a local name; None among it: something that cannot be told."""
        return self._names.assigned.get(name, [])

    def annotation(self, name: str) -> ast.expr | None:
        """How a parameter or local name is annotated."""
        return self._names.annotations.get(name)

    def is_declared_global(self, name: str) -> bool:
        """Whether the function says that it assigns the module's name."""
        return name in self._names.declared_global

    def is_local(self, name: str) -> bool:
        """Whether the function has this name for itself."""
        return name in self._names.own

    def _class_of_name(self, name: str) -> type | None:
        if name not in self._names.own:
            value: Any = self._named(name).value
            return None if value is NOTHING or _is_definition(value) else _kind(value)
        if name in self._names.annotations:
            annotated = self.thing(self._names.annotations[name]).value
            return annotated if isinstance(annotated, type) else None
        values = self._names.assigned.get(name, [])
        classes = {None if value is None or _is_itself(value, name) else self.class_of(value) for value in values}
        return classes.pop() if len(classes) == 1 else None

    def _named(self, name: str) -> Thing:
        if name in self._names.imports:
            return _imported(self._names.imports[name])
        if name in self._names.own:
            return UNKNOWN
        for place in (self._cells, self._globals):
            if name in place:
                return _described(place[name], outer=True)
        value = getattr(builtins, name, NOTHING)
        return UNKNOWN if value is NOTHING else _described(value)

    def _attribute(self, node: ast.Attribute) -> Thing:
        base = self.thing(node.value)
        if base.value is NOTHING and base.name is None:
            kind = self.class_of(node.value)
            if kind is None:
                return UNKNOWN
            return Thing(_static(kind, node.attr), plain_name(f"{_full_name(kind)}.{node.attr}"))
        return _member(base, node.attr)


def _first_parameter(node: FunctionNode) -> str | None:
    parameters = [*node.args.posonlyargs, *node.args.args]
    return parameters[0].arg if parameters else None


def _is_itself(value: ast.expr, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(value))


def _imported(name: str) -> Thing:
    """What an import statement gives; only what is loaded already is looked at."""
    if name in sys.modules:
        return Thing(sys.modules[name], name, outer=True)
    module, _, attribute = name.rpartition(".")
    if module in sys.modules:
        value = getattr(sys.modules[module], attribute, NOTHING)
        if value is not NOTHING:
            return _described(value, outer=True, otherwise=name)
    return Thing(name=plain_name(name), outer=True)


def _member(base: Thing, attribute: str) -> Thing:
    dotted = None if base.name is None else plain_name(f"{base.name}.{attribute}")
    value: Any = base.value
    if value is NOTHING:
        return Thing(name=dotted, outer=base.outer)
    if _is_module(value):
        return Thing(value.__dict__.get(attribute, NOTHING), dotted, outer=True)
    if _is_run(value):
        return Thing(value.fn if attribute == "fn" else NOTHING, None)
    if _is_class(value):
        return Thing(_static(value, attribute), dotted)
    kind = _kind(value)
    return Thing(_static(kind, attribute), plain_name(f"{_full_name(kind)}.{attribute}"), outer=base.outer)


def _static(kind: type, attribute: str) -> object:
    return inspect.getattr_static(kind, attribute, NOTHING)


def _described(value: Any, *, outer: bool = False, otherwise: str | None = None) -> Thing:
    if _is_module(value):
        return Thing(value, value.__name__, outer=outer)
    if _is_run(value):
        return Thing(value, None, outer=outer)
    if _is_definition(value):
        return Thing(value, _full_name(value) or otherwise, outer=outer)
    for module, attribute in (("os", "environ"), ("os", "environb"), ("sys", "argv")):
        if value is getattr(sys.modules[module], attribute, NOTHING):
            return Thing(value, f"{module}.{attribute}", outer=outer)
    return Thing(value, _full_name(_kind(value)), outer=outer)


# Plain answers: what a type checker would conclude from them about `Any` is of no use.


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleType)


def _is_class(value: object) -> bool:
    return isinstance(value, type)


def _is_run(value: object) -> bool:
    """Whether runs can be made of it: a workflow or an activity."""
    return isinstance(value, Definition)


def _is_definition(value: object) -> bool:
    """Whether it is what a module defines, and not a value that it holds."""
    return _is_module(value) or _is_class(value) or _is_run(value) or inspect.isroutine(value)


def _kind(value: object) -> type:
    return value.__class__


def _full_name(value: object) -> str | None:
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    bound = getattr(value, "__self__", None)
    if bound is not None and not isinstance(bound, ModuleType | type):
        # A method of an object that lives in a module: random.randint is one of its hidden generator.
        module, name = type(bound).__module__, f"{type(bound).__qualname__}.{getattr(value, '__name__', '?')}"
    if isinstance(bound, type):
        module, name = bound.__module__, f"{bound.__qualname__}.{getattr(value, '__name__', '?')}"
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return plain_name(f"{module}.{name}")
