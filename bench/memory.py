"""What stays in memory of the runs that pass through a process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from bench.crowd import run_times
from bench.figure import Figure
from bench.footprint import Footprint
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop, waits
from holdfast import Client

WORKER_PEAK = "most memory, MB"
CLIENT_GROWTH = "growth after the first tenth, MB"

_CROWD = 100
_BULK = 5000


async def measure_worker(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """A tenth of ``--parked`` runs that each make a step in the worker and are then parked, for a signal."""
    count = max(100, sitting.plan.parked // 10)
    peaks: list[float] = []
    begun: list[float] = []
    for repetition in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            async with database.client() as client:
                for first in range(0, count, _BULK):
                    await client.start_many([waits.call(n) for n in range(first, min(first + _BULK, count))])
            await database.settle()
            async with sitting.worker(database, tuning) as worker:
                begun.append(worker.footprint.now)
                while not await database.has_parked(count):  # noqa: ASYNC110 - what is awaited happens in the database
                    await asyncio.sleep(0.2)
                peaks.append(worker.footprint.peak)
            await database.check(started=0, parked=count, parked_steps=1)
        sitting.note(f"{repetition + 1} of {sitting.plan.repeat}: {peaks[-1]:,.0f} MB at most, for {count:,} runs")
    return (Figure(name=WORKER_PEAK, values=tuple(peaks)), Figure(name="at the beginning, MB", values=tuple(begun)))


async def measure_client(sitting: Sitting, _tuning: Tuning) -> Sequence[Figure]:
    """``--parked`` starts of one client, half of them one by one from 100 tasks and half in bulk."""
    count = max(1000, sitting.plan.parked)
    growth: list[float] = []
    most: list[float] = []
    for repetition in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            async with database.client() as client:
                await _start(client, count // 10)
                early = Footprint.of().now
                await _start(client, count - count // 10)
                late = Footprint.of().now
            await database.check(started=count, executed=False)
        growth.append(max(0.0, late - early))
        most.append(late)
        sitting.note(f"{repetition + 1} of {sitting.plan.repeat}: {early:,.0f} MB, then {late:,.0f} MB")
    return (Figure(name="memory at the end, MB", values=tuple(most)), Figure(name=CLIENT_GROWTH, values=tuple(growth)))


async def _start(client: Client, count: int) -> None:
    single = count // 2
    await run_times(_CROWD, single, partial(_start_one, client))
    left = count - single
    while left:
        chunk = min(_BULK, left)
        left -= chunk
        await client.start_many([noop.call(Order(number=n)) for n in range(chunk)])


async def _start_one(client: Client, number: int) -> None:
    await client.start(noop, Order(number=number))
