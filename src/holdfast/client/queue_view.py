"""A queue, and the messages on it, as one sees them who takes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from holdfast.core.headers import Headers, headers_of
from holdfast.core.priority import Priority, PriorityName
from holdfast.core.queue import MOST_DELIVERIES, MessageState, queue_of
from holdfast.store.lines import Measured, Waiting

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMetrics:
    """How a queue stands."""

    queue: str
    depth: int
    """How many messages are due, and can be received."""
    delayed: int
    """How many are due later."""
    in_flight: int
    """How many are in the hands of consumers."""
    dead: int
    """How many are dead letters."""
    oldest: timedelta | None
    """For how long the first in line has been due."""
    rate: float
    """How many messages its consumers handle in a second, by their last heartbeats."""
    consumers: int
    """How many consumers are registered."""
    paused: bool
    max_deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView(Generic[T]):
    """A message that was looked at, and not taken."""

    id: UUID
    state: MessageState
    priority: PriorityName
    due_at: datetime
    """Of one in flight: when it becomes visible again, unless it is settled or extended before."""
    deliveries: int
    sent_at: datetime
    headers: Headers
    text: str
    """The body as it is stored."""
    read: Callable[[str], T]

    @property
    def body(self) -> T:
        """What was sent. Errors are those of ``Message.body``."""
        return self.read(self.text)


def metrics_of(row: Measured) -> QueueMetrics:
    """What was measured, as people see it."""
    return QueueMetrics(
        queue=queue_of(row.lane),
        depth=row.ready,
        delayed=row.delayed,
        in_flight=row.in_flight,
        dead=row.dead,
        oldest=row.oldest,
        rate=row.rate,
        consumers=row.consumers,
        paused=row.paused_at is not None,
        max_deliveries=MOST_DELIVERIES if row.max_deliveries is None else row.max_deliveries,
    )


def view_of(row: Waiting, read: Callable[[str], T]) -> MessageView[T]:
    """What was looked at, as people see it."""
    return MessageView(
        id=row.run_id,
        state=row.state,
        priority=Priority(row.priority).word,
        due_at=row.due_at,
        deliveries=row.deliveries,
        sent_at=row.created_at,
        headers=headers_of(row.options),
        text=row.input,
        read=read,
    )
