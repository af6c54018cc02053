"""Starts per second of one client; no worker is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bench.crowd import run_crowd
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop
from holdfast import Client

CROWD = 100
BULK = 5000


async def measure_singles(sitting: Sitting, _tuning: Tuning) -> Sequence[Figure]:
    """``await client.start(...)``, again and again, in each of 100 tasks."""

    async def start(client: Client, number: int) -> int:
        await client.start(noop, Order(number=number))
        return 1

    return await _measure(sitting, CROWD, start)


async def measure_bulk(sitting: Sitting, _tuning: Tuning) -> Sequence[Figure]:
    """``await client.start_many(...)`` with 5,000 calls, one after the other; to make the calls is part of it."""

    async def start(client: Client, number: int) -> int:
        first = number * BULK
        runs = await client.start_many([noop.call(Order(number=n)) for n in range(first, first + BULK)])
        return len(runs)

    return await _measure(sitting, 1, start)


async def _measure(sitting: Sitting, crowd: int, start: Callable[[Client, int], Awaitable[int]]) -> Sequence[Figure]:
    plan = sitting.plan
    paces: list[float] = []
    for repetition in range(plan.repeat):
        async with sitting.server.database() as database:
            await database.settle()
            async with sitting.client(database) as client:
                tally = await run_crowd(crowd, partial(start, client), warm_up=plan.warm_up, seconds=plan.seconds)
            await database.check(started=tally.total, executed=False)
        sitting.note(f"{repetition + 1} of {plan.repeat}: {tally.per_second:,.0f} starts/s")
        paces.append(tally.per_second)
    return (Figure(name="starts/s", values=tuple(paces)),)
