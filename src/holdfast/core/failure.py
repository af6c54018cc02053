"""A failure as it is recorded: what was raised, where, because of what, and how to raise it again."""

from __future__ import annotations

import json
import traceback as tracebacks
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, cast

from pydantic import JsonValue

from holdfast.core.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    MissingClass,
)
from holdfast.core.remake import Parts, put_together, take_apart, type_name

Reason = Literal["error", "timeout", "cancelled", "crashes", "refused"]

_MESSAGE = 2_000
_TRACEBACK = 8_000
_CAUSE_TRACEBACK = 2_000
_PARTS = 8_000
_CAUSE_PARTS = 2_000
_FRAMES = 50
_CAUSES = 5
"""How many exceptions of a chain are kept, the outermost among them."""
_MEMBERS = 5
"""How many exceptions of a group are named in its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of an exception once its process is gone.

    ``type`` is ``module:qualname``. If ``rebuildable``, an equal exception can be made from ``args`` (or ``named``) and
    ``state``. All texts can be stored, and are cut to a limit.
    """

    type: str
    message: str
    args: Sequence[JsonValue] | None = None
    rebuildable: bool = False
    traceback: str | None = None
    cause: Failure | None = None
    reason: Reason = "error"
    named: Mapping[str, JsonValue] | None = None
    """Arguments by name, for a class that cannot be made from ``args``."""
    state: Mapping[str, JsonValue] | None = None
    """Attributes that were set on the exception."""

    @classmethod
    def of(cls, error: BaseException, *, reason: Reason = "error") -> Failure:
        """What is to be recorded of ``error``. Never raises, whatever the class of ``error`` does."""
        chain = _chain(error)
        cause: Failure | None = None
        for depth in range(len(chain) - 1, -1, -1):
            cause = cls._one(chain[depth], cause, reason if depth == 0 else "error", outermost=depth == 0)
        assert cause is not None
        return cause

    @classmethod
    def _one(cls, error: BaseException, cause: Failure | None, reason: Reason, *, outermost: bool) -> Failure:
        parts = take_apart(error, limit=_PARTS if outermost else _CAUSE_PARTS)
        return cls(
            type=_storable(type_name(type(error))),
            message=_cut(_message(error), _MESSAGE),
            args=None if parts is None or parts.args is None else list(parts.args),
            rebuildable=parts is not None,
            traceback=_traceback(error, _TRACEBACK if outermost else _CAUSE_TRACEBACK),
            cause=cause,
            reason=reason,
            named=None if parts is None else parts.named,
            state=None if parts is None else parts.state,
        )

    def to_json(self) -> str:
        """JSON text, without what is empty."""
        return json.dumps(self._fields(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Failure:
        """The failure that :meth:`to_json` wrote; fields of a later version are ignored."""
        return cls._from_fields(json.loads(text))

    def exception(self, name: str, *, child: bool = False) -> BaseException:
        """What to raise in the workflow that awaits this activity: the class that was raised, or ``ActivityFailed``.

        For a ``child``, a workflow of that name, it is ``ChildFailed``.

        Raises:
            MissingClass: it was a class that this process has not loaded.
        """
        # Whatever was raised when the time was over, a timeout is caught as one.
        if self.rebuildable and (self.reason != "timeout" or self.type == type_name(ActivityTimedOut)):
            raised: BaseException = put_together(self.type, self._parts)
        else:
            cause = None if self.cause is None else f"{self.cause.type}: {self.cause.message}"
            raised = _kind(self.reason, child=child)(name, self.type, self.message, self.traceback, cause)
        if self.cause is not None:
            raised.__cause__ = _cause(self.cause, name, child=child)
        return raised

    @property
    def _parts(self) -> Parts:
        return Parts(args=None if self.args is None else tuple(self.args), named=self.named, state=self.state)

    def _fields(self) -> dict[str, object]:
        fields: dict[str, object] = {"type": self.type, "message": self.message}
        optional = {
            "args": None if self.args is None else list(self.args),
            "named": self.named,
            "state": self.state,
            "rebuildable": self.rebuildable or None,
            "traceback": self.traceback,
            "reason": None if self.reason == "error" else self.reason,
            "cause": None if self.cause is None else self.cause._fields(),
        }
        return fields | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Failure:
        cause = fields.get("cause")
        return cls(
            type=fields["type"],
            message=fields["message"],
            args=fields.get("args"),
            rebuildable=fields.get("rebuildable", False),
            traceback=fields.get("traceback"),
            cause=None if cause is None else cls._from_fields(cause),
            reason=cast("Reason", fields.get("reason", "error")),
            named=fields.get("named"),
            state=fields.get("state"),
        )


def _kind(reason: Reason, *, child: bool) -> type[ActivityFailed | ChildFailed]:
    if not child:
        return ActivityTimedOut if reason == "timeout" else ActivityFailed
    return {"timeout": ChildTimedOut, "cancelled": ChildCancelled}.get(reason, ChildFailed)


def _cause(failure: Failure, name: str, *, child: bool) -> BaseException:
    try:
        return failure.exception(name, child=child)
    except MissingClass:
        # Workflows branch on what is raised, not on its cause: that one is no reason to block.
        return replace(failure, rebuildable=False).exception(name, child=child)


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while len(chain) < _CAUSES:
        last = chain[-1]
        follows = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if follows is None or any(follows is one for one in chain):
            break
        chain.append(follows)
    return chain


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as problem:
        return f"<its message cannot be read: {type(problem).__name__}>"
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        named = [f"{type(one).__qualname__}: {_message(one)}" for one in members[:_MEMBERS]]
        more = [f"and {len(members) - _MEMBERS} more"] if len(members) > _MEMBERS else []
        return f"{text}: {'; '.join(named + more)}"
    return text


def _traceback(error: BaseException, limit: int) -> str | None:
    try:
        lines = tracebacks.format_exception(
            type(error), error, _of_users(error.__traceback__), limit=-_FRAMES, chain=False
        )
    except Exception:
        return None
    return _cut("".join(lines), limit)


def _of_users(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from where Holdfast called the code of its user."""
    rest = trace
    while rest is not None and str(rest.tb_frame.f_globals.get("__name__", "")).startswith("holdfast."):
        rest = rest.tb_next
    return rest or trace


def _cut(text: str, limit: int) -> str:
    """The beginning and the end of ``text``, which say the most, within ``limit`` characters or few more."""
    text = _storable(text)
    if len(text) <= limit:
        return text
    head = limit // 4
    return f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[head - limit :]}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
