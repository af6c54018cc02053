"""Looking at runs: how they ended, what is known of one, pages of many. Payloads come as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from holdfast.core.journal import EntryKind
from holdfast.core.states import Continuation, Ending, RunKind, RunStatus
from holdfast.store.work import FOREVER

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Ended(NamedTuple):
    """How a run ended. Where it has become another run since, that is what counts, and ``newest`` is its id."""

    ending: Ending
    output: str | None
    error: str | None
    newest: UUID | None = None


class Known(NamedTuple):
    """A run that exists, and how it ended if it has."""

    name: str
    ended: Ended | None


async def read_ended(session: Session, runs: Sequence[UUID]) -> dict[UUID, Ended]:
    """How those of these runs ended that have."""
    rows = await session.call("ended_runs", [runs])
    return {run_id: Ended(Ending(status), output, error, newest) for run_id, status, output, error, newest in rows}


async def read_known(session: Session, runs: Sequence[UUID]) -> dict[UUID, Known]:
    """Those of these runs that exist, and how they ended if they have."""
    rows = await session.call("known_runs", [runs])
    return {
        run_id: Known(name, None if status is None else Ended(Ending(status), output, error, newest))
        for run_id, name, status, output, error, newest in rows
    }


async def read_status(session: Session, run_id: UUID) -> RunStatus | None:
    """The status of a run; None if there is no such run."""
    status = await session.value("run_status", run=run_id)
    return None if status is None else RunStatus(status)


class Told(NamedTuple):
    """The newest value of a state, or why it could not be stored; neither where it was never set."""

    output: str | None
    error: str | None


async def read_state(session: Session, run_id: UUID, name: str) -> Told | None:
    """What a run lets everybody know under this name; None if there is no such run."""
    row = await session.row("run_state", run=run_id, name=name)
    return None if row is None else Told(row["output"], row["error"])


class Reported(NamedTuple):
    """A run that was asked for, whether it has ended, and one report of how far an attempt is, if there is any."""

    asked: UUID
    ended: bool
    key: str | None
    attempt: int | None
    report: str | None
    at: datetime | None


async def read_reports(session: Session, runs: Sequence[UUID]) -> list[Reported]:
    """What attempts of these runs, or of what they have become, have reported; at least a row for each that exists."""
    return [Reported(*row) for row in await session.fetch("run_reports", runs=list(runs))]


class Listed(NamedTuple):
    """A run as lists show it. ``due_at`` is None where it is due only when something wakes it."""

    id: UUID
    kind: RunKind
    name: str
    lane: str
    priority: int
    status: RunStatus
    tags: str | None
    created_at: datetime
    due_at: datetime | None
    first_claim_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    version: str | None


class Details(NamedTuple):
    """One run, and what its task, result and blockage say."""

    listed: Listed
    parent: UUID | None
    root: UUID
    continued_from: UUID | None
    input: str | None
    output: str | None
    error: str | None
    deadline: datetime | None
    crashes: int | None
    waits_inbox: bool
    cancel_requested: bool
    blocked_reason: str | None
    blocked_at: datetime | None
    has_worker: bool
    waits_for: str | None
    continuation: Continuation | None


async def read_details(session: Session, run_id: UUID) -> Details | None:
    """What is known of one run; None if there is no such run."""
    row = await session.row("run_details", run=run_id)
    if row is None:
        return None
    values = tuple(row)
    details = Details(_listed(values[:13]), *values[13:])
    return details._replace(continuation=None if details.continuation is None else Continuation(details.continuation))


class JournalRow(NamedTuple):
    """One row of a journal."""

    seq: int
    kind: EntryKind
    key: str
    attempts: int
    started_at: datetime | None
    at: datetime
    not_before: datetime | None
    output: str | None
    error: str | None
    started: int | None = None
    """Of the start of a run: its kind."""


async def read_journal(session: Session, run_id: UUID) -> list[JournalRow]:
    """The whole journal of one run, in order."""
    rows = await session.fetch("run_journal", run=run_id)
    return [JournalRow(seq, EntryKind(kind), *rest) for seq, kind, *rest in rows]


class InboxRow(NamedTuple):
    """One row of an inbox that the run has not seen."""

    number: int
    kind: EntryKind
    name: str
    key: str | None
    payload: str | None
    at: datetime


async def read_inbox(session: Session, run_id: UUID) -> list[InboxRow]:
    """What lies unseen in the inbox of one run, in order."""
    rows = await session.fetch("run_inbox", run=run_id)
    return [InboxRow(number, EntryKind(kind), *rest) for number, kind, *rest in rows]


class Walk(StrEnum):
    """Which rows a page is made from; all but UNHAPPY go by id, newest first."""

    ALL = "list_all"
    """Every run: for no status in particular."""
    FAMILY = "list_family"
    """Those of one tree, whatever their status."""
    OPEN = "list_open"
    HELD = "list_held"
    BLOCKED = "list_blocked"
    ENDED = "list_ended"
    TAGGED = "list_tagged"
    """Runs with tags, of every status, where tags have an index."""
    UNHAPPY = "list_unhappy"
    """Failed and cancelled runs, by the time of their end, newest first."""


class Filters(NamedTuple):
    """Which runs: ids from ``from_id`` up to, without, ``to_id``; None asks for nothing in particular."""

    from_id: UUID
    to_id: UUID
    name: str | None
    lane: str | None
    tags: str | None
    version: str | None = None
    root: UUID | None = None
    """Below this run; both for FAMILY only."""
    parent: UUID | None = None
    """Children of this run."""
    kind: RunKind | None = None


class Place(NamedTuple):
    """Where a page of UNHAPPY ended: the run's end, and its id."""

    ended_at: datetime
    id: UUID


NEWEST = Place(FOREVER, UUID(int=(1 << 128) - 1))


async def read_page(
    session: Session, walk: Walk, statuses: Sequence[RunStatus], filters: Filters, *, count: int, last: Place = NEWEST
) -> list[Listed]:
    """At most ``count`` runs; ``statuses`` must be such as the walk meets. UNHAPPY goes on after ``last``."""
    values: dict[str, object] = {**filters._asdict(), "count": count}
    if walk is not Walk.FAMILY:
        del values["root"], values["parent"]
    match walk:
        case Walk.ALL:
            pass
        case Walk.FAMILY:
            values["statuses"] = statuses or None
        case Walk.OPEN | Walk.HELD | Walk.BLOCKED | Walk.TAGGED:
            values["statuses"] = statuses
        case Walk.ENDED | Walk.UNHAPPY:
            values["endings"] = [Ending[status.name] for status in statuses]
    if walk is Walk.UNHAPPY:
        values["ended_before"], values["last_id"] = last
    rows = await session.fetch(walk.value, **values)
    return [_listed(tuple(row)) for row in rows]


def _listed(values: Sequence[Any]) -> Listed:
    run_id, kind, name, lane, priority, status, tags, created_at, due_at, *rest = values
    # 'infinity', which the driver gives as a naive datetime, means: when something wakes it.
    due = None if due_at == FOREVER else due_at
    return Listed(run_id, RunKind(kind), name, lane, priority, RunStatus(status), tags, created_at, due, *rest)
