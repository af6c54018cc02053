"""What a client can do with workers: see how they stand, pause, resume, drain and stop them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.client.overview import overview_of
from holdfast.core.errors import InvalidInput, WorkerNotFound
from holdfast.core.priority import Priority, PriorityName
from holdfast.core.worker_state import Wish, WorkerState
from holdfast.store import workers as store
from holdfast.store.top import read_counters, read_lines

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.overview import Overview
    from holdfast.core.mode import ModeName
    from holdfast.store.session import Session
    from holdfast.store.top import Counters, StandingLine
    from holdfast.store.workers import BucketRow, WorkerRow

PATIENCE = timedelta(seconds=15)
"""How long a verb waits for workers to obey, by default: longer than it takes from one heartbeat to the next."""

_SHORTEST_LOOK = 0.02
_LONGEST_LOOK = 0.5


class WorkerStatus(StrEnum):
    """How a worker stands, as people see it."""

    ACTIVE = "active"
    PAUSED = "paused"
    """It begins no run; what it has begun goes on."""
    DRAINING = "draining"
    """It begins no run, and leaves when what it has begun has ended or waits."""
    STOPPING = "stopping"
    """It begins no run, and leaves within its grace."""
    DEAD = "dead"
    """Its lease is over, and nobody has taken its runs yet."""
    LOST = "lost"
    """Its lease was over, and others have taken its runs, or are about to."""
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBucket:
    """A bucket of a worker: what it holds of one lane and priority."""

    lane: str
    priority: PriorityName
    state: str
    """active, completing, lost, draining, or ready to delete."""
    held: int
    overflowed: int
    """Runs that it has given back unbegun, because others could begin them earlier or what was due needed their room.

    As its worker said with its last heartbeat.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSummary:
    """A worker, as it stood when it was looked at."""

    id: int
    name: str
    host: str
    pid: int
    lane: str
    mode: ModeName | None
    """None: it consumes a queue, and has none of a worker's duties."""
    version: str
    """Of the package."""
    status: WorkerStatus
    asked: str | None
    """What it was last told, and will do or has done: pause, drain, stop, stop now; None: to work."""
    buckets: Sequence[WorkerBucket]
    lease: timedelta
    heartbeat_age: timedelta
    """Since when its lease was last renewed."""
    started_at: datetime

    @property
    def held(self) -> int:
        """The runs that it holds."""
        return sum(bucket.held for bucket in self.buckets)

    @property
    def overflowed(self) -> int:
        """The runs that it has given back unbegun since it was started, as it said with its last heartbeat."""
        return sum(bucket.overflowed for bucket in self.buckets)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAnswer:
    """What became of what one worker was asked."""

    name: str
    lane: str
    status: WorkerStatus
    """How it stood when it was last looked at."""
    told: bool
    """Whether it could be told: not one that is gone, or that is about to leave where less than that is asked."""
    obeyed: bool
    problem: str | None
    """Why not, and what to do; None if it has obeyed, or was not waited for."""


class Workers:
    """The workers of this database and schema, wherever they run: ``client.workers``.

    Each verb is for those of a ``name`` (``payroll-01``, or with its suffix ``payroll-01-3c1a8b2`` for one start), of a
    ``lane``, of both, or for ``all``. It waits until each has obeyed, dies, or ``wait`` has passed. A worker obeys
    at once where it hears hints, otherwise with its next heartbeat, a third of its lease later at most.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def list(self, *, name: str | None = None, lane: str | None = None) -> Sequence[WorkerSummary]:
        """The workers that are there, those that are dead, and those whose runs others are still taking over."""

        async def work(session: Session) -> list[WorkerSummary]:
            rows = await store.read_workers(session, name=name, lane=lane)
            buckets = await store.read_buckets(session, [row.id for row in rows]) if rows else {}
            return [_summary(row, buckets) for row in rows]

        return await self._context.database.call(work)

    async def overview(self, *, lane: str | None = None) -> Overview:
        """What stands in line, who takes it, and how much is done: of everything, or of one lane.

        It costs the database a bounded amount of work, however much there is: of a line no more than 1000 runs are
        counted, and 100 lines; what was done, and how much is open, are estimates.
        """

        async def work(session: Session) -> tuple[list[StandingLine], Counters]:
            return await read_lines(session, lane=lane), await read_counters(session)

        standing, counters = await self._context.database.call(work)
        return overview_of(standing, await self.list(lane=lane), counters, lane=lane)

    async def pause(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has them begin no run any more: what they have begun goes on.

        What stood in line with them goes to others. It holds until they are resumed, or their processes end.

        Raises:
            WorkerNotFound: there is none of this name or lane.
            InvalidInput: it is not said which.
        """
        return await self._tell(Wish.PAUSE, name, lane, everywhere=all, wait=wait)

    async def resume(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has paused ones work again.

        Raises:
            WorkerNotFound: there is none of this name or lane.
            InvalidInput: it is not said which.
        """
        return await self._tell(Wish.RESUME, name, lane, everywhere=all, wait=wait)

    async def drain(
        self, name: str | None = None, *, lane: str | None = None, all: bool = False, wait: timedelta = PATIENCE
    ) -> Sequence[WorkerAnswer]:
        """Has them finish what they have begun, however long it takes, give back the rest, and leave.

        Raises:
            WorkerNotFound: there is none of this name or lane.
            InvalidInput: it is not said which.
        """
        return await self._tell(Wish.DRAIN, name, lane, everywhere=all, wait=wait)

    async def stop(
        self,
        name: str | None = None,
        *,
        lane: str | None = None,
        all: bool = False,
        now: bool = False,
        wait: timedelta = PATIENCE,
    ) -> Sequence[WorkerAnswer]:
        """Has them leave in order, as SIGTERM does: what runs may end within their grace, and the rest is given back.

        With ``now`` what runs is not waited for, as after a second SIGTERM.

        Raises:
            WorkerNotFound: there is none of this name or lane.
            InvalidInput: it is not said which.
        """
        return await self._tell(Wish.STOP_NOW if now else Wish.STOP, name, lane, everywhere=all, wait=wait)

    async def _tell(
        self, wish: Wish, name: str | None, lane: str | None, *, everywhere: bool, wait: timedelta
    ) -> Sequence[WorkerAnswer]:
        if (name is None and lane is None) is not everywhere:
            raise InvalidInput("which workers? Give a name, a lane or both; or all=True, and neither of them")
        if wait < timedelta(0):
            raise InvalidInput(f"wait: zero or more, not {wait}")

        async def tell(session: Session) -> tuple[list[WorkerRow], set[int]]:
            rows = await store.read_workers(session, name=name, lane=lane)
            may = {row.id for row in rows if not row.expired and wish.may_follow(row.command, row.state)}
            told = await store.tell_workers(session, may, wish) if may else set[int]()
            if may - told:
                # Something became of them in between.
                rows = await store.read_workers(session, name=name, lane=lane, workers=[row.id for row in rows])
            return rows, told

        async def look(session: Session) -> list[WorkerRow]:
            found = await store.read_workers(session, name=name, lane=lane, workers=[row.id for row in rows])
            known = {row.id for row in rows}
            return [row for row in found if row.id in known]

        rows, told = await self._context.database.call(tell)
        if not rows:
            raise WorkerNotFound(name, lane)
        if told:
            self._context.hinter.add("worker")
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + wait.total_seconds(), _SHORTEST_LOOK
        while _is_open(rows, told, wish) and loop.time() < until:
            await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
            pause = min(pause * 1.5, _LONGEST_LOOK)
            rows = await self._context.database.call(look)
        return [_answer(row, wish, told=row.id in told, waited=bool(wait)) for row in rows]


def status_of(row: WorkerRow) -> WorkerStatus:
    """How it stands: what it said last, unless its lease is over."""
    if row.expired and not row.state.ended:
        return WorkerStatus.DEAD
    return WorkerStatus(row.state.value)


def _summary(row: WorkerRow, buckets: Mapping[int, Sequence[BucketRow]]) -> WorkerSummary:
    mode: ModeName | None = row.mode  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    return WorkerSummary(
        id=row.id,
        name=row.name,
        host=row.host,
        pid=row.pid,
        lane=row.lane,
        mode=mode,
        version=row.version,
        status=status_of(row),
        asked=row.command,
        buckets=[
            WorkerBucket(
                lane=bucket.lane,
                priority=Priority(bucket.priority).word,
                state=bucket.state.value,
                held=bucket.held,
                overflowed=bucket.overflowed,
            )
            for bucket in buckets.get(row.id, ())
        ],
        lease=row.lease,
        heartbeat_age=max(row.heartbeat_age, timedelta(0)),
        started_at=row.started_at,
    )


def _is_open(rows: Sequence[WorkerRow], told: Collection[int], wish: Wish) -> bool:
    """Whether one of them may yet obey."""
    return any(
        row.id in told and not row.expired and not row.state.ended and not wish.is_granted(row.state) for row in rows
    )


def _answer(row: WorkerRow, wish: Wish, *, told: bool, waited: bool) -> WorkerAnswer:
    status = status_of(row)
    obeyed = status is not WorkerStatus.DEAD and wish.is_granted(row.state)
    return WorkerAnswer(
        name=row.name,
        lane=row.lane,
        status=status,
        told=told,
        obeyed=obeyed,
        problem=None if obeyed or (told and not waited) else _problem(row, told=told),
    )


def _problem(row: WorkerRow, *, told: bool) -> str:
    """Why it has not obeyed, and what to do."""
    if row.state is WorkerState.LEFT:
        return "it has left"
    if row.state is WorkerState.LOST:
        return "it is gone: others have its runs; if its process still lives, it goes on under a new name"
    age = f"{row.heartbeat_age.total_seconds():.0f} s"
    if row.expired:
        return f"it is dead: its last heartbeat was {age} ago, and its lease is over; other workers take its runs"
    if not told:
        return (
            f"it is {'about to stop' if row.state is WorkerState.STOPPING else row.command or row.state.value} already"
        )
    if row.heartbeat_age > row.lease * 0.5:
        left = f"{max(row.left_of_lease, timedelta(0)).total_seconds():.0f} s"
        return (
            f"it seems to be dead: its last heartbeat was {age} ago; if it is, other workers take its runs in {left}, "
            "when its lease is over"
        )
    return (
        "it has not obeyed yet, though its heartbeat goes on: something holds up its event loop, and it obeys when "
        f"that is over; its process is {row.pid} on {row.host}"
    )
