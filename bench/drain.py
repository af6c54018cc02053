"""Throughput: a backlog is made, a worker is started, and the results say how fast it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import ceil
from typing import Any
from uuid import UUID

from bench.database import Database, Window
from bench.failure import BenchFailed
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.worker import WORKLOAD
from holdfast import Call, Client

_CHUNK = 5000
_FIRST_PACE = 20_000.0  # runs without a step per second that are expected before anything is known
_MARGIN = 1.1
_RAMP = 0.2  # seconds of work to spare, which matter to short measurements only
_TRIES = 8
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of one backlog."""

    window: Window
    peak: float
    """The most memory that the worker had, in MB."""


class Drain:
    """A worker that empties a backlog of runs that are all alike; nothing looks at the server meanwhile.

    Args:
        sitting: Where.
        tuning: With what kind of worker.
        call: Makes the n-th run's call.
        steps: How many steps each of them has.
        seconds: How long is measured.
        app: Whose worker it is.
    """

    def __init__(
        self,
        sitting: Sitting,
        tuning: Tuning,
        call: Callable[[int], Call[Any]],
        *,
        steps: int,
        seconds: float,
        app: str = WORKLOAD,
    ) -> None:
        self._sitting = sitting
        self._tuning = tuning
        self._call = call
        self._steps = steps
        self._seconds = seconds
        self._app = app
        self._pace: float | None = None

    async def measure(self, *, pinned: bool = False) -> Window:
        """One repetition, on a fresh database.

        Raises:
            BenchFailed: runs were lost, or the worker ended.
        """
        plan = self._sitting.plan
        pace = self._pace if self._pace is not None else await self._calibrate()
        for _ in range(_TRIES):
            size = ceil(pace * (_MARGIN * (plan.warm_up + self._seconds + plan.cool_down) + _RAMP))
            drained = await self.empty(size, warm_up=plan.warm_up, cool_down=plan.cool_down, pinned=pinned)
            window = drained.window
            if window.seconds >= self._seconds and window.count:
                self._pace = window.per_second
                return window
            # Faster than was thought: so the backlog was too small.
            pace *= 1.1 * (self._seconds + plan.warm_up) / max(window.seconds + plan.warm_up, self._seconds / 10)
            self._sitting.note(f"{size:,} runs lasted {window.seconds:.1f} s only: once more with a longer backlog")
        raise BenchFailed(f"no backlog lasts {self._seconds:g} s")

    async def _calibrate(self) -> float:
        length = min(1.0, self._seconds)
        size = ceil(_FIRST_PACE * length / (1 + self._steps))
        while True:
            window = (await self.empty(size, warm_up=length / 4, cool_down=length / 20, profiled=False)).window
            if window.seconds >= length / 2 and window.count:
                return window.per_second
            size *= 4

    async def empty(
        self, size: int, *, warm_up: float = 0.0, cool_down: float = 0.0, pinned: bool = False, profiled: bool = True
    ) -> Drained:
        """A backlog of this size, on a fresh database: all of it is there before the worker is started.

        Raises:
            BenchFailed: runs were lost, or the worker ended.
        """
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(self._sitting.server.database())
            if pinned:
                await stack.enter_async_context(database.pinned())
            last = await self._fill(database, size)
            await database.settle()
            async with self._sitting.worker(database, self._tuning, app=self._app, profiled=profiled) as worker:
                await await_end(database, last)
                peak = worker.footprint.peak
            await database.check(started=size, steps=self._steps)
            return Drained(window=await database.results(warm_up=warm_up, cool_down=cool_down), peak=peak)

    async def _fill(self, database: Database, size: int) -> UUID:
        async with database.client() as client:
            return await fill(client, size, self._call)


async def fill(client: Client, size: int, call: Callable[[int], Call[Any]], *, lane: str = "default") -> UUID:
    """Starts so many runs, and gives the last of them."""
    while True:
        chunk = min(_CHUNK, size)
        size -= chunk
        runs = await client.start_many((call(size + n) for n in range(chunk)), lane=lane)
        if not size:
            return runs[-1].id


async def await_end(database: Database, last: UUID) -> None:
    """Returns when all is done. The last of the backlog is about the last to end: until then only that is looked up."""
    while not await database.has_ended(last):  # noqa: ASYNC110 - what is awaited happens in the database
        await asyncio.sleep(0.2)
    deadline = time.monotonic() + _PATIENCE
    while not await database.is_drained():
        if time.monotonic() > deadline:
            raise BenchFailed(f"runs are left over {_PATIENCE:g} s after the last of the backlog has ended")
        await asyncio.sleep(0.05)
