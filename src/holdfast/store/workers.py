"""Workers as others see them, and what they are told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.worker_state import BucketState, Wish, WorkerState

if TYPE_CHECKING:
    from holdfast.store.session import Session


class BucketRow(NamedTuple):
    """A bucket, and how many runs it holds."""

    lane: str
    priority: int
    state: BucketState
    overflowed: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker as the database knows it. ``heartbeat_age``: since its lease was last renewed."""

    id: int
    name: str
    host: str
    pid: int
    lane: str
    mode: str | None
    version: str
    state: WorkerState
    command: str | None
    lease: timedelta
    expired: bool
    left_of_lease: timedelta
    heartbeat_age: timedelta
    started_at: datetime
    ended_at: datetime | None


async def read_workers(
    session: Session, *, name: str | None = None, lane: str | None = None, workers: Sequence[int] = ()
) -> list[WorkerRow]:
    """Those of this name, with or without its suffix, and lane; ended ones only where they are among ``workers``.

    Or where they are named in full.
    """
    rows = await session.fetch("workers", name=name, lane=lane, workers=list(workers))
    return [_worker(dict(row)) for row in rows]


def _worker(row: dict[str, Any]) -> WorkerRow:
    row["state"] = WorkerState(row["state"])
    return WorkerRow(**row)


async def read_buckets(session: Session, workers: Sequence[int]) -> dict[int, list[BucketRow]]:
    """The buckets of these workers, the highest priority first."""
    found: dict[int, list[BucketRow]] = {worker: [] for worker in workers}
    for worker, lane, priority, state, *counts in await session.fetch("worker_buckets", workers=list(workers)):
        found[worker].append(BucketRow(lane, priority, BucketState(state), *counts))
    return found


async def tell_workers(session: Session, workers: Collection[int], wish: Wish) -> set[int]:
    """Tells them what to do, as far as each still may be told that; gives those that were."""
    rows = await session.fetch(
        "tell_workers",
        workers=list(workers),
        command=wish.command,
        commands=[one.value for one in Wish if wish.may_follow(one.command, WorkerState.ACTIVE)],
        states=[state.value for state in WorkerState if wish.may_follow(None, state)],
    )
    return {row["id"] for row in rows}
