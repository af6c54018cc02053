"""W20: who waits for a thousand results sends a handful of statements a second, counted on the wire."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.apps.journeys import app as journeys
from tests.apps.journeys import lasts
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.house import House, eventually


@pytest.mark.parametrize("hints", [True, False])
async def test_waiting_for_a_thousand_results(load: Load, far: House, proxy: Proxy, hints: bool) -> None:
    journeys.override(origin="the test", database_url=far.dsn)
    async with journeys.client(hints=hints) as client:
        runs = await client.start_many([lasts.call(0.002 * (n % 50)) for n in range(1_000)])
        waiting = [asyncio.create_task(run.result()) for run in runs]
        await load.worker(None, "--parallelism-factor", "2")
        await eventually(lambda: any(task.done() for task in waiting), "the first result is there")
        before, began = proxy.said.total(), time.monotonic()
        await eventually(lambda: sum(task.done() for task in waiting) >= 500, "half of them are there")
        said, took = proxy.said.total() - before, time.monotonic() - began
        assert await asyncio.gather(*waiting) == ["done"] * 1_000
    # Fewer wait the longer it takes, and the fewer wait, the cheaper is a look and the more often it is made.
    assert said <= 5 + 12 * took, (said, took)
    assert proxy.said.total() < 400
    await load.house.check_invariants()
