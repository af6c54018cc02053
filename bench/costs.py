"""What a run costs: statements, commits, WAL, what is stored of it, and processor time of worker and server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.database import Database
from bench.failure import BenchFailed
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.worker import WorkerProcess
from bench.workload import Order, noop, steps
from holdfast import Call, Client

FURTHER = 10
"""So many steps are compared with one."""

WORDS = {
    "statements": "statements",
    "commits": "commits",
    "wal": "bytes of WAL",
    "stored": "bytes stored",
    "worker": "µs of the worker",
    "client": "µs of the client",
    "server": "µs of the server",
}
_SCALE = {"worker": 1e6, "client": 1e6, "server": 1e6}
_BULK = 5000
_PATIENCE = 120.0


async def measure_costs(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """Of a no-op job, of a workflow of one step, of each further step, and of a start among many."""
    found: dict[str, list[float]] = {}
    count = max(100, round(1000 * sitting.plan.seconds))
    for repetition in range(sitting.plan.repeat):
        async with sitting.server.database() as database:
            costs = await _measure(sitting, tuning, database, count)
        for name, value in costs.items():
            found.setdefault(name, []).append(value)
        sitting.note(f"{repetition + 1} of {sitting.plan.repeat}: {count:,} of each")
    return tuple(Figure(name=name, values=tuple(values)) for name, values in found.items())


async def _measure(sitting: Sitting, tuning: Tuning, database: Database, count: int) -> dict[str, float]:
    shapes: dict[str, Callable[[int], Call[Any]]] = {
        "job": lambda n: noop.call(Order(number=n)),
        "workflow of 1 step": lambda _: steps.call(1),
        "many steps": lambda _: steps.call(1 + FURTHER),
    }
    started: list[dict[str, float]] = []
    ended: dict[str, dict[str, float]] = {}
    async with database.client() as client, sitting.worker(database, tuning) as worker:
        meter = await database.meter(worker.pid)
        for call in shapes.values():
            # What is done once only has been done.
            await _execute(client, [call(n) for n in range(100)])
        connections = 0.0
        for name, call in shapes.items():
            began, spent = await meter.read(), time.process_time()
            for first in range(0, count, _BULK):
                await client.start_many([call(n) for n in range(first, min(count, first + _BULK))], lane="held-back")
            filled = await meter.read()
            started.append(filled.since(began, count) | {"client": (time.process_time() - spent) / count})
            await database.release("held-back")
            released = await meter.read()
            connections = max(connections, await database.connections())
            await _await_end(database, worker)
            ended[name] = (await meter.read()).since(released, count)
    one, many = ended["workflow of 1 step"], ended.pop("many steps")
    ended["further step"] = {what: max(0.0, many[what] - one[what]) / FURTHER for what in one}
    # Of a client, and not of the worker, which looks on.
    ended["start among many"] = {what: value for what, value in started[0].items() if what != "worker"}
    figures = {
        f"{name}: {words}": values[what] * _SCALE.get(what, 1)
        for name, values in ended.items()
        for what, words in WORDS.items()
        if what in values
    }
    return {**figures, "connections of the worker": connections}


async def _execute(client: Client, calls: Sequence[Call[Any]]) -> None:
    for run in await client.start_many(calls):
        await run.result()


async def _await_end(database: Database, worker: WorkerProcess) -> None:
    deadline = time.monotonic() + _PATIENCE
    # Seldom, so that looking costs next to nothing of what is measured.
    while not await database.is_drained():
        if time.monotonic() > deadline:
            raise worker.failed(f"has not ended all runs after {_PATIENCE:g} s")
        await asyncio.sleep(0.25)
    if not await database.has_results():
        raise BenchFailed("nothing was executed")
