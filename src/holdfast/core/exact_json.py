"""JSON as it was written: numbers keep their digits, whatever they mean to a computer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import cast

_quoted = json.JSONEncoder(ensure_ascii=False).encode
_escaped = json.JSONEncoder(ensure_ascii=True).encode


def read_exactly(text: str | bytes) -> object:
    """The value in JSON text; a number with a point or an exponent is a ``Decimal``.

    Raises:
        ValueError: it is not JSON.
    """
    value: object = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    return value


def write_exactly(value: object, *, indent: int | None = None) -> str:
    """JSON text of a value as ``read_exactly`` gives it; with ``indent``, a line for each field and item."""
    return _written(value, indent, 0)


def _written(value: object, indent: int | None, depth: int) -> str:
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        inner = [f"{_text(key)}:{_gap(indent)}{_written(one, indent, depth + 1)}" for key, one in fields.items()]
        return _enclosed("{", inner, "}", indent, depth)
    if isinstance(value, Sequence) and not isinstance(value, str):
        inner = [_written(one, indent, depth + 1) for one in cast("Sequence[object]", value)]
        return _enclosed("[", inner, "]", indent, depth)
    if isinstance(value, Decimal):
        return str(value)
    return _text(value) if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _enclosed(opening: str, inner: list[str], closing: str, indent: int | None, depth: int) -> str:
    if not inner:
        return opening + closing
    if indent is None:
        return opening + ",".join(inner) + closing
    margin = "\n" + " " * (indent * (depth + 1))
    return opening + margin + f",{margin}".join(inner) + "\n" + " " * (indent * depth) + closing


def _gap(indent: int | None) -> str:
    return "" if indent is None else " "


def _text(text: str) -> str:
    quoted = _quoted(text)
    # A lone surrogate has no form in UTF-8 but its escape.
    return _escaped(text) if any("\ud800" <= character <= "\udfff" for character in quoted) else quoted


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
