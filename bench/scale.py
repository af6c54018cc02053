"""What a claim, a start and a signal cost beside very many runs that are parked or have ended."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from bench.database import Database
from bench.figure import Figure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import Order, go, noop, waits
from holdfast import Client

ENDED_PER_PARKED = 5

CLAIM = "start to result ÷ empty"
START = "start ÷ empty"
SIGNAL = "signal ÷ empty"


async def measure_scale(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
    """In turns on a database with ``--parked`` parked runs and five times as many results, and on an empty one."""
    parked = sitting.plan.parked
    ended = ENDED_PER_PARKED * parked
    async with sitting.server.database() as crowded, sitting.server.database() as empty:
        sitting.note(f"making {parked:,} parked runs and {ended:,} results")
        sizes = [await crowded.stored()]
        parked = max(parked, sitting.plan.samples * sitting.plan.repeat)
        await crowded.park(parked)
        sizes.append(await crowded.stored())
        await crowded.finish(ended)
        sizes.append(await crowded.stored())
        sitting.note(f"{sizes[-1] / 1e9:.1f} GB")
        await empty.park(sitting.plan.samples * sitting.plan.repeat)
        for database in (crowded, empty):
            await database.settle(analyze=True)
        shares: dict[str, list[float]] = {START: [], SIGNAL: [], CLAIM: []}
        times: dict[str, list[float]] = {name: [] for name in shares}
        for repetition in range(sitting.plan.repeat):
            found = await _in_turns(sitting, tuning, crowded, empty)
            for name, (there, here) in found.items():
                shares[name].append(there / here)
                times[name].append(there * 1000)
            sitting.note(
                f"{repetition + 1} of {sitting.plan.repeat}: "
                + ", ".join(f"{name} {shares[name][-1]:.2f}" for name in shares)
            )
    return (
        *(Figure(name=name, values=tuple(values)) for name, values in shares.items()),
        *(Figure(name=f"{name.split(' ÷ ')[0]}, ms", values=tuple(values)) for name, values in times.items()),
        Figure(name="bytes of a parked run", values=((sizes[1] - sizes[0]) / parked,)),
        Figure(name="bytes of an ended run", values=((sizes[2] - sizes[1]) / ended,)),
    )


async def _in_turns(
    sitting: Sitting, tuning: Tuning, crowded: Database, empty: Database
) -> dict[str, tuple[float, float]]:
    """The medians on the first and on the second, in seconds."""
    samples = sitting.plan.samples
    found: dict[str, tuple[list[float], list[float]]] = {START: ([], []), SIGNAL: ([], []), CLAIM: ([], [])}
    parked = [list(await database.some_parked(samples)) for database in (crowded, empty)]
    async with crowded.client() as there, empty.client() as here:
        clients = (there, here)

        async def sample(name: str, verb: Callable[[int], Awaitable[object]]) -> None:
            for side in random.sample((0, 1), 2):
                began = time.perf_counter()
                await verb(side)
                found[name][side].append(time.perf_counter() - began)

        for _ in range(samples):
            await sample(START, lambda side: clients[side].start(waits, 1))
            await sample(SIGNAL, lambda side: clients[side].signal(parked[side].pop(), go, 1))
        async with sitting.worker(crowded, tuning), sitting.worker(empty, tuning):
            for client in clients:
                await _execute(client)
            for _ in range(samples):
                await sample(CLAIM, lambda side: _execute(clients[side]))
    return {name: (median(there), median(here)) for name, (there, here) in found.items()}


async def _execute(client: Client) -> None:
    run = await client.start(noop, Order(number=1))
    await run.result()
