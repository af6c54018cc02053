"""A signal to a child: a step of its parent, sent once however often it has to be tried."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar, cast
from uuid import UUID

from holdfast.core.errors import RunEnded, RunNotFound, Unstorable
from holdfast.core.retry import Retry
from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import Attempted, current_activity

if TYPE_CHECKING:
    from holdfast.core.signal import SignalType

T = TypeVar("T")


class _Sending(Attempted, Protocol):
    async def send_signal(self, run_id: UUID, name: str, payload: str, key: str) -> None: ...


async def _send(child: UUID, signal: str, payload: str, key: str | None) -> None:
    attempt = cast("_Sending", current_activity.get())
    # Without a key of the user's the step's own: a second attempt, or one by another worker, sends nothing more.
    await attempt.send_signal(child, signal, payload, attempt.info().idempotency_key if key is None else key)


_SEND = Activity(
    _send,
    name="signal a child",
    retry=Retry(
        max_attempts=None,
        initial=timedelta(milliseconds=100),
        maximum=timedelta(seconds=5),
        give_up_on=(RunEnded, RunNotFound, Unstorable),
    ),
)
_SEND.internal = True


async def send(child: UUID, child_key: str, signal: SignalType[T], value: T, *, key: str | None) -> None:
    """Sends it, as the next step ``ship#1>send#n`` of this run."""
    payload, _ = signal.returns.encode(value)
    step = copy.copy(_SEND)
    step.base = f"{child_key}>send"
    await step(child, signal.name, payload, key)
