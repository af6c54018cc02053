"""Draining a prepared queue: consumers in processes of their own, in batches of one size."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.consumer import QUEUE
from bench.database import Database
from bench.failure import BenchFailed
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning

_ROOT = Path(__file__).parent.parent
_CONSUMERS = (1, 2, 4)
_BATCHES = (50, 10, 1)
_PER_SECOND = 5000
"""So many messages for each second of the plan: 50,000 in one of 10 s."""


def drained(consumers: int, batch: int) -> str:
    """What the figure is called."""
    return f"messages/s, {consumers} consumer{'s' if consumers > 1 else ''}, batch {batch}"


async def measure_queue_drain(sitting: Sitting, _tuning: Tuning) -> Sequence[Figure]:
    """Messages per second from the word to begin until the last acknowledgement."""
    plan = sitting.plan
    paces: dict[str, list[float]] = {}
    count = max(100, round(_PER_SECOND * plan.seconds))
    for repetition in range(plan.repeat):
        for batch in _BATCHES:
            for consumers in _CONSUMERS:
                name = drained(consumers, batch)
                async with sitting.server.database() as database:
                    async with database.client() as client:
                        await client.queue(QUEUE).send_many(range(count))
                    await database.settle(analyze=True)
                    seconds = await _drain(database, consumers, batch)
                    await database.check(started=0)
                paces.setdefault(name, []).append(count / seconds)
                sitting.note(f"{repetition + 1} of {plan.repeat}: {count / seconds:,.0f} {name}")
    return [Figure(name=name, values=tuple(values)) for name, values in paces.items()]


async def _drain(database: Database, consumers: int, batch: int) -> float:
    """The seconds until the queue is empty."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.consumer", database.url, str(batch)),
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(consumers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if await process.stdout.readline() != b"ready\n":
                raise BenchFailed("a consumer did not begin")
        began = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        while not await database.is_drained():
            if all(process.returncode is not None for process in processes):
                raise BenchFailed("the consumers have ended, and the queue is not empty")
            await asyncio.sleep(0.005)
        return time.perf_counter() - began
    finally:
        for process in processes:
            if process.returncode is None:
                await process.communicate()
