"""Operating runs: pause, resume, wake, reschedule and end them, many in one statement; and why one does not move."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from holdfast.core.journal import started_key
from holdfast.core.states import RunKind, RunStatus
from holdfast.store.inbox import about
from holdfast.store.work import FOREVER

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Verb(StrEnum):
    """What can be done to any number of runs in one statement."""

    PAUSE = "pause_runs"
    PAUSE_AT_ONCE = "pause_runs at once"
    RESUME = "resume_runs"
    WAKE = "wake_runs"
    TERMINATE = "terminate_runs"
    CANCEL = "cancel_runs"


async def operate(session: Session, verb: Verb, runs: Sequence[UUID]) -> dict[UUID, str]:
    """Does it to each of these runs, and gives what came of each: done, requested, nothing or ended.

    Raises:
        RunNotFound: one of them does not exist; nothing is done to any.
    """
    name, _, at_once = verb.partition(" ")
    values: dict[str, object] = {"runs": list(runs)}
    if name == Verb.PAUSE:
        values["at_once"] = bool(at_once)
    with about(runs[0]):
        return dict(map(tuple, await session.fetch(name, **values)))


async def reschedule(
    session: Session,
    runs: Sequence[UUID],
    *,
    at: datetime | None,
    after: timedelta | None,
    priority: str | None,
    lane: str | None,
) -> dict[UUID, str]:
    """Moves each of these runs, and gives what came of each: done, requested, ended, or begun or outside, which refuse.

    Raises:
        RunNotFound: one of them does not exist; nothing is done to any.
    """
    with about(runs[0]):
        rows = await session.fetch("reschedule_runs", runs=list(runs), at=at, after=after, priority=priority, lane=lane)
    return dict(map(tuple, rows))


class Standing(NamedTuple):
    """Where a run stands, and what stands in its way. ``due_at`` is None where it is due only when something comes."""

    id: UUID
    kind: RunKind
    name: str
    lane: str
    priority: int
    status: RunStatus
    now: datetime
    created_at: datetime
    due_at: datetime | None
    first_claim_at: datetime | None
    ended_at: datetime | None
    version: str | None
    worker: str | None
    lease_left: timedelta | None
    flags: int
    crashes: int
    waits_inbox: bool
    held: bool
    waits_for: str | None
    deadline: datetime | None
    paused_at: datetime | None
    blocked_reason: str | None
    blocked_at: datetime | None
    last_at: datetime | None
    workers: int
    """That serve its lane."""
    able: int
    """Of these, that have its code."""
    serving: int
    """Of these, that serve its priority."""
    paused: int
    """Workers of its lane that have its code, and that somebody has paused."""
    ahead: int
    """Runs before it in line, at most 1,000."""
    error: str | None
    """That it ended with."""
    letters: Sequence[str]
    """The names of signals and updates that it has not seen."""
    dead_reason: str | None
    """Why it is a dead letter, if it is one."""
    dead_at: datetime | None


class LastAttempt(NamedTuple):
    """A failed attempt that another one follows."""

    key: str
    """Of the step."""
    number: int
    at: datetime
    next_at: datetime | None
    error: str | None


class Awaited(NamedTuple):
    """A child, or a dispatched activity, that a run waits for."""

    run_id: UUID
    dispatched: bool
    lane: str
    name: str | None
    """None where it has ended."""
    lacks: Literal["lane", "code"] | None
    """Where it stands in line and nobody can take it: its lane has no worker, or none that has its code."""


async def read_standing(
    session: Session, run_id: UUID
) -> tuple[Standing, list[LastAttempt], dict[str, Awaited]] | None:
    """Where the run, or what it has become, stands; its latest failed attempts; the runs that it waits for, by key.

    None if there is no such run.
    """
    row = await session.row("why_run", run=run_id)
    if row is None:
        return None
    run_id, kind, name, lane, priority, status, now, created_at, due_at, *rest = row
    due = None if due_at == FOREVER else due_at
    attempts = await session.fetch("last_attempts", run=run_id)
    standing = Standing(run_id, RunKind(kind), name, lane, priority, RunStatus(status), now, created_at, due, *rest)
    keys = [started_key(line) for line in (standing.waits_for or "").split("\n")]
    children = await session.fetch("awaited_children", run=run_id, keys=keys) if standing.waits_for else []
    return (
        standing,
        [LastAttempt(key.rpartition("@")[0], *attempt) for key, *attempt in attempts],
        {key: Awaited(*child) for key, *child in children},
    )


async def retag(session: Session, run_id: UUID, *, set: str, remove: Sequence[str]) -> str:
    """Sets (JSON) and removes tags of the run, or of what it has become; gives all that it has then, as JSON."""
    with about(run_id):
        return str(await session.value("retag_run", run=run_id, set=set, remove=list(remove)))


async def retag_many(session: Session, runs: Sequence[UUID], *, set: str, remove: Sequence[str]) -> dict[UUID, str]:
    """Sets (JSON) and removes tags of those of these runs that there are; of each, whether that changed any."""
    rows = await session.fetch("retag_runs", runs=list(runs), set=set, remove=list(remove))
    return dict(map(tuple, rows))
