"""One function, read: what is wrong in it, and what it calls."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.core.definition import Definition
from holdfast.lint import mutation, sets
from holdfast.lint.rules import ALSO_UNCALLED, METHODS, Rule, rule_for
from holdfast.lint.scope import NOTHING, Scope, Thing
from holdfast.lint.source import Source, plain_function


@dataclass(frozen=True, slots=True)
class Place:
    """Something wrong, where it stands in its file."""

    node: ast.AST
    subject: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Called:
    """A function that is called; ``owner`` is the class that it is a method of."""

    function: Callable[..., Any]
    owner: type | None = None


class Reader:
    """Reads one function."""

    def __init__(self, function: Callable[..., Any], source: Source, owner: type | None = None) -> None:
        self._node = source.node
        self._scope = Scope(function, source.node, owner)

    def places(self) -> Iterator[Place]:
        """Everything that is wrong in it, what it calls left aside."""
        called = {id(node.func) for node in self._inside() if isinstance(node, ast.Call)}
        for node in self._inside():
            if isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield from self._mention(node, called=id(node) in called)
        for body in self._bodies():
            for found in sets.places(body, self._scope):
                yield Place(found, ast.unparse(found), sets.UNORDERED)
            for changed, subject, rule in mutation.places(body, self._scope):
                yield Place(changed, subject, rule)

    def calls(self) -> Iterator[Called]:
        """The functions that it calls, as far as can be told; activities and workflows are not among them."""
        for node in self._inside():
            if not isinstance(node, ast.Call):
                continue
            value = self._scope.thing(node.func).value
            if isinstance(value, Definition):
                continue
            if isinstance(value, type):
                yield from self._made(value)
                continue
            function = plain_function(value)
            if function is not None:
                owner = self._scope.class_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
                yield Called(function, owner)

    def _made(self, kind: type) -> Iterator[Called]:
        for name in ("__init__", "__post_init__"):
            function = plain_function(kind.__dict__.get(name))
            if function is not None:
                yield Called(function, kind)

    def _call(self, node: ast.Call) -> Iterator[Place]:
        thing = self._scope.thing(node.func)
        rule = None if _is_fine(thing) else rule_for(thing.name) if thing.name is not None else None
        if rule is not None:
            given = len(node.args) + len(node.keywords)
            if rule.arguments is None or given < rule.arguments:
                yield Place(node, f"{_words(node.func)}()", rule)
        elif thing.value is NOTHING and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            yield Place(node, f"{_words(node.func)}()", METHODS[node.func.attr])

    def _mention(self, node: ast.Name | ast.Attribute, *, called: bool) -> Iterator[Place]:
        """A name that is wrong without being called here: the environment, or a function that is handed on."""
        thing = self._scope.thing(node)
        if thing.name is None or called:
            return
        rule = rule_for(thing.name)
        if rule is None or _is_fine(thing):
            return
        if thing.name in ALSO_UNCALLED or (
            callable(thing.value) and not isinstance(thing.value, type) and id(node) in self._handed_on()
        ):
            yield Place(node, _words(node), rule)

    def _handed_on(self) -> set[int]:
        return {
            id(value)
            for node in self._inside()
            if isinstance(node, ast.Call)
            for value in (*node.args, *(keyword.value for keyword in node.keywords))
        }

    def _bodies(self) -> list[ast.AST]:
        node = self._node
        return [node.body] if isinstance(node, ast.Lambda) else list(node.body)

    def _inside(self) -> Iterator[ast.AST]:
        """The code of the function, without its decorators, defaults and annotations: those are no part of a run."""
        for body in self._bodies():
            yield from _without_annotations(body)


def _without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    passed_by = [getattr(node, field, None) for field in ("annotation", "returns", "decorator_list", "args")]
    if isinstance(node, ast.Call):
        passed_by = []
    for inner in ast.iter_child_nodes(node):
        if not any(inner is one or (isinstance(one, list) and inner in one) for one in passed_by):
            yield from _without_annotations(inner)


def _is_fine(thing: Thing) -> bool:
    """An exception that is made or caught; a generator of random numbers of the run's own, which has its seed."""
    if isinstance(thing.value, type) and issubclass(thing.value, BaseException):
        return True
    return (thing.name or "").startswith("random.Random.") and not thing.outer


def _words(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"…{text[-59:]}"
