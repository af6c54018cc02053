"""Where workflow code changes what outlives its run: other runs see it, and a replay does it again."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator

from holdfast.lint.rules import Rule
from holdfast.lint.scope import Scope, Thing

CHANGED = Rule(
    "global-state",
    "changes what all runs of the process share, and again on each replay",
    "keep it in a local variable, or do it in an activity",
)
ADVANCED = Rule(
    "global-state",
    "takes the next of an iterator that all runs of the process share",
    "keep it in a local variable, or do it in an activity",
)

_CHANGING = frozenset(
    {
        *("append", "extend", "insert", "add", "update", "pop", "popitem", "remove", "discard", "clear", "setdefault"),
        *("sort", "reverse", "appendleft", "extendleft", "popleft", "rotate", "intersection_update"),
        *("difference_update", "symmetric_difference_update", "subtract"),
    }
)


def places(tree: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, str, Rule]]:
    """Each place in this tree, with how the thing that is changed is called there."""
    for node in ast.walk(tree):
        for target in _targets(node):
            root = _root(target)
            if isinstance(target, ast.Name):
                if scope.is_declared_global(target.id):
                    yield target, target.id, CHANGED
            elif root is not None and scope.thing(root).outer:
                yield target, ast.unparse(target), CHANGED
        if isinstance(node, ast.Call):
            yield from _call(node, scope)


def _call(node: ast.Call, scope: Scope) -> Iterator[tuple[ast.AST, str, Rule]]:
    match node.func:
        case ast.Attribute(value=owner, attr=name) if name in _CHANGING:
            root = _root(owner)
            if root is not None and scope.thing(root).outer and _may_change(owner, scope.thing(owner)):
                yield node, ast.unparse(owner), CHANGED
        case ast.Name(id="next") if node.args:
            thing = scope.thing(node.args[0])
            if thing.outer and hasattr(thing.value, "__next__"):
                yield node, ast.unparse(node.args[0]), ADVANCED
        case _:
            return


def _may_change(owner: ast.expr, thing: Thing) -> bool:
    """Of a name: whether it is a container. Of something in a container, nothing is known, so it may."""
    if isinstance(owner, ast.Name):
        return isinstance(thing.value, list | dict | set | deque | bytearray)
    return isinstance(owner, ast.Subscript) or isinstance(thing.value, list | dict | set | deque | bytearray)


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Assign(targets=targets):
            yield from (one for target in targets for one in _parts(target))
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            yield target
        case ast.Delete(targets=targets):
            yield from targets
        case ast.For(target=target):
            yield from _parts(target)
        case _:
            return


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from _parts(part)
    else:
        yield target


def _root(node: ast.expr) -> ast.Name | None:
    """The name that an expression like ``a.b[c].d`` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node if isinstance(node, ast.Name) else None
