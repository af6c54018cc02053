"""Schedules: the row that each is, and the one function that decides about a tick."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from holdfast.core.cadence import Cadence, Cron, Every, Span
from holdfast.core.cadence.cron import SEPARATOR
from holdfast.core.schedule import CatchUp, Overlap

if TYPE_CHECKING:
    import asyncpg

    from holdfast.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a schedule is to do. ``input`` is as it is to be stored, ``tags`` is JSON text."""

    target: str
    kind: int
    said: str
    cadence: Cadence
    span: Span
    input: str
    tick_parameter: str | None
    lane: str
    priority: int
    tags: str | None
    timeout: timedelta | None
    jitter: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int


class Due(NamedTuple):
    """A schedule to be looked at, or the next one to be. ``input`` is there where a tick's time goes into it."""

    id: UUID
    name: str
    revision: int
    cadence: Cadence
    span: Span
    jitter: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int
    not_before: datetime | None
    next_at: datetime | None
    queued: Sequence[datetime]
    running: Sequence[UUID]
    tick_parameter: str | None
    input: str | None


@dataclass(slots=True)
class Outlook:
    """What is to be done now, and when to look again."""

    now: datetime | None
    """On the database's clock; None where there is nothing to know."""
    due: list[Due]
    waiting: list[Due]
    """Their queue waits for a run to end."""
    next_at: datetime | None


async def read_due(session: Session, *, without: Collection[UUID], limit: int) -> Outlook:
    """Those that are due, and what stands in queues; ``without`` those that this process cannot see to."""
    due: dict[UUID, Due] = {}
    waiting: list[Due] = []
    outlook = Outlook(None, [], waiting, None)
    for row in await session.fetch("schedules_due", without=list(without), limit=limit):
        outlook.now = row["now"]
        if row["what"] == "next":
            outlook.next_at = row["next_at"]
        elif row["what"] == "due" or row["free"]:
            due[row["id"]] = _due(row)
        else:
            waiting.append(_due(row))
    outlook.due = list(due.values())
    return outlook


async def tick(
    session: Session,
    due: Due,
    *,
    next_at: datetime | None,
    missed: int,
    new: Sequence[datetime],
    starts: Sequence[tuple[datetime, datetime, str | None]],
    hint: bool,
) -> list[datetime] | None:
    """Decides about ticks for good, in one transaction, and gives those that made a run; None: another one has.

    ``starts`` has, of each tick that may make one now, when that run is due and its input, if it has one of its own.
    """
    made: list[datetime] | None = await session.value(
        "tick",
        schedule=due.id,
        revision=due.revision,
        next=next_at,
        missed=missed,
        new=list(new),
        ticks=[tick for tick, _, _ in starts],
        due=[at for _, at, _ in starts],
        inputs=[text for _, _, text in starts],
        hint=hint,
    )
    return made


async def note_problem(session: Session, schedule: UUID, problem: str) -> None:
    """Writes down for people why a process cannot see to the schedule."""
    await session.fetch("note_problem", schedule=schedule, problem=problem)


# ---- schedules in code


class Carried(NamedTuple):
    """What the database has of a schedule that this code has."""

    name: str
    id: UUID | None
    origin: str | None
    spec: str | None
    earlier_specs: Sequence[str]
    revision: int
    active: bool
    away: bool
    """It was taken out of the code, and not just now."""
    carried: bool
    """A live worker has the code that the row is from."""
    next_at: datetime | None
    cadence: Cadence | None
    span: Span
    now: datetime


async def read_carried(session: Session, names: Sequence[str], *, away: timedelta) -> list[Carried]:
    """What is there of each of these; those that are not there too."""
    rows = await session.fetch("carried_schedules", names=list(names), away=away)
    return [
        Carried(
            name=row["name"],
            id=row["id"],
            origin=row["origin"],
            spec=row["spec"],
            earlier_specs=row["earlier_specs"] or (),
            revision=row["revision"] or 0,
            active=bool(row["active"]),
            away=bool(row["away"]),
            carried=row["carried"],
            next_at=row["next_at"],
            cadence=None if row["id"] is None else _cadence(row),
            span=Span(start=row["starts_at"], end=row["ends_at"]),
            now=row["now"],
        )
        for row in rows
    ]


async def retire(session: Session, *, patience: timedelta) -> list[str]:
    """Makes those inactive that no live worker's code has, if they were asserted longer ago; gives their names."""
    return [row["name"] for row in await session.fetch("retire_schedules", patience=patience)]


# ---- writing and reading them


async def insert(
    session: Session, name: str, spec: Spec, *, origin: str, digest: str | None, paused: bool, next_at: datetime | None
) -> UUID | None:
    """Makes a schedule; None where the name is taken."""
    made: UUID | None = await session.value(
        "insert_schedule",
        name=name,
        origin=origin,
        spec=digest,
        paused=paused,
        next_at=next_at,
        **_columns(spec),
    )
    return made


async def update(
    session: Session,
    schedule: UUID,
    spec: Spec,
    *,
    revision: int,
    digest: str | None,
    next_at: datetime | None,
    afresh: bool,
) -> bool:
    """Changes a schedule, if it is still at this revision. ``afresh``: what it has missed so far does not count."""
    made = await session.value(
        "update_schedule",
        schedule=schedule,
        revision=revision,
        spec=digest,
        next_at=next_at,
        afresh=afresh,
        **_columns(spec),
    )
    return made is not None


async def pause(session: Session, name: str) -> None:
    """Pauses it, if it is there and not paused."""
    await session.fetch("pause_schedule", name=name)


async def resume(session: Session, name: str) -> None:
    """Lets it go on, if it is there and paused."""
    await session.fetch("resume_schedule", name=name)


async def delete(session: Session, name: str) -> bool:
    """Deletes it, unless live code has it; whether there was one to delete."""
    return await session.value("delete_schedule", name=name) is not None


async def trigger(session: Session, name: str, *, run_id: UUID, text: str, hint: bool) -> bool:
    """Starts a run of it now, with this input; whether there is such a schedule."""
    return await session.value("trigger_schedule", name=name, run=run_id, input=text, hint=hint) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A schedule as it is stored. ``running`` are those of its runs that go on."""

    id: UUID
    name: str
    origin: str
    digest: str | None
    spec: Spec
    active: bool
    paused: bool
    revision: int
    next_at: datetime | None
    last_tick: datetime | None
    last_run: UUID | None
    running: Sequence[UUID]
    queued: Sequence[datetime]
    made: int
    skipped: int
    missed: int
    problem: str | None
    created_at: datetime
    updated_at: datetime


async def read(session: Session, name: str) -> Stored | None:
    """The schedule of that name."""
    rows = await session.fetch("read_schedules", after="", name=name, limit=1)
    return _stored(rows[0]) if rows else None


async def read_page(session: Session, *, after: str, limit: int) -> list[Stored]:
    """Those whose names come after that one, in order."""
    return [_stored(row) for row in await session.fetch("read_schedules", after=after, name=None, limit=limit)]


async def read_now(session: Session) -> datetime:
    """The time by which ticks are due."""
    now: datetime = await session.value("schedule_clock")
    return now


def _columns(spec: Spec) -> dict[str, Any]:
    cadence = spec.cadence
    return {
        "target": spec.target,
        "kind": spec.kind,
        "said": spec.said,
        "cron": SEPARATOR.join(cadence.lines) if isinstance(cadence, Cron) else None,
        "zone": cadence.zone,
        "every": cadence.interval if isinstance(cadence, Every) else None,
        "anchor": cadence.anchor if isinstance(cadence, Every) else None,
        "input": spec.input,
        "tick_parameter": spec.tick_parameter,
        "lane": spec.lane,
        "priority": spec.priority,
        "tags": spec.tags,
        "timeout": spec.timeout,
        "starts_at": spec.span.start,
        "ends_at": spec.span.end,
        "jitter": spec.jitter,
        "overlap": spec.overlap.value,
        "catch_up": spec.catch_up.value,
        "catch_up_limit": spec.catch_up_limit,
    }


def _cadence(row: asyncpg.Record) -> Cadence:
    if row["cron"] is not None:
        return Cron(tuple(row["cron"].split(SEPARATOR)), row["zone"])
    return Every(row["every"], row["anchor"])


def _due(row: asyncpg.Record) -> Due:
    return Due(
        id=row["id"],
        name=row["name"],
        revision=row["revision"],
        cadence=_cadence(row),
        span=Span(start=row["starts_at"], end=row["ends_at"]),
        jitter=row["jitter"],
        overlap=Overlap(row["overlap"]),
        catch_up=CatchUp(row["catch_up"]),
        catch_up_limit=row["catch_up_limit"],
        not_before=row["not_before"],
        next_at=row["next_at"],
        queued=row["queued"],
        running=row["running"],
        tick_parameter=row["tick_parameter"],
        input=row["input"],
    )


def _stored(row: asyncpg.Record) -> Stored:
    spec = Spec(
        target=row["target"],
        kind=row["kind"],
        said=row["said"],
        cadence=_cadence(row),
        span=Span(start=row["starts_at"], end=row["ends_at"]),
        input=row["input"],
        tick_parameter=row["tick_parameter"],
        lane=row["lane"],
        priority=row["priority"],
        tags=row["tags"],
        timeout=row["timeout"],
        jitter=row["jitter"],
        overlap=Overlap(row["overlap"]),
        catch_up=CatchUp(row["catch_up"]),
        catch_up_limit=row["catch_up_limit"],
    )
    names = (
        *("id", "name", "origin", "active", "paused", "revision", "next_at", "last_tick", "last_run", "running"),
        *("queued", "made", "skipped", "missed", "problem", "created_at", "updated_at"),
    )
    return Stored(spec=spec, digest=row["spec"], **{name: row[name] for name in names})
