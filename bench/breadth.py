"""How long one run takes that asks for very much at once, with two worker processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from bench.failure import BenchFailed
from bench.figure import Figure
from bench.scenario import Measure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import family, fan
from holdfast import Call

WORKERS = 2
CHILDREN = 100
"""Per second of the plan: 1,000 in a measurement of 10."""
ACTIVITIES = 1000
"""Likewise: 10,000."""

SECONDS = "seconds"
WAKES = "wakes of the parent"


def children_at_once() -> Measure:
    """One run with so many children in one gather."""
    return _measure(CHILDREN, family.call, expected=lambda size: size * (size - 1) // 2)


def activities_at_once() -> Measure:
    """One run with so many no-op activities in one fan-out."""
    return _measure(ACTIVITIES, fan.call, expected=lambda size: size * (size + 1) // 2)


def _measure(per_second: int, call: Callable[[int], Call[int]], *, expected: Callable[[int], int]) -> Measure:
    async def measure(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
        plan = sitting.plan
        size = max(10, round(per_second * plan.seconds))
        seconds: list[float] = []
        wakes: list[float] = []
        async with sitting.server.database() as database, AsyncExitStack() as stack:
            for _ in range(WORKERS):
                await stack.enter_async_context(sitting.worker(database, tuning))
            client = await stack.enter_async_context(database.client())
            while await database.workers() < WORKERS:  # noqa: ASYNC110 - what is awaited happens in the database
                await asyncio.sleep(0.05)
            # The first one warms up, in every sense.
            for number in range(plan.repeat + 1):
                await database.settle()
                began = time.perf_counter()
                run = await client.start(call(size))
                total = await run.result()
                lasted = time.perf_counter() - began
                if total != expected(size):
                    raise BenchFailed(f"{size:,} outcomes make {expected(size):,}, and the run gave {total:,}")
                if not number:
                    continue
                seconds.append(lasted)
                wakes.append(float(await database.wakes(run.id)))
                sitting.note(f"{number} of {plan.repeat}: {size:,} in {lasted:.2f} s, {wakes[-1]:.0f} wakes")
            while not await database.is_drained():  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
        return (Figure(name=SECONDS, values=tuple(seconds)), Figure(name=WAKES, values=tuple(wakes)))

    return measure
