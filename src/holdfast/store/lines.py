"""Looking after queues: what stands in their lines, and what is done to all of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.queue import MessageState

if TYPE_CHECKING:
    from holdfast.store.session import Session

AT_ONCE = 1000
"""So many messages are purged or redriven in one transaction."""


class Waiting(NamedTuple):
    """A message, as one sees it who does not take it."""

    run_id: UUID
    priority: int
    due_at: datetime
    deliveries: int
    input: str
    options: str | None
    created_at: datetime
    state: MessageState


class Dead(NamedTuple):
    """A dead letter."""

    run_id: UUID
    reason: str
    deliveries: int
    at: datetime
    priority: int
    input: str
    options: str | None
    created_at: datetime


class Measured(NamedTuple):
    """How a queue stands. ``oldest`` is for how long the first in line has been due."""

    lane: str
    ready: int
    delayed: int
    in_flight: int
    dead: int
    oldest: timedelta | None
    paused_at: datetime | None
    max_deliveries: int | None
    consumers: int
    rate: float


async def peek(session: Session, lane: str, *, count: int) -> list[Waiting]:
    """The first messages of a queue, in the order in which they would be received."""
    rows = await session.fetch("peek_messages", lane=lane, count=count)
    return [Waiting(*row)._replace(state=MessageState(row["state"])) for row in rows]


async def read_dead(
    session: Session, lane: str, *, run_id: UUID | None = None, last: tuple[datetime, UUID] | None = None, count: int
) -> list[Dead]:
    """Dead letters of a queue, those first that died first; ``last`` is where the page before ended."""
    last_at, last_run = last or (None, None)
    rows = await session.fetch(
        "list_dead_letters", lane=lane, run=run_id, last_at=last_at, last_run=last_run, count=count
    )
    return [Dead(*row) for row in rows]


async def redrive(session: Session, lane: str, runs: Sequence[UUID] | None, before: datetime) -> tuple[int, int]:
    """Makes some dead letters due again: of these, or of all; how many were met, and how many it has done that to."""
    row = await session.row("redrive_messages", lane=lane, runs=runs, before=before, limit=AT_ONCE)
    assert row is not None
    return row["met"], row["done"]


async def purge_dead(session: Session, lane: str, runs: Sequence[UUID] | None, before: datetime) -> tuple[int, int]:
    """Removes some dead letters: of these, or of all; how many were met, and how many are removed."""
    row = await session.row("purge_dead", lane=lane, runs=runs, before=before, limit=AT_ONCE)
    assert row is not None
    return row["met"], row["done"]


async def purge(session: Session, lane: str, before: datetime) -> int:
    """Removes some of the messages that were there at a time; none are left when it gives 0."""
    purged: int = await session.value("purge_messages", lane=lane, before=before, limit=AT_ONCE)
    return purged


async def read_clock(session: Session) -> datetime:
    """The time by which messages are due."""
    at: datetime = await session.value("queue_clock")
    return at


async def pause(session: Session, lane: str, *, paused: bool) -> None:
    """Lets nobody receive from the queue, or everybody again."""
    await session.fetch("pause_queue", lane=lane, paused=paused)


async def configure(session: Session, lane: str, *, max_deliveries: int | None) -> None:
    """How often a message of the queue is delivered; None: as often as those of others."""
    await session.fetch("configure_queue", lane=lane, max_deliveries=max_deliveries)


async def measure(session: Session, lanes: Sequence[str] | None) -> list[Measured]:
    """How these queues stand, or all that there are."""
    return [Measured(*row) for row in await session.fetch("queue_metrics", lanes=lanes)]
