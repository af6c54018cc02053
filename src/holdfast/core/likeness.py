"""Whether a value that was written and read back is still the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

from pydantic import SecretBytes, SecretStr

from holdfast.core.complaint import children, join, short

_PLAIN = (str, int, float, list, dict, type(None))
"""What JSON itself knows, so that it is read back as what it was."""
_ARRAYS = (list, tuple)
_SECRETS = (SecretStr, SecretBytes)


def alike(one: object, other: object) -> bool:
    """Whether both mean the same: equal, with NaN equal to NaN, and a tuple to a list with the same items."""
    try:
        return _alike(one, other)
    except RecursionError:
        return False


def loss(given: object, read: object, path: str = "") -> str | None:
    """What of ``given`` did not come back, with its path; None if nothing was lost.

    That a value comes back as another one is no loss in itself: validators may change it. It is one where something
    that JSON does not know comes back as plain JSON, where bytes come back as other bytes, and where a part is missing.
    """
    where = path or "it"
    if isinstance(given, float) and not math.isfinite(given):
        if isinstance(read, float | Decimal):
            return None
        return f"{where} is {given}, which JSON has no number for; annotate it as float"
    if isinstance(given, bytes | bytearray):
        return _loss_of_bytes(bytes(given), read, where)
    if not _is_a(given, *_PLAIN, Mapping, Sequence) and type(read) in _PLAIN:
        return (
            f"{where} is {short(given)}, a {type(given).__qualname__}, and would be read back as {short(read)}; "
            "annotate it with its type, or pass plain JSON"
        )
    if isinstance(given, _SECRETS) and given != read:
        return f"{where} is a {type(given).__qualname__}, which is only written with its text masked; pass it as str"
    if _is_a(given, AbstractSet):
        return None
    return _loss_inside(given, read, path)


def _alike(one: object, other: object) -> bool:
    if _equal(one, other):
        return True
    if isinstance(one, float | Decimal) and isinstance(other, float | Decimal):
        return math.isnan(one) and math.isnan(other)
    comparable = type(one) is type(other) or (_is_a(one, *_ARRAYS) and _is_a(other, *_ARRAYS))
    if not comparable or _is_a(one, AbstractSet):
        return False
    inside, others = list(children(one)), dict(children(other))
    return (
        len(inside) == len(others) > 0
        and all(key in others for key, _ in inside)
        and all(_alike(item, others[key]) for key, item in inside)
    )


def _is_a(value: object, *kinds: type) -> bool:
    """``isinstance`` for a look at any value, after which it is still any value to a type checker."""
    return isinstance(value, kinds)


def _equal(one: object, other: object) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


def _loss_of_bytes(given: bytes, read: object, where: str) -> str | None:
    if isinstance(read, bytes | bytearray):
        if bytes(read) == given:
            return None
        return (
            f"{where} is bytes that would not come back as they are; give its class "
            "ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
        )
    if type(read) in _PLAIN:
        return f"{where} is bytes, and would be read back as {short(read)}; annotate it as bytes"
    return None


def _loss_inside(given: object, read: object, path: str) -> str | None:
    others = dict(children(read))
    for key, item in children(given):
        if key in others:
            if problem := loss(item, others[key], join(path, key)):
                return problem
        elif _is_a(given, Mapping) and _is_a(read, Mapping):
            if problem := _loss_of_key(key, others, path):
                return problem
        elif type(given) is not type(read) and isinstance(given, type(read)) and isinstance(key, str):
            return (
                f"{path or 'it'} is a {type(given).__qualname__}, and would be read back as a "
                f"{type(read).__qualname__}, without {key!r}; annotate it with its own type, or a union"
            )
    return None


def _loss_of_key(key: object, read: Mapping[object, object], path: str) -> str | None:
    where = path or "it"
    if isinstance(key, str):
        return f"{where} has the key {short(key)}, which its type does not declare"
    if any(isinstance(other, str) for other in read):
        kind = type(key).__qualname__
        return f"{where} has the key {short(key)}, and JSON has only text as keys; annotate it, as dict[{kind}, …]"
    return None
