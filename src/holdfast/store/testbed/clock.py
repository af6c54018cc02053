"""A database whose clock a test has in its hand."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from uuid import UUID

from holdfast.store.session import Session
from holdfast.store.statements import Statements, in_schema

_FOLDER = "holdfast.store.testbed"


def statements(schema: str) -> Statements:
    """The statements of this folder."""
    return Statements(schema, folder=_FOLDER)


async def stop_clock(session: Session, at: datetime | None) -> datetime:
    """Stops the clock of the session's schema, at the present moment or at another one; gives what time it is then."""
    script = (resources.files(_FOLDER) / "standing_clock.sql").read_text(encoding="utf-8")
    async with session.connection.transaction():
        await session.connection.execute(in_schema(script, session.statements.schema))
        begins: datetime = await session.value("start_clock", at=at)
    return begins


async def set_clock(session: Session, at: datetime) -> datetime:
    """Makes it ``at``, if that is later; gives what time it is then."""
    now: datetime = await session.value("set_clock", at=at)
    return now


@dataclass(frozen=True, slots=True, kw_only=True)
class Restlessness:
    """What stands between a database and quiet: runs that are held, due, or have letters; and when something is due."""

    held: AbstractSet[UUID]
    due: bool
    letters: bool
    next: datetime | None
    """When the next run becomes due that is not held, or the timeout of one that nobody has begun passes."""


async def restlessness(session: Session, *, schedules: bool) -> Restlessness:
    """What is to be done now, and when there will be something; what ``schedules`` start is counted where they do."""
    row = await session.row("restlessness", schedules=schedules)
    assert row is not None
    moments = [one for one in (row["next_due"], row["next_deadline"], row["next_tick"]) if one is not None]
    return Restlessness(
        held=frozenset(row["held"]), due=row["due"], letters=row["letters"], next=min(moments, default=None)
    )


async def end_overdue(session: Session) -> None:
    """Ends the runs whose timeout has passed before anybody has begun them."""
    await session.fetch("end_runs_out_of_time")


async def end_lease(session: Session, worker: int) -> None:
    """The worker has no lease any more: nothing of it is accepted, and others may have its runs."""
    await session.fetch("end_lease", worker=worker)
