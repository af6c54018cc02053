"""Looking at one lane as a whole: how far its runs are, which worker holds what, what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.states import RunStatus

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Count(NamedTuple):
    """So many runs of that name have that status."""

    name: str
    status: RunStatus
    runs: int


async def read_counts(session: Session, lane: str) -> list[Count]:
    """How many runs of the lane have which status, by name; without children and dispatched activities."""
    rows = await session.fetch("lane_counts", lane=lane)
    return [Count(row["name"], RunStatus(row["status"]), row["runs"]) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWorker:
    """A worker that has buckets, and the runs in them; one that is not alive has not been recovered from yet."""

    id: int
    name: str
    pid: int
    alive: bool
    held: Sequence[UUID]


async def read_workers(session: Session, lane: str) -> list[LaneWorker]:
    """Who holds what in the lane."""
    return [LaneWorker(**row) for row in await session.fetch("lane_workers", lane=lane)]


class Recorded(NamedTuple):
    """The outcome of an activity, as far as it says that and when it was recorded."""

    run_id: UUID
    key: str
    attempts: int
    at: datetime


async def read_recorded(session: Session, lane: str) -> list[Recorded]:
    """What was recorded of activities for all runs of the lane."""
    return [Recorded(*row) for row in await session.fetch("lane_recorded", lane=lane)]


async def read_clock(session: Session) -> datetime:
    """The time on the database's clock."""
    at: datetime = await session.value("clock")
    return at
