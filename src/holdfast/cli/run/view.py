"""The documented JSON form of a run: names and meanings stay as they are, new ones may be added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from holdfast.client import RunDescription, RunSummary
from holdfast.core.states import RUN_KINDS, RunKind

_KINDS = {kind: word for word, kind in RUN_KINDS.items()}


def as_json(run: RunSummary | RunDescription) -> dict[str, object]:
    """All fields of a summary or description by their names in Python; ``kind`` is workflow, job, message or driven."""
    view = cast("dict[str, object]", _plain(run))
    view["kind"] = _KINDS[run.kind]
    return view


def _plain(value: Any) -> object:
    """Data classes become objects by the names of their fields, recursively."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("list[object]", value)]
    return value


def kind_word(kind: RunKind) -> str:
    """What people call it."""
    return _KINDS[kind]
