"""A process that serves very many lanes: what they cost while nothing is due, and what a hot one costs the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.database import Database
from bench.drain import await_end, fill
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop, stamp
from holdfast import Client

LANES = 100

HOT = "runs/s of the hot lane"
IDLE = "statements/s while all are idle"
COLD_P99 = "start delay p99 in a cold lane, ms"

_NAMES = tuple(f"lane-{number}" for number in range(LANES))
_HOT_LANE, *_COLD = _NAMES
_PACE = 25_000
"""Runs per second that the backlog of the hot lane is made for."""
_FEWEST = 3
_QUIET = 2.0
"""Seconds after which workers that have just come have nothing to do any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delays:
    """By how many milliseconds jobs of cold lanes began too late."""

    p50: float
    p99: float


async def measure_lanes(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """The same jobs of 99 lanes while there is nothing else to do, and while the 100th has a backlog."""
    hot: list[float] = []
    idle: list[float | None] = []
    alone: list[_Delays] = []
    beside: list[_Delays] = []
    for number in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            idle.append(await _idle(sitting, tuning, database))
            alone.append(await _delays(database))
        async with sitting.server.database() as database:
            hot.append(await _beside_hot(sitting, tuning, database))
            beside.append(await _delays(database))
        sent = "not counted" if idle[-1] is None else f"{idle[-1]:.1f}"
        sitting.note(
            f"{number + 1} of {sitting.plan.repeat}: statements/s while idle: {sent}, cold jobs p50 "
            f"{alone[-1].p50:.2f} ms, p99 {alone[-1].p99:.2f} ms; beside {hot[-1]:,.0f} runs/s of the hot lane "
            f"{beside[-1].p50:.2f} and {beside[-1].p99:.2f} ms"
        )
    counted = tuple(one for one in idle if one is not None)
    return (
        Figure(name=HOT, values=tuple(hot)),
        *([Figure(name=IDLE, values=counted)] if counted else []),
        Figure(name="start delay p50 in a cold lane, ms", values=tuple(one.p50 for one in beside)),
        Figure(name=COLD_P99, values=tuple(one.p99 for one in beside)),
        Figure(name="p50 while no lane is hot, ms", values=tuple(one.p50 for one in alone)),
        Figure(name="p99 while no lane is hot, ms", values=tuple(one.p99 for one in alone)),
    )


async def _idle(sitting: Sitting, tuning: Tuning, database: Database) -> float | None:
    """Statements per second of a worker that has never had anything to do; then samples follow.

    None where the server does not count them. Where a job has been, its lane's floor is raised within five seconds:
    that follows the work, and is not idleness.
    """
    plan = sitting.plan
    await database.settle()
    async with sitting.worker(database, tuning, lanes=_NAMES) as worker, database.client() as client:
        while await database.workers() < len(_NAMES):  # noqa: ASYNC110 - what is awaited happens in the database
            await asyncio.sleep(0.05)
        await asyncio.sleep(_QUIET)
        meter = await database.meter(worker.pid)
        before, began = await meter.read(), time.perf_counter()
        await asyncio.sleep(plan.seconds)
        after, ended = await meter.read(), time.perf_counter()
        for run in [await client.start(stamp, lane=lane) for lane in _NAMES]:
            await run.result()
        for _ in range(plan.samples):
            await _start_cold(client)
        while not await database.is_drained():  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)
    await database.check_ended(started=len(_NAMES) + plan.samples)
    sent = after.since(before, 1).get("statements")
    # A look of ours, which is two of them, is among them.
    return None if sent is None else max(0.0, sent - 2) / (ended - began)


async def _beside_hot(sitting: Sitting, tuning: Tuning, database: Database) -> float:
    """Runs per second of the hot lane, while samples are taken of the others for as long as it has a backlog."""
    plan = sitting.plan
    size = max(1000, round(_PACE * plan.seconds))
    async with database.client() as client:
        last = await fill(client, size, lambda n: noop.call(Order(number=n)), lane=_HOT_LANE)
        await database.settle()
        async with sitting.worker(database, tuning, lanes=_NAMES):
            while not await database.has_results():  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
            hot = asyncio.create_task(await_end(database, last))
            samples = 0
            while not hot.done() or samples < _FEWEST:
                await _start_cold(client)
                samples += 1
            await hot
            while not await database.is_drained():  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
    await database.check_ended(started=size + samples)
    return (await database.results(warm_up=plan.warm_up, cool_down=plan.cool_down)).per_second


async def _start_cold(client: Client) -> None:
    await asyncio.sleep(random.uniform(0.005, 0.050))
    await client.start(stamp, lane=random.choice(_COLD))


async def _delays(database: Database) -> _Delays:
    p50, p99 = await database.delays()
    return _Delays(p50=p50, p99=p99)
