"""From the start of a job until a client has its durable result, while the worker has nothing else to do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from bench.database import Database
from bench.figure import Figure
from bench.percentile import percentile
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, noop

P50, P99 = "p50, ms", "p99, ms"
PARKED_SHARE = "p50 ÷ without parked runs"


async def measure_latency(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """In a database that is empty but for what the samples leave."""
    return _figures([await _on_empty(sitting, tuning) for _ in range(sitting.plan.repeat)])


async def measure_latency_beside_parked(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """In a database with very many parked runs, and in turns in one without."""
    empty: list[list[float]] = []
    crowded: list[list[float]] = []
    async with sitting.server.database() as database:
        sitting.note(f"parking {sitting.plan.parked:,} runs")
        await database.park(sitting.plan.parked)
        started = 0
        for _ in range(sitting.plan.repeat):
            empty.append(await _on_empty(sitting, tuning))
            await database.settle(analyze=True)
            crowded.append(await _sample(sitting, tuning, database))
            started += _started(sitting)
            await database.check(started=started, parked=sitting.plan.parked)
    own, others = _figures(crowded), _figures(empty)
    return (
        *own,
        own[0].over(PARKED_SHARE, others[0]),
        *(Figure(name=f"{figure.name}, without parked runs", values=figure.values) for figure in others),
    )


async def _on_empty(sitting: Sitting, tuning: Tuning) -> list[float]:
    async with sitting.server.database() as database:
        await database.settle()
        samples = await _sample(sitting, tuning, database)
        await database.check(started=_started(sitting))
        return samples


async def _sample(sitting: Sitting, tuning: Tuning, database: Database) -> list[float]:
    """Latencies in milliseconds, in ascending order."""
    samples: list[float] = []
    async with sitting.worker(database, tuning), sitting.client(database) as client:
        for number in range(_started(sitting)):
            # At random, so that nothing that recurs in either process is met always, or never.
            await asyncio.sleep(random.uniform(0.005, 0.050))
            began = time.perf_counter()
            run = await client.start(noop, Order(number=number))
            await run.result()
            samples.append((time.perf_counter() - began) * 1000)
    warm = sorted(samples[_warm_up(sitting) :])
    sitting.note(f"p50 {percentile(warm, 0.5):.2f} ms, p99 {percentile(warm, 0.99):.2f} ms of {len(warm)} samples")
    return warm


def _warm_up(sitting: Sitting) -> int:
    """So many samples do not count; in the first of them the worker is not there yet."""
    return max(3, sitting.plan.samples // 5)


def _started(sitting: Sitting) -> int:
    return _warm_up(sitting) + sitting.plan.samples


def _figures(repetitions: Sequence[list[float]]) -> tuple[Figure, ...]:
    return tuple(
        Figure(name=name, values=tuple(percentile(samples, part) for samples in repetitions))
        for name, part in ((P50, 0.5), (P99, 0.99), ("most, ms", 1.0))
    )
