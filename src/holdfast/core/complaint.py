"""The words for what is wrong with a value: where it is, what was expected, what was given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_json

_MOST_LINES = 20
_ABSENT = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_SURPLUS = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_WITHOUT_GIVEN = _ABSENT | _SURPLUS | {"json_invalid"}
_LONGEST_GIVEN = 60
_DEEPEST = 200
"""Levels of nesting that can be read back."""


def complaints(error: ValidationError, value: object) -> list[str]:
    """One sentence for each field of ``value`` that does not fit; the alternatives of a union are one."""
    expected: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        path = _path(detail, value)
        sentences = expected.setdefault(path, [])
        if (sentence := _sentence(detail)) not in sentences:
            sentences.append(sentence)
        if detail["type"] not in _WITHOUT_GIVEN:
            given[path] = f", given {short(detail['input'])}"
    return [
        f"{path}{': ' if path else ''}{' or '.join(sentences)}{given.get(path, '')}"
        for path, sentences in expected.items()
    ]


def listed(lines: Sequence[str]) -> str:
    """``does not fit: …``, on one line for one, on a line each for several."""
    if len(lines) == 1:
        return f"does not fit: {lines[0]}"
    shown = [f"\n  {line}" for line in lines[:_MOST_LINES]]
    more = f"\n  and {len(lines) - _MOST_LINES} more" if len(lines) > _MOST_LINES else ""
    return f"does not fit:{''.join(shown)}{more}"


def culprit(value: object) -> str | None:
    """The first thing inside ``value`` that JSON cannot hold, with its path; None if all of it can be."""
    return next(_culprits(value, "", (), None), None)


def short(value: object) -> str:
    """``value`` as people write it, cut to what fits into a message."""
    try:
        text = getattr(value, "__name__", None) if isinstance(value, type) else None
        text = text or repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_GIVEN else f"{text[: _LONGEST_GIVEN - 1]}…"


def join(path: str, key: object) -> str:
    """The path of the item ``key`` of what is at ``path``."""
    if isinstance(key, str):
        return f"{path}.{key}" if path else key
    return f"{path}[{short(key)}]"


def children(value: object) -> Iterator[tuple[object, object]]:
    """What is directly inside ``value``, by key, index or field name."""
    if isinstance(value, str | bytes | bytearray):
        return
    if isinstance(value, Mapping):
        yield from cast("Mapping[object, object]", value).items()
    elif isinstance(value, Sequence | set | frozenset):
        yield from enumerate(cast("Sequence[object]", value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name, None)
    elif isinstance(value, BaseModel):
        yield from value.__dict__.items()


def _culprits(value: object, path: str, above: tuple[int, ...], model: BaseModel | None) -> Iterator[str]:
    where = f"{path} " if path else "it "
    if id(value) in above:
        yield f"{where}contains itself"
        return
    if len(above) > _DEEPEST:
        yield f"it is nested deeper than {_DEEPEST} levels"
        return
    if isinstance(value, str):
        yield from _text_culprits(value, where)
        return
    if isinstance(value, bytes):
        yield from _bytes_culprits(value, where, model)
        return
    if isinstance(value, BaseModel):
        model = value
    inside = list(children(value))
    for key, child in inside:
        if isinstance(key, str):
            yield from _text_culprits(key, f"a key in {path or 'it'} ")
        yield from _culprits(child, join(path, key), (*above, id(value)), model)
    if not inside:
        yield from _leaf_culprits(value, where)


def _text_culprits(text: str, where: str) -> Iterator[str]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        character = f"U+{ord(text[error.start]):04X}"
        yield f"{where}holds {character}, half of a surrogate pair, which is not text (position {error.start})"


def _bytes_culprits(data: bytes, where: str, model: BaseModel | None) -> Iterator[str]:
    """A model has a configuration of its own, for all that is in it, which by default writes bytes as UTF-8."""
    if model is None or model.model_config.get("ser_json_bytes", "utf8") != "utf8":
        return
    try:
        data.decode()
    except UnicodeDecodeError:
        yield (
            f"{where}is bytes that are not UTF-8; give {type(model).__qualname__} "
            "model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
        )


def _leaf_culprits(value: object, where: str) -> Iterator[str]:
    try:
        to_json(value, bytes_mode="base64", inf_nan_mode="strings")
    except Exception:
        yield (
            f"{where}is {short(value)}, and JSON has no form for the type {type(value).__qualname__}; "
            "pass a dataclass, or the plain values that are needed"
        )


def _path(detail: ErrorDetails, value: object) -> str:
    """Where it is, without the labels that pydantic adds: the members of a union, and the like."""
    path = ""
    last = len(detail["loc"]) - 1
    for depth, key in enumerate(detail["loc"]):
        inside = _Inside(value)
        if key in inside:
            path, value = join(path, key), inside[key]
        elif depth == last and detail["type"] in _ABSENT | _SURPLUS:
            path = join(path, key)
    return path


class _Inside(dict[object, object]):
    """What is directly inside a value: nothing, if it cannot be looked at."""

    def __init__(self, value: object) -> None:
        try:
            super().__init__(children(value))
        except Exception:
            super().__init__()


def _sentence(detail: ErrorDetails) -> str:
    if detail["type"] in _ABSENT:
        return "is missing"
    if detail["type"] in _SURPLUS:
        return "is unknown"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if message.startswith("Input should "):
        return message.removeprefix("Input ")
    return message[:1].lower() + message[1:]
