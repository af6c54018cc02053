"""What a worker keeps in memory is never trusted beyond what the database says."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import Signal
from holdfast.worker.workflow_run import WorkflowRun
from holdfast.workflow.instance import Instance
from holdfast.workflow.loop import WorkflowLoop
from tests.house import House, eventually

SOON = timedelta(seconds=20)

go = Signal[int]("go")


@pytest.mark.parametrize("kept", [0, 1, 2, 5])
async def test_parked_runs_that_are_evicted_all_the_time_call_nothing_twice(house: House, kept: int) -> None:
    app = house.app()
    calls: Counter[tuple[int, int]] = Counter()

    @app.activity
    async def note(run: int, step: int) -> int:
        calls[run, step] += 1
        return step

    @app.workflow
    async def talks(run: int, steps: int) -> int:
        total = 0
        for step in range(steps):
            total += await note(run, step)
            total += await go.wait()
        return total

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    runs = await client.start_many([talks.call(n, 8) for n in range(30)])

    async def heard(n: int, step: int) -> None:
        await eventually(lambda: step == 7 or calls[n, step + 1], "it goes on")

    async def talk(n: int) -> int:
        for step in range(8):
            await runs[n].signal(go, step, key=f"{step}")
            # Every third waits until it was heard, so that runs are woken one by one and together.
            if n % 3 == 0:
                await heard(n, step)
        return await runs[n].result(timeout=SOON)

    assert await asyncio.gather(*[talk(n) for n in range(30)]) == [56] * 30
    assert set(calls.values()) == {1}
    await house.check_invariants()


@pytest.mark.parametrize("parked", [True, False], ids=["evicted", "ended"])
async def test_runs_that_have_left_memory_leave_nothing_to_the_collector(house: House, *, parked: bool) -> None:
    app = house.app()

    @app.activity
    async def one() -> int:
        return 1

    @app.workflow
    async def waits() -> int:
        return await one() + (await go.wait() if parked else 0)

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    gc.collect()
    gc.disable()
    try:
        runs = await client.start_many([waits.call() for _ in range(20)])
        if parked:
            await house.parked(*[run.id for run in runs])
        else:
            await asyncio.gather(*[run.result(timeout=SOON) for run in runs])
        await eventually(lambda: not _alive(), "nothing of them is in memory")
    finally:
        gc.enable()


def _alive() -> list[object]:
    return [one for one in gc.get_objects() if type(one) in (WorkflowRun, WorkflowLoop, Instance)]
