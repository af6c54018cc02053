"""The source of functions: where it stands, what it is, and what its comments allow."""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_WRAPPERS = (functools.partial, staticmethod, classmethod, FunctionType, MethodType)
_BLANK = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
_ALLOW = re.compile(r"#\s*holdfast:\s*allow\b[\s:,(–—-]*([^#]*?)\)?\s*(?:#.*)?$")


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its tree, and the reasons of ``# holdfast: allow`` by the lines that they hold for."""

    file: str
    tree: ast.Module
    allows: dict[int, str]


@dataclass(frozen=True, slots=True)
class Source:
    """One function: its tree, in its file."""

    module: Module
    node: FunctionNode


def plain_function(value: object) -> Callable[..., Any] | None:
    """The function behind decorators, partials, bound methods and the like; None if it is not written in Python."""
    for _ in range(20):
        behind = next((getattr(value, name) for name in ("func", "__func__", "__wrapped__") if _has(value, name)), None)
        if behind is None:
            break
        value = behind
    return value if inspect.isfunction(value) else None


def _has(value: object, name: str) -> bool:
    """Whether there is something behind it: objects of other kinds may answer to any name."""
    kind: type = type(value)
    wraps = issubclass(kind, _WRAPPERS) or kind.__module__ == "functools"
    return wraps and inspect.getattr_static(value, name, None) is not None


def source_of(function: Callable[..., Any]) -> Source | None:
    """The source of a function; None where it cannot be read."""
    code = function.__code__
    module = _module(code.co_filename)
    if module is None:
        return None
    found = [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and code.co_firstlineno in (node.lineno, _first_line(node))
        and code.co_name == getattr(node, "name", "<lambda>")
    ]
    return Source(module, found[0]) if found else None


def _first_line(node: FunctionNode) -> int:
    """With its decorators, as a code object counts."""
    decorators = getattr(node, "decorator_list", [])
    lines: list[int] = [node.lineno, *(decorator.lineno for decorator in decorators)]
    return min(lines)


@functools.lru_cache(maxsize=512)
def _module(file: str) -> Module | None:
    try:
        text = Path(file).read_text(encoding="utf-8")
        return Module(file, ast.parse(text, file), _allows(text))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return None


def forget() -> None:
    """Reads files anew from now on."""
    _module.cache_clear()


def _allows(text: str) -> dict[int, str]:
    """A comment at the end of a line holds for that line; one that stands alone, for the next line of code."""
    allows: dict[int, str] = {}
    waiting: str | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found = _ALLOW.match(token.string)
            if found is None:
                continue
            if token.line[: token.start[1]].strip():
                allows[token.start[0]] = found[1]
            else:
                waiting = found[1]
        elif waiting is not None and token.type not in (
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
        ):
            allows[token.start[0]] = waiting
            waiting = None
    return allows
