"""What happens in workers and clients, as values: see :meth:`holdfast.App.on`.

An event says what has happened, and is no part of it: nothing waits for those who listen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

RunEnding = Literal["succeeded", "failed", "cancelled", "continued"]
AttemptEnding = Literal["succeeded", "failed", "timed out", "handed over"]
"""The last one: it will be completed from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened; listen to this class for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A client of this app has started a run, or has found the one that its key belongs to."""

    run_id: UUID
    name: str
    lane: str
    priority: str
    existing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaimed(Event):
    """A worker has taken a run that was due, or will be within its ``bucket_buffer_lead_time``."""

    worker: str
    run_id: UUID
    name: str
    lane: str
    priority: str
    number: int
    """So many times it was claimed, this time included."""
    due_at: datetime
    claimed_at: datetime
    """Both by the database's clock: what lies between them is how long the run stood in line. What is due later than it
    was claimed was taken ahead of its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A worker has ended a run, and that is durable.

    Runs that end without a worker, such as one that is cancelled before anybody has begun it, have no event.
    """

    worker: str
    run_id: UUID
    name: str
    lane: str
    priority: str
    status: RunEnding


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBlocked(Event):
    """The code of this worker does not fit what a run has recorded; it waits for code that does."""

    worker: str
    run_id: UUID
    name: str
    lane: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityStarted(Event):
    """The code of an activity is entered."""

    worker: str
    run_id: UUID
    key: str
    name: str
    attempt: int
    workflow: str | None
    """None for a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityEnded(Event):
    """An attempt at an activity is over, and its outcome is about to be recorded. An abandoned one has no event."""

    worker: str
    run_id: UUID
    key: str
    name: str
    attempt: int
    workflow: str | None
    status: AttemptEnding
    elapsed: timedelta
    error: str | None
    """The class and the message of what it raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRetried(Event):
    """A failed attempt is about to be recorded, and another one follows after ``delay``."""

    worker: str
    run_id: UUID
    key: str
    name: str
    attempt: int
    """The one that has failed."""
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushDone(Event):
    """A group commit is through: ``units`` are what runs wanted written, each in one transaction or not at all."""

    worker: str
    units: int
    refused: int
    """Of these: not written, because the run is not this worker's any more or its data cannot be stored."""
    elapsed: timedelta
    """Of the round trip, with all that was tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept(Event):
    """A worker has looked for due runs below its watermarks as well."""

    worker: str
    runs: int
    """Claimed by it, in line or below."""
    elapsed: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOverflowed(Event):
    """A worker gives back runs that it has taken: others could begin them earlier, or what is due needs their room."""

    worker: str
    lane: str
    priority: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsRecovered(Event):
    """A worker has made the runs of another one due again, whose lease is over."""

    worker: str
    lost_by: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRenewed(Event):
    """A worker's heartbeat has renewed its lease."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """A worker has lost its lease. It drops what it has in memory, and goes on as a new worker."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """A worker is registered, and is about to claim."""

    worker: str
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopped(Event):
    """A worker has left in order, or could not; one that lost its lease has ``LeaseLost`` instead."""

    worker: str
    lane: str


EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    RunClaimed,
    RunFinished,
    RunBlocked,
    ActivityStarted,
    ActivityEnded,
    ActivityRetried,
    FlushDone,
    Swept,
    RunsOverflowed,
    RunsRecovered,
    LeaseRenewed,
    LeaseLost,
    WorkerStarted,
    WorkerStopped,
)
"""All kinds of events."""
