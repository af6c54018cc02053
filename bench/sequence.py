"""Steps per second where each step has to wait for the commit of the one before."""

from __future__ import annotations

from collections.abc import Sequence

from bench.crowd import run_crowd
from bench.figure import Figure
from bench.scenario import Measure
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.workload import steps

STEPS = 50


def runs_at_once(count: int) -> Measure:
    """So many runs of 50 steps at once; where one ends, a client that waits for its result starts the next."""

    async def measure(sitting: Sitting, tuning: Tuning) -> Sequence[Figure]:
        paces: list[float] = []
        for number in range(sitting.plan.repeat):
            pace = await _measure_once(sitting, tuning, count)
            sitting.note(f"{number + 1} of {sitting.plan.repeat}: {pace:,.0f} steps/s")
            paces.append(pace)
        return (Figure(name="steps/s", values=tuple(paces)),)

    return measure


async def _measure_once(sitting: Sitting, tuning: Tuning, count: int) -> float:
    plan = sitting.plan
    async with sitting.server.database() as database:
        await database.settle()
        async with sitting.worker(database, tuning), sitting.client(database) as client:

            async def run(_number: int) -> int:
                handle = await client.start(steps, STEPS)
                return await handle.result()

            # The worker has to be there before the clock starts.
            total = await run(0)
            tally = await run_crowd(count, run, warm_up=plan.warm_up, seconds=plan.seconds)
        await database.check(started=(total + tally.total) // STEPS, steps=STEPS)
        # By the journal, since at a run's end it is known how long 50 steps took, and not how long 49 did.
        window = await database.steps(warm_up=plan.warm_up, cool_down=plan.cool_down)
        return window.per_second
