"""One system in one repetition of one scenario: its processes, its database, and what its own tables say of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import asyncpg

from bench.database import Database
from bench.failure import BenchFailed
from bench.peers.installation import Installation
from bench.peers.peer import Batch, Peer
from bench.peers.process import Adapter, Role, run_adapter
from bench.sitting import Sitting

_COUNTS = Path(__file__).parent / "counts"
_CHUNK = 5000
_FEW = 200
_SHORTEST = 0.5
_TRIES = 2
_COLD = 0.1
"""The part of a backlog that does not count, in which everything is made and warmed."""
_MARGIN = 1.1
_LATE = 3.0
"""Where a backlog lasts so many times longer than was thought, what was done until then is what counts."""
_PATIENCE = 30.0
_LOOK = 0.02

Mark = tuple[int, float]
"""So many had been executed at this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a backlog is made of, and who works it off.

    Attributes:
        kind: ``job``, ``workflow`` or ``message``.
        steps: How many steps a workflow has.
        workers: How many worker processes there are.
    """

    kind: str = "job"
    steps: int = 3
    workers: int = 1

    @property
    def written(self) -> int:
        """How many steps each of them leaves behind."""
        return self.steps if self.kind == "workflow" else 0


JOB = Work()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How a backlog was worked off.

    Attributes:
        per_second: The pace after the warm-up, until the last end was there for everybody to see; None: there was too
            little to tell.
        seconds: How long that was.
        decline: The pace in the last fifth as a part of that in the first, by executions; None likewise.
    """

    per_second: float | None
    seconds: float
    decline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a system's tables say."""

    ended: int
    failed: int
    left: int
    steps: int


class Bout:
    """One system, with one size of batches.

    Args:
        sitting: Where.
        installation: Where the systems' programs are.
        peer: The system.
        batch: How much its worker takes at a time.
        paces: What is known of how many runs per second it executes, so that the next backlog is long enough.
    """

    def __init__(
        self,
        sitting: Sitting,
        installation: Installation,
        peer: Peer,
        batch: Batch,
        paces: dict[Hashable, float],
    ) -> None:
        self.plan = sitting.plan
        self.batch: Batch = batch
        self._sitting = sitting
        self._installation = installation
        self._peer = peer
        self._paces = paces
        self._query = (_COUNTS / f"{peer.name}.sql").read_text(encoding="utf-8")

    async def drain(self, work: Work, *, seconds: float, pinned: bool = False) -> Drained:
        """A backlog of so many seconds is made, then its workers are started.

        Raises:
            BenchFailed: something was lost, doubled or failed.
        """
        if seconds < _SHORTEST:
            # So short a measurement is there to see whether everything works.
            return await self._drain(work, _FEW, seconds=seconds, pinned=pinned)
        key = (self._peer.name, self.batch, work)
        if key not in self._paces:
            self._paces[key] = self._known(work) or await self._calibrate(work, min(1.0, seconds))
        size = ceil(self._paces[key] * seconds * _MARGIN / (1 - _COLD))
        drained = await self._drain(work, size, seconds=seconds, pinned=pinned)
        if not pinned and drained.per_second is not None:
            self._paces[key] = drained.per_second
        return drained

    async def latency(self, work: Work = JOB) -> Sequence[float]:
        """Milliseconds from start to durable end on an idle worker, in ascending order; the first do not count."""
        warm, most = max(3, self.plan.samples // 10), 2 * self.plan.seconds
        async with self.database(work) as (database, client), self.adapter("worker", database, work=work):
            warmed = await client.ask("latency", samples=warm, seconds=most + 5)
            said = await client.ask("latency", samples=self.plan.samples, seconds=most)
            await self._await_end(database, len(warmed["ms"]) + len(said["ms"]), work)
        return sorted(said["ms"])

    async def starts(self, do: str, **wish: Any) -> float:
        """Starts per second; nobody executes."""
        async with self.database() as (database, client):
            said = await client.ask(do, warm_up=self.plan.warm_up, seconds=self.plan.seconds, **wish)
            counts = await self._count(database)
            if (counts.left, counts.ended, counts.failed) != (said["started"], 0, 0):
                raise BenchFailed(f"{said['started']} were started, its tables say {counts}")
        return float(said["per_second"])

    async def stream(self, rate: float) -> tuple[float, list[float]]:
        """Jobs per second that were executed while so many were offered, and by how many ms they began late."""
        seconds = self.plan.warm_up + self.plan.seconds
        async with self.database() as (database, client), self.adapter("worker", database) as worker:
            await client.ask("latency", samples=1, seconds=_PATIENCE)
            began = time.time()
            started = int((await client.ask("stream", rate=rate, seconds=seconds))["started"]) + 1
            said = await worker.ask("report")
            lasted = time.time() - began
            counts = await self._count(database)
            if counts.failed or counts.ended > started or counts.left > started:
                raise BenchFailed(f"{started} were started, its tables say {counts}")
        return (said["executed"] - 1) / lasted, sorted(said["delays"])

    @asynccontextmanager
    async def database(self, work: Work = JOB) -> AsyncGenerator[tuple[Database, Adapter]]:
        """A fresh database with the system's schema in it, and a client of it."""
        async with (
            self._sitting.server.database(empty=True) as database,
            self.adapter("client", database, work=work, settings=self._peer.client) as client,
        ):
            await client.ask("install")
            await database.settle()
            yield database, client

    @asynccontextmanager
    async def adapter(
        self,
        role: Role,
        database: Database,
        *,
        work: Work = JOB,
        expected: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Adapter]:
        """One of the system's processes; a worker, if nothing else is said."""
        task = {
            "kind": work.kind,
            "steps": work.steps,
            "expected": expected,
            "settings": dict(self._peer.settings(self.batch) if settings is None else settings),
        }
        command, folder = self._installation.command(self._peer), self._installation.folder(self._peer)
        async with run_adapter(command, role, url=database.url, task=task, cwd=folder) as adapter:
            yield adapter

    def _known(self, work: Work) -> float | None:
        """What one worker process does is where one begins for several."""
        return self._paces.get((self._peer.name, self.batch, replace(work, workers=1)))

    async def _calibrate(self, work: Work, length: float) -> float:
        size = _FEW
        drained = await self._drain(work, size, seconds=length)
        for _ in range(_TRIES):
            if drained.per_second is not None and drained.seconds >= min(_SHORTEST, length / 2):
                break
            size *= 8
            drained = await self._drain(work, size, seconds=length)
        if drained.per_second is None:
            raise BenchFailed(f"of {size}, too few were executed to know a pace")
        return drained.per_second

    async def _drain(self, work: Work, size: int, *, seconds: float, pinned: bool = False) -> Drained:
        patience = _PATIENCE + _LATE * seconds
        async with AsyncExitStack() as stack:
            database, client = await stack.enter_async_context(self.database(work))
            if pinned:
                await stack.enter_async_context(database.pinned())
            await client.ask("fill", count=size, chunk=_CHUNK)
            client.end()
            await database.settle()
            alone = work.workers == 1
            crew = [
                await stack.enter_async_context(
                    self.adapter("worker", database, work=work, expected=size if alone else 0)
                )
                for _ in range(work.workers)
            ]
            try:
                marks = await (_heard(crew[0], patience) if alone else _watched(crew, size, patience))
                done, ended_at = size, await self._await_end(database, size, work)
            except TimeoutError:
                if not pinned:
                    raise BenchFailed(f"{size} are not done after {patience:g} s") from None
                marks, ended_at = (await crew[0].ask("report"))["marks"], time.time()
                done = (await self._count(database)).ended
            executed = sum([(await worker.ask("report"))["executed"] for worker in crew])
        if done == size and executed != size:
            raise BenchFailed(f"{executed} were executed of {size}")
        return drained(marks, size, done, ended_at)

    async def _await_end(self, database: Database, size: int, work: Work) -> float:
        """When the system's own tables say that all has ended."""
        deadline = time.time() + _PATIENCE
        while True:
            looked = time.time()
            counts = await self._count(database)
            if not counts.left:
                break
            if looked > deadline:
                raise BenchFailed(f"of {size} all were executed, its tables say {counts} {_PATIENCE:g} s later")
            await asyncio.sleep(_LOOK)
        steps = work.written * size
        if (counts.ended, counts.failed, counts.steps) != (size, 0, steps):
            raise BenchFailed(f"{size} with {steps} steps were started, its tables say {counts}")
        return looked

    async def _count(self, database: Database) -> Counts:
        connection = await asyncpg.connect(database.url)
        try:
            row = await connection.fetchrow(self._query)
        finally:
            await connection.close()
        assert row is not None
        return Counts(**{name: int(value or 0) for name, value in row.items()})


async def _heard(worker: Adapter, patience: float) -> Sequence[Mark]:
    """What the only worker says when it has executed all."""
    said = await worker.hear(patience)
    return [(count, at) for count, at in said["marks"]]


async def _watched(crew: Sequence[Adapter], size: int, patience: float) -> Sequence[Mark]:
    """What several have executed together, asked again and again from when each of them has begun."""
    marks: list[Mark] = []
    async with asyncio.timeout(patience):
        while True:
            counts = [int((await worker.ask("report"))["executed"]) for worker in crew]
            if all(counts):
                marks.append((sum(counts), time.time()))
            if sum(counts) >= size:
                return marks
            await asyncio.sleep(_LOOK)


def drained(marks: Sequence[Mark], size: int, done: int, ended_at: float) -> Drained:
    """What these marks say of a backlog of this size, of which so many had ended at that time."""
    warm = next(((count, at) for count, at in marks if count >= _COLD * size), None)
    if warm is None or done <= warm[0] or ended_at <= warm[1]:
        return Drained(per_second=None, seconds=0.0, decline=None)
    early, late = _pace(marks, 0.1 * done, 0.3 * done), _pace(marks, 0.8 * done, done)
    seconds = ended_at - warm[1]
    return Drained(
        per_second=(done - warm[0]) / seconds,
        seconds=seconds,
        decline=late / early if early is not None and late is not None else None,
    )


def _pace(marks: Sequence[Mark], first: float, last: float) -> float | None:
    """Executions per second between two counts, if enough is known of them."""
    within = [(count, at) for count, at in marks if first <= count <= last]
    if len(within) < 2 or within[-1][1] <= within[0][1]:
        return None
    return (within[-1][0] - within[0][0]) / (within[-1][1] - within[0][1])
