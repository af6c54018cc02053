"""One system in one repetition of one scenario: its processes, its database, and what its own tables say of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import asyncpg

from bench.database import Database
from bench.failure import BenchFailed
from bench.peers.adapter import STEPS
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How a backlog was worked off.

    Attributes:
        per_second: The pace after the warm-up, until the last end was there for everybody to see.
        seconds: How long that was.
        decline: The pace at the end as a part of that at the beginning, by executions.
    """

    per_second: float
    seconds: float
    decline: float


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
        paces: dict[tuple[str, ...], float],
    ) -> None:
        self.plan = sitting.plan
        self.batch: Batch = batch
        self._sitting = sitting
        self._installation = installation
        self._peer = peer
        self._paces = paces
        self._query = (_COUNTS / f"{peer.name}.sql").read_text(encoding="utf-8")

    async def drain(self, kind: str, *, seconds: float, pinned: bool = False) -> Drained:
        """A backlog of so many seconds is made, then a worker is started.

        Raises:
            BenchFailed: something was lost, doubled or failed.
        """
        if seconds < _SHORTEST:
            # So short a measurement is there to see whether everything works.
            return await self._drain(kind, _FEW, seconds=seconds, pinned=pinned)
        key = (self._peer.name, self.batch, kind)
        if key not in self._paces:
            self._paces[key] = await self._calibrate(kind, min(1.0, seconds))
        pace = self._paces[key]
        drained = await self._drain(kind, ceil(pace * seconds * _MARGIN / (1 - _COLD)), seconds=seconds, pinned=pinned)
        if not pinned:
            self._paces[key] = drained.per_second
        return drained

    async def latency(self) -> list[float]:
        """Milliseconds from start to durable end on an idle worker, in ascending order; the first do not count."""
        warm = max(3, self.plan.samples // 10)
        async with self.database() as (database, client), self.adapter("worker", database):
            await client.ask("latency", samples=warm, seconds=2 * self.plan.seconds + 5)
            said = await client.ask("latency", samples=self.plan.samples, seconds=2 * self.plan.seconds)
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
    async def database(self, kind: str = "job") -> AsyncGenerator[tuple[Database, Adapter]]:
        """A fresh database with the system's schema in it, and a client of it."""
        async with (
            self._sitting.server.database(empty=True) as database,
            self.adapter("client", database, kind=kind, settings=self._peer.client) as client,
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
        kind: str = "job",
        expected: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Adapter]:
        """One of the system's processes; a worker, if nothing else is said."""
        task = {
            "kind": kind,
            "expected": expected,
            "settings": dict(self._peer.settings(self.batch) if settings is None else settings),
        }
        command, folder = self._installation.command(self._peer), self._installation.folder(self._peer)
        async with run_adapter(command, role, url=database.url, task=task, cwd=folder) as adapter:
            yield adapter

    async def _calibrate(self, kind: str, length: float) -> float:
        size = _FEW
        drained = await self._drain(kind, size, seconds=length)
        for _ in range(_TRIES):
            if drained.seconds >= min(_SHORTEST, length / 2):
                break
            size *= 8
            drained = await self._drain(kind, size, seconds=length)
        return drained.per_second

    async def _drain(self, kind: str, size: int, *, seconds: float, pinned: bool = False) -> Drained:
        async with AsyncExitStack() as stack:
            database, client = await stack.enter_async_context(self.database(kind))
            if pinned:
                await stack.enter_async_context(database.pinned())
            await client.ask("fill", count=size, chunk=_CHUNK)
            client.end()
            await database.settle()
            worker = await stack.enter_async_context(self.adapter("worker", database, kind=kind, expected=size))
            try:
                said = await worker.hear(_PATIENCE + _LATE * seconds)
                done, ended_at = size, await self._await_end(database, size, kind)
            except TimeoutError:
                if not pinned:
                    raise BenchFailed(f"{size} are not done after {_PATIENCE + _LATE * seconds:g} s") from None
                said, ended_at = await worker.ask("report"), time.time()
                done = (await self._count(database)).ended
        if said["executed"] != size and done == size:
            raise BenchFailed(f"{said['executed']} were executed of {size}")
        return _drained(said["marks"], size, done, ended_at)

    async def _await_end(self, database: Database, size: int, kind: str) -> float:
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
        steps = STEPS * size if kind == "workflow" else 0
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


def _drained(marks: list[tuple[int, float]], size: int, done: int, ended_at: float) -> Drained:
    warm = next(((count, at) for count, at in marks if count >= _COLD * size), marks[0])
    early = _pace(marks, 0.1 * size, 0.3 * size)
    late = _pace(marks, 0.8 * size, size)
    seconds = max(ended_at - warm[1], 1e-6)
    return Drained(per_second=max(done - warm[0], 0) / seconds, seconds=seconds, decline=late / early if early else 0.0)


def _pace(marks: list[tuple[int, float]], first: float, last: float) -> float:
    """Executions per second between two counts."""
    within = [(count, at) for count, at in marks if first <= count <= last]
    if len(within) < 2 or within[-1][1] <= within[0][1]:
        return 0.0
    return (within[-1][0] - within[0][0]) / (within[-1][1] - within[0][1])
