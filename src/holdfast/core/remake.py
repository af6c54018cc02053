"""Taking an exception apart into plain values, and making an equal one from them.

Nothing here imports a module or trusts what it reads: a class is looked up among those that are loaded, and whatever
its code does while an instance is made, the caller gets an answer.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

from pydantic import JsonValue

from holdfast.core.errors import MissingClass
from holdfast.core.parameters import Parameters

_known: WeakKeyDictionary[type[Exception], Parameters] = WeakKeyDictionary()
"""What was found out about the ``__init__`` of a class, which takes a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an exception can be made from again: ``args`` for its class, or ``named`` ones; then its attributes."""

    args: tuple[JsonValue, ...] | None = None
    named: Mapping[str, JsonValue] | None = None
    state: Mapping[str, JsonValue] | None = None


def type_name(kind: type[BaseException]) -> str:
    """``module:qualname``."""
    return f"{kind.__module__}:{kind.__qualname__}"


def take_apart(error: BaseException, *, limit: int) -> Parts | None:
    """The parts from which an exception with the same ``args`` and message can be made; None if there are none.

    Of two ways the one is taken that gives all attributes back. Arguments or attributes of more than ``limit``
    characters of JSON are not kept. Never raises.
    """
    kind = type(error)
    if not isinstance(error, Exception) or loaded(type_name(kind)) is not kind:
        return None
    second_best: Parts | None = None
    for parts_of in (_by_args, _by_names):
        try:
            parts = parts_of(error, limit)
            if parts is None:
                continue
            made = _make(type(error), parts)
            if made.args == error.args and str(made) == str(error):
                if vars(made) == vars(error):
                    return parts
                second_best = second_best or parts
        except Exception:  # noqa: S112 - the class may do anything when it is made; then it is just not made
            continue
    return second_best


def put_together(name: str, parts: Parts) -> Exception:
    """The exception of the class ``name`` that was taken apart into ``parts``.

    Raises:
        MissingClass: this process has not loaded the class, or it cannot be made from these parts any more.
    """
    kind = loaded(name)
    if kind is None:
        raise MissingClass(name, "this process has not loaded")
    try:
        return _make(kind, parts)
    except Exception as error:
        raise MissingClass(name, f"cannot be made from what was recorded ({type(error).__name__}: {error})") from error


def loaded(name: str) -> type[Exception] | None:
    """The exception class of this name, ``module:qualname``, if this process has loaded it. Imports nothing."""
    module, _, qualname = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _by_args(error: Exception, limit: int) -> Parts | None:
    """By the arguments that pickle would pass: ``args``, and what a class adds, as OSError its file name."""
    reduced = error.__reduce__()
    if not isinstance(reduced, tuple) or reduced[0] is not type(error):
        return None
    args = list(cast("tuple[object, ...]", reduced[1]))
    if not _is_plain(args, limit):
        return None
    return Parts(args=tuple(cast("list[JsonValue]", args)), state=_state(error, limit))


def _by_names(error: Exception, limit: int) -> Parts | None:
    """By the parameters of ``__init__``, where each is kept in an attribute of the same name."""
    kind = type(error)
    values: dict[str, object] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if hasattr(error, name):
            values[name] = getattr(error, name)
        elif parameter.default is parameter.empty:
            return None
    named: object = json.loads(_parameters(kind).encode((), values).text)
    return Parts(named=cast("dict[str, JsonValue]", named)) if _is_plain(named, limit) else None


def _make(kind: type[Exception], parts: Parts) -> Exception:
    if parts.named is not None:
        args, kwargs = _parameters(kind).decode(json.dumps(parts.named))
        made = kind(*args, **kwargs)
    else:
        made = kind(*(parts.args or ()))
    if type(made) is not kind:
        raise TypeError(f"{kind.__qualname__} makes a {type(made).__qualname__}")
    if parts.state:
        vars(made).update(parts.state)
    return made


def _parameters(kind: type[Exception]) -> Parameters:
    if kind not in _known:
        _known[kind] = Parameters(kind, what=type_name(kind))
    return _known[kind]


def _state(error: Exception, limit: int) -> dict[str, JsonValue] | None:
    """The attributes that are plain JSON. The others stay behind, as a response or a connection has to."""
    kept = {name: value for name, value in vars(error).items() if _is_plain(value, limit)}
    return cast("dict[str, JsonValue]", kept) if kept and _is_plain(kept, limit) else None


def _is_plain(value: object, limit: int) -> bool:
    """Whether it is JSON that comes back as it is, and not too large."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        read: object = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return False
    return len(text) <= limit and read == value and type(read) is type(value)
