"""A backlog of very many jobs: how quickly it is worked off, and how much memory that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop

WORKER_GROWTH = "memory beyond that of 1,000, MB"

_FEW = 1000
_BULK = 5000


async def measure_backlog(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """``--parked`` no-op jobs that are all due when the worker has done a thousand."""
    count = sitting.plan.parked
    paces: list[float] = []
    growth: list[float] = []
    for number in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            async with sitting.worker(database, tuning) as worker, database.client() as client:
                memory: list[float] = []
                for size in (_FEW, count):
                    for first in range(0, size, _BULK):
                        await client.start_many(
                            [noop.call(Order(number=n)) for n in range(first, min(first + _BULK, size))]
                        )
                    while not await database.is_drained():  # noqa: ASYNC110 - it happens in the database
                        await asyncio.sleep(0.2)
                    memory.append(worker.footprint.peak)
            await database.check(started=_FEW + count)
            window = await database.results()
        paces.append(window.per_second)
        growth.append(max(0.0, memory[1] - memory[0]))
        sitting.note(f"{number + 1} of {sitting.plan.repeat}: {paces[-1]:,.0f} runs/s, {growth[-1]:.0f} MB more")
    return (Figure(name="runs/s", values=tuple(paces)), Figure(name=WORKER_GROWTH, values=tuple(growth)))
