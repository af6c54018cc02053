"""A load that a worker has to bear for long: nothing may grow that should not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from bench.figure import Figure
from bench.percentile import percentile
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.worker import WorkerProcess
from bench.workload import Order, go, noop, steps, waits
from holdfast import Client

RATE = 1000
"""Runs per second: seven jobs, two workflows of three steps and one that waits for a signal, of ten."""

GROWTH = "memory, last ÷ first tenth"
SLOWER = "p50, last ÷ first tenth"
SIZE = "hot tables, last ÷ first tenth"

_TICK = 0.05
_LEAST_STRETCHES = 10


@dataclass(slots=True)
class Stretch:
    """What was seen in one part of the time."""

    latencies: list[float] = field(default_factory=list[float])
    memory: float = 0.0
    size: float = 0.0
    started: int = 0
    seconds: float = 0.0


async def measure_soak(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """``--minutes`` of it, in stretches of a minute, or ten if that is less than ten minutes."""
    seconds = sitting.plan.minutes * 60
    stretch_count = max(_LEAST_STRETCHES, round(sitting.plan.minutes))
    stretches: list[Stretch] = []
    async with sitting.server.database() as database, sitting.worker(database, tuning) as worker:
        # What is followed beyond the end of its stretch holds up nobody: the load never pauses.
        async with database.client() as client, asyncio.TaskGroup() as followers:
            for number in range(stretch_count):
                stretch = await _stretch(client, worker, followers, seconds / stretch_count)
                stretch.size = sum((await database.sizes()).values())
                stretches.append(stretch)
                _tell(sitting, number, stretch)
        while not await database.is_drained():  # noqa: ASYNC110 - what is awaited happens in the database
            await asyncio.sleep(0.2)
        await database.check_ended(started=sum(stretch.started for stretch in stretches))
    return _figures(stretches)


def _figures(stretches: Sequence[Stretch]) -> Sequence[Figure]:
    tenth = max(1, len(stretches) // 10)
    # The first stretch warms up: caches fill, tables get the size that they then keep.
    first, last = stretches[1 : 1 + tenth], stretches[-tenth:]
    early, late = (sorted(one for part in parts for one in part.latencies) for parts in (first, last))
    seconds = sum(stretch.seconds for stretch in stretches)

    def share(name: str, now: float, before: float) -> Figure:
        return Figure(name=name, values=(now / before,))

    def value(name: str, number: float) -> Figure:
        return Figure(name=name, values=(number,))

    return (
        value("runs/s", sum(stretch.started for stretch in stretches) / seconds),
        share(GROWTH, mean(s.memory for s in last), mean(s.memory for s in first)),
        share(SLOWER, percentile(late, 0.5), percentile(early, 0.5)),
        share("p99, last ÷ first tenth", percentile(late, 0.99), percentile(early, 0.99)),
        share(SIZE, mean(s.size for s in last), mean(s.size for s in first)),
        value("memory at the end, MB", stretches[-1].memory),
        value("hot tables at the end, MB", stretches[-1].size),
        value("p50 at the end, ms", percentile(late, 0.5)),
        value("p99 at the end, ms", percentile(late, 0.99)),
    )


async def _stretch(client: Client, worker: WorkerProcess, followers: asyncio.TaskGroup, seconds: float) -> Stretch:
    stretch = Stretch()
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        wanted = int(passed * RATE) - stretch.started
        async with asyncio.TaskGroup() as starts:
            for _ in range(wanted):
                starts.create_task(_start(client, followers, stretch))
        stretch.started += wanted
        await asyncio.sleep(_TICK)
    stretch.seconds = time.perf_counter() - began
    stretch.memory = worker.footprint.now
    return stretch


async def _start(client: Client, followers: asyncio.TaskGroup, stretch: Stretch) -> None:
    chance = random.random()
    if chance < 0.1:
        run = await client.start(waits, 1)
        followers.create_task(_send(client, run.id))
    elif chance < 0.3:
        await client.start(steps, 3)
    elif chance < 0.32:
        began = time.perf_counter()
        job = await client.start(noop, Order(number=1))
        followers.create_task(_follow(client, job.id, began, stretch))
    else:
        await client.start(noop, Order(number=1))


async def _send(client: Client, run_id: object) -> None:
    await asyncio.sleep(random.uniform(0.5, 1.5))
    await client.signal(str(run_id), go, 1)


async def _follow(client: Client, run_id: object, began: float, stretch: Stretch) -> None:
    await client.get(str(run_id)).result()
    stretch.latencies.append((time.perf_counter() - began) * 1000)


def _tell(sitting: Sitting, number: int, stretch: Stretch) -> None:
    # Those that have arrived: the last ones may still be under way.
    ordered = sorted(stretch.latencies)
    latencies = f"p50 {percentile(ordered, 0.5):.1f} ms, p99 {percentile(ordered, 0.99):.1f} ms" if ordered else ""
    sitting.note(
        f"stretch {number + 1}: {stretch.started / stretch.seconds:,.0f} runs/s, {stretch.memory:,.0f} MB, "
        f"hot tables {stretch.size:,.1f} MB, {latencies or 'no latency yet'}"
    )
