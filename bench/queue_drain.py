"""Draining prepared queues: consumers in processes of their own, in batches of one size, beside bare SQL."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from bench.bare_consumer import FILL, SCHEMA
from bench.database import Database
from bench.failure import BenchFailed
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order

_ROOT = Path(__file__).parent.parent
_MOST = 4
_PER_SECOND = 5000
"""So many messages for each second of the plan: 50,000 in one of 10 s."""
_CHUNK = 5000


class Drain(NamedTuple):
    """How a queue is drained. ``together``: a batch is acknowledged while the next one is received."""

    consumers: int
    batch: int
    together: bool = True

    def __str__(self) -> str:
        several = "s" if self.consumers > 1 else ""
        apart = "" if self.together else ", receive and ack in turns"
        return f"{self.consumers} consumer{several}, batch {self.batch}{apart}"

    @property
    def pace(self) -> str:
        """What its figure is called."""
        return f"messages/s, {self}"

    @property
    def ratio(self) -> str:
        """What its ratio to the ceiling is called."""
        return f"ratio to bare SQL, {self}"


DRAINS: Sequence[Drain] = (
    *(Drain(consumers, batch) for batch in (50, 10, 1) for consumers in (1, 2, _MOST)),
    *(Drain(1, batch, together=False) for batch in (50, 10, 1)),
)


async def measure_queue_drain(sitting: Sitting, _tuning: Tuning) -> Sequence[Figure]:
    """Messages per second from the word to begin until the last acknowledgement has returned; bare SQL in turns."""
    count = max(100, round(_PER_SECOND * sitting.plan.seconds))
    paces: dict[Drain, list[float]] = {drain: [] for drain in DRAINS}
    ceilings: dict[Drain, list[float]] = {drain: [] for drain in DRAINS}
    for repetition in range(sitting.plan.repeat):
        async with _queues(sitting, count) as engine, _bare_queues(sitting, count) as bare:
            for drain in DRAINS:
                ceilings[drain].append(count / await bare(drain))
                paces[drain].append(count / await engine(drain))
                sitting.note(
                    f"{repetition + 1} of {sitting.plan.repeat}: {paces[drain][-1]:,.0f} {drain.pace}"
                    f" (bare SQL: {ceilings[drain][-1]:,.0f})"
                )
    own = [Figure(name=drain.pace, values=tuple(paces[drain])) for drain in DRAINS]
    bare_ones = [Figure(name=drain.pace, values=tuple(ceilings[drain])) for drain in DRAINS]
    return [*own, *(one.over(drain.ratio, other) for drain, one, other in zip(DRAINS, own, bare_ones, strict=True))]


_Measure = Callable[[Drain], Awaitable[float]]
"""Makes a queue, has it drained, and gives the seconds that it took."""


@asynccontextmanager
async def _queues(sitting: Sitting, count: int) -> AsyncGenerator[_Measure]:
    async with sitting.server.database() as database, _crew("bench.consumer", database) as crew:

        async def drain(how: Drain) -> float:
            name = uuid.uuid4().hex
            async with database.client() as client:
                queue = client.queue(name, Order)
                for first in range(0, count, _CHUNK):
                    await queue.send_many(Order(number=n) for n in range(first, min(first + _CHUNK, count)))
            await database.settle(analyze=True)
            seconds = await _drain(crew, how, name, count)
            await database.check(started=0)
            return seconds

        yield drain


@asynccontextmanager
async def _bare_queues(sitting: Sitting, count: int) -> AsyncGenerator[_Measure]:
    async with sitting.server.database(empty=True) as database:
        connection = await asyncpg.connect(database.url)
        try:
            await connection.execute(SCHEMA)
            async with _crew("bench.bare_consumer", database) as crew:

                async def drain(how: Drain) -> float:
                    name = uuid.uuid4().hex
                    for first in range(0, count, _CHUNK):
                        await connection.execute(
                            FILL, name, [uuid.uuid4() for _ in range(first, min(first + _CHUNK, count))]
                        )
                    await database.settle(analyze=True)
                    seconds = await _drain(crew, how, name, count)
                    if await connection.fetchval("select exists (select from ceiling.run)"):
                        raise BenchFailed("not all of the messages were acknowledged")
                    return seconds

                yield drain
        finally:
            await connection.close()


async def _drain(crew: Sequence[asyncio.subprocess.Process], how: Drain, name: str, count: int) -> float:
    word = f"{name} {how.batch} {'together' if how.together else 'apart'}\n".encode()
    began = time.perf_counter()
    for process in crew[: how.consumers]:
        assert process.stdin is not None
        process.stdin.write(word)
    handled, ended = 0, 0.0
    for process in crew[: how.consumers]:
        said = json.loads(await _line(process))
        handled += said["handled"]
        # One clock, of the machine.
        ended = max(ended, said["ended"])
    if handled != count:
        raise BenchFailed(f"of {count} messages {handled} were handled")
    return ended - began


@asynccontextmanager
async def _crew(module: str, database: Database) -> AsyncGenerator[Sequence[asyncio.subprocess.Process]]:
    """Processes that wait for the word, ended with the block."""
    crew: list[asyncio.subprocess.Process] = []
    try:
        while len(crew) < _MOST:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, database.url),
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            crew.append(process)
        for process in crew:
            if await _line(process) != b"ready\n":
                raise BenchFailed("a consumer did not begin")
        yield crew
        for process in crew:
            # The end of its stdin is the end of it.
            assert process.stdin is not None
            process.stdin.close()
        for process in crew:
            await process.wait()
    finally:
        for process in crew:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise BenchFailed("a consumer has ended")
    return line
