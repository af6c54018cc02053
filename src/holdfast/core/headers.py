"""The headers of a run: a small map of text that travels with it, from its start to its activities and children.

They stand in the run's options, in plain sight: a codec is for payloads, and headers are for what stands around them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast

Headers = Mapping[str, str]

MOST_BYTES = 8192
"""Of all headers of a run together, as JSON."""

NONE: Headers = MappingProxyType({})
"""No headers."""

_FIELD = "headers"


def headers_of(options: str | None) -> Headers:
    """The headers of a run, from its options as they are stored."""
    # Most runs have no options, and most options no headers: those are not parsed.
    if options is None or _FIELD not in options:
        return NONE
    found = cast("dict[str, dict[str, str]]", json.loads(options)).get(_FIELD)
    return MappingProxyType(found) if found else NONE


def options_with(options: str | None, headers: Headers) -> str | None:
    """The options as they are stored, with these headers among them."""
    if not headers:
        return options
    fields: dict[str, Any] = {} if options is None else json.loads(options)
    return json.dumps({**fields, _FIELD: dict(headers)}, separators=(",", ":"))


def header_mistakes(headers: object) -> Iterator[str]:
    """What is wrong with headers that come from untyped code."""
    if headers is None:
        return
    if not isinstance(headers, Mapping):
        yield f"headers is {headers!r}: use a mapping of text to text"
        return
    size = 0
    pairs: Mapping[Any, Any] = headers  # pyright: ignore[reportUnknownVariableType]
    for name, value in pairs.items():
        if not isinstance(name, str) or not isinstance(value, str):
            yield f"headers has {name!r}: {value!r}: use text for both"
        elif not _is_storable(name) or not _is_storable(value):
            yield f"headers has {name!r}: {value!r}: it contains a character that cannot be stored"
        else:
            size += len(json.dumps(name)) + len(json.dumps(value)) + 2
    if size > MOST_BYTES:
        yield f"headers has {size} bytes as JSON: use {MOST_BYTES} at most, and the input for what is larger"


def _is_storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
