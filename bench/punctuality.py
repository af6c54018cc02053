"""How late jobs begin: in a steady stream, and where very many are due in the same second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bench.database import Database
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import stamp

P50, P99 = "start delay p50, ms", "start delay p99, ms"
LAST = "the last begins after, s"

RATE = 1000
"""Jobs per second of the stream."""
AT_ONCE = 1000
"""Jobs that are due in one second, per second of the plan: 10,000 in a measurement of 10."""

_TICK = 0.01
_AHEAD = timedelta(seconds=3)


async def measure_steady(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """A stream of jobs that are due when they are started."""
    found: list[tuple[float, float]] = []
    for number in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            await database.settle()
            async with sitting.worker(database, tuning), sitting.client(database) as client:
                await (await client.start(stamp)).result()
                began, started = time.perf_counter(), 0
                while (passed := time.perf_counter() - began) < sitting.plan.warm_up + sitting.plan.seconds:
                    if wanted := int(passed * RATE) - started:
                        await client.start_many([stamp.call() for _ in range(wanted)])
                        started += wanted
                    await asyncio.sleep(_TICK)
                await _drained(database)
            await database.check_ended(started=started + 1)
            found.append(await database.delays())
        _tell(sitting, number, found[-1])
    return _figures(found)


async def measure_due_at_once(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """Jobs that are all due within one second, a few seconds from now."""
    count = max(100, round(AT_ONCE * sitting.plan.seconds))
    found: list[tuple[float, float]] = []
    last: list[float] = []
    for number in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            await database.settle()
            async with sitting.worker(database, tuning), sitting.client(database) as client:
                await (await client.start(stamp)).result()
                due = datetime.now(UTC) + _AHEAD
                for place in range(10):
                    at = due + place * timedelta(milliseconds=100)
                    await client.start_many([stamp.call() for _ in range(count // 10)], at=at)
                await _drained(database)
            await database.check_ended(started=count // 10 * 10 + 1)
            found.append(await database.delays())
            last.append(await database.last_begun() - due.timestamp())
        _tell(sitting, number, found[-1])
    return (*_figures(found), Figure(name=LAST, values=tuple(last)))


async def _drained(database: Database) -> None:
    while not await database.is_drained():  # noqa: ASYNC110 - what is awaited happens in the database
        await asyncio.sleep(0.05)


def _figures(found: Sequence[tuple[float, float]]) -> tuple[Figure, ...]:
    return (
        Figure(name=P50, values=tuple(p50 for p50, _ in found)),
        Figure(name=P99, values=tuple(p99 for _, p99 in found)),
    )


def _tell(sitting: Sitting, number: int, delays: tuple[float, float]) -> None:
    sitting.note(f"{number + 1} of {sitting.plan.repeat}: p50 {delays[0]:.2f} ms, p99 {delays[1]:.2f} ms")
