"""Where the order of a set comes into play: it follows hashes, which differ between processes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from holdfast.lint.rules import Rule
from holdfast.lint.scope import Scope

UNORDERED = Rule(
    "set-order",
    "goes through a set, whose order differs between processes",
    "go through sorted(...), or use a list or the keys of a dict, which keep their order",
)

_ORDERED = frozenset({"list", "tuple", "enumerate", "iter", "zip", "map", "filter", "next", "reversed", "dict"})
_INDIFFERENT = frozenset({"sorted", "set", "frozenset", "sum", "min", "max", "any", "all", "len"})
_GIVE_SETS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_ANNOTATED = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})


def places(tree: ast.AST, scope: Scope) -> Iterator[ast.expr]:
    """The sets in this tree that are gone through in their order."""
    indifferent = {
        argument
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _INDIFFERENT
        for argument in call.args
    }
    for node in ast.walk(tree):
        for found in _ordered(node, indifferent):
            if is_set(found, scope):
                yield found


def _ordered(node: ast.AST, indifferent: set[ast.expr]) -> Iterator[ast.expr]:
    """What this node goes through, where the order matters."""
    match node:
        case ast.For(iter=through):
            yield through
        case ast.ListComp(generators=generators) | ast.DictComp(generators=generators):
            yield from (one.iter for one in generators) if node not in indifferent else ()
        case ast.GeneratorExp(generators=generators):
            yield from (one.iter for one in generators) if node not in indifferent else ()
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _ORDERED and node not in indifferent:
            yield from arguments
        case ast.Call(func=ast.Attribute(attr="join"), args=[only]):
            yield only
        case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]):
            yield owner
        case ast.Starred(value=value, ctx=ast.Load()):
            yield value
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
            yield value
        case _:
            return


def is_set(node: ast.expr, scope: Scope, depth: int = 0) -> bool:
    """Whether the value of this expression is a set, as far as can be told."""
    if depth > 8:
        return False
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset" as name)):
            return not scope.is_local(name)
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in _GIVE_SETS:
            return is_set(owner, scope, depth + 1)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return is_set(left, scope, depth + 1) or (
                not isinstance(node.op, ast.Sub) and is_set(right, scope, depth + 1)
            )
        case ast.IfExp(body=body, orelse=other):
            return is_set(body, scope, depth + 1) or is_set(other, scope, depth + 1)
        case ast.Name(id=name):
            return _named_set(name, scope, depth)
        case _:
            return False


def _named_set(name: str, scope: Scope, depth: int) -> bool:
    if not scope.is_local(name):
        return isinstance(scope.thing(ast.Name(id=name, ctx=ast.Load())).value, set | frozenset)
    annotation = scope.annotation(name)
    if annotation is not None:
        return _is_set_annotation(annotation)
    values = scope.assigned(name)
    return bool(values) and all(
        value is not None and not _is(value, name) and is_set(value, scope, depth + 1) for value in values
    )


def _is(value: ast.expr, name: str) -> bool:
    return isinstance(value, ast.Name) and value.id == name


def _is_set_annotation(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.partition("[")[0].rpartition(".")[2] in _ANNOTATED
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Attribute):
        return annotation.attr in _ANNOTATED
    return isinstance(annotation, ast.Name) and annotation.id in _ANNOTATED
