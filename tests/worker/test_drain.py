"""A worker that is told to stop lets running work finish, and gives all the rest back at once."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from holdfast import Signal, sleep
from holdfast.app.hosted import HostedWorker, WorkerOptions
from holdfast.core.priority import Priority
from holdfast.store import work
from holdfast.store.connect import connect
from holdfast.worker.holdings import Holdings
from tests.house import QUICK, House, eventually

SOON = timedelta(seconds=20)
LONG_GRACE: WorkerOptions = {**QUICK, "grace": timedelta(seconds=60)}
"""A stop that waits for the end of this grace fails its test."""

go = Signal[str]("go")


async def stopping(worker: HostedWorker) -> None:
    """Tells the worker to stop, and waits until it has begun to."""
    worker.stop()
    inner = worker._worker
    assert inner is not None
    tenure = inner._tenure
    assert tenure is not None
    await eventually(lambda: tenure.draining, "the worker stops")


@pytest.mark.usefixtures("long_lines")
async def test_a_workflow_that_was_claimed_and_not_begun_is_taken_by_the_next_worker(house: House) -> None:
    app = house.app()
    release = asyncio.Event()
    started = 0

    @app.activity
    async def hold() -> None:
        nonlocal started
        started += 1
        await release.wait()

    @app.workflow
    async def plain() -> str:
        return "done"

    client = await house.client(app)
    # The jobs take every slot of the bucket, so the workflow is claimed and stays in line behind them.
    async with app.worker(**LONG_GRACE) as worker:
        for _ in range(worker.settings.capacity(Priority.MEDIUM)):
            await client.start(hold)
        await eventually(lambda: started == 4, "all slots are taken")
        waiting = await client.start(plain)
        await house.held(waiting.id)
        worker.stop()
        await house.until("select bucket_id is null from holdfast.task where run_id = $1", waiting.id)
        release.set()
    assert await house.value("select due_at <= holdfast.now() from holdfast.task where run_id = $1", waiting.id)
    await house.worker(app)
    assert await waiting.result(timeout=SOON) == "done"
    await house.check_invariants()


async def test_what_a_claim_brings_after_the_stop_is_given_back_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()
    release, running = asyncio.Event(), asyncio.Event()

    @app.workflow
    async def plain() -> str:
        return "done"

    @app.activity
    async def job(*, wait: bool = False) -> str:
        if wait:
            running.set()
            await release.wait()
        return "done"

    claimed, answer = asyncio.Event(), asyncio.Event()
    real = work.claim

    async def slow_answer(*arguments: Any, **options: Any) -> work.Claim:
        claim = await real(*arguments, **options)
        if claim.runs and running.is_set():
            claimed.set()
            await answer.wait()
        return claim

    monkeypatch.setattr(work, "claim", slow_answer)
    client = await house.client(app)
    async with app.worker(**LONG_GRACE) as worker:
        first = await client.start(job.call(wait=True))
        await running.wait()
        both = [await client.start(plain), await client.start(job)]
        await claimed.wait()
        await stopping(worker)
        answer.set()
        # While the first one still runs, the others are free for a peer.
        await house.until(
            "select count(*) >= 1 and bool_and(bucket_id is null and due_at <= holdfast.now()) "
            "from holdfast.task where run_id <> $1 and hold > 0",
            first.id,
        )
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    monkeypatch.undo()
    await house.worker(app)
    assert [await run.result(timeout=SOON) for run in (first, *both)] == ["done"] * 3
    await house.check_invariants()


async def test_an_activity_that_waits_in_line_for_a_thread_does_not_hold_up_the_stop(house: House) -> None:
    app = house.app()
    release = threading.Event()
    running = threading.Event()

    @app.activity
    def slow() -> str:
        running.set()
        release.wait(20)
        return "done"

    @app.workflow
    async def waits() -> str:
        return await slow()

    client = await house.client(app)
    options: WorkerOptions = {**LONG_GRACE, "max_threads": 1}
    async with app.worker(**options) as worker:
        runs = [await client.start(waits) for _ in range(2)]
        jobs = [await client.start(slow)]
        await asyncio.to_thread(running.wait)
        await house.held(*[run.id for run in (*runs, *jobs)])
        worker.stop()
        # All but the one that runs are given back while it still runs.
        await house.until("select count(*) = 2 from holdfast.task where bucket_id is null and due_at <= holdfast.now()")
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    await house.worker(app)
    assert {await run.result(timeout=SOON) for run in (*runs, *jobs)} == {"done"}
    await house.check_invariants()


async def test_an_async_activity_that_waits_in_line_does_not_hold_up_the_stop(house: House) -> None:
    app = house.app()
    release, running = asyncio.Event(), asyncio.Event()

    @app.activity
    async def slow() -> str:
        running.set()
        await release.wait()
        return "done"

    @app.workflow
    async def waits() -> list[str]:
        return list(await asyncio.gather(slow(), slow(), slow()))

    client = await house.client(app)
    options: WorkerOptions = {**LONG_GRACE, "max_activities": 2}
    async with app.worker(**options) as worker:
        run = await client.start(waits)
        await running.wait()
        await stopping(worker)
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    # What ran was let finish and is recorded; the third is left for the next worker.
    assert sorted(await house.journal(run.id)) == ["slow#1", "slow#2"]
    await house.worker(app)
    assert await run.result(timeout=SOON) == ["done"] * 3
    await house.check_invariants()


async def test_a_run_that_sleeps_in_memory_keeps_its_time_over_a_stop(house: House) -> None:
    app = house.app()

    @app.workflow
    async def naps() -> str:
        await sleep(timedelta(milliseconds=900))
        return "done"

    client = await house.client(app)
    async with app.worker(**LONG_GRACE):
        run = await client.start(naps)
        await house.until("select hold = 1 from holdfast.task where run_id = $1", run.id)
    due = await house.value(
        "select extract(epoch from due_at - first_claim_at)::float8 from holdfast.task where run_id = $1", run.id
    )
    assert due == 0.9 or due is None
    await house.worker(app)
    assert await run.result(timeout=SOON) == "done"


async def test_a_row_that_somebody_holds_on_to_does_not_keep_a_worker_from_leaving(
    house: House, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    app = house.app()
    released = asyncio.Event()
    running = 0

    @app.activity
    async def waits() -> str:
        nonlocal running
        running += 1
        await released.wait()
        return "done"

    @app.workflow
    async def signalled() -> str:
        await waits()
        return await go.wait()

    client = await house.client(app)
    other = await connect(house.dsn, application="tests")
    options: WorkerOptions = {**QUICK, "grace": timedelta(0)}
    try:
        async with app.worker(**options) as worker:
            runs = [await client.start(signalled) for _ in range(2)]
            await eventually(lambda: running == 2, "both run")
            transaction = other.transaction()
            await transaction.start()
            await runs[0].signal(go, "now", connection=other)
            worker.stop()
        # The free one was given back by the stop; the other one is taken when its row is free again.
        assert await house.value("select bucket_id is null from holdfast.task where run_id = $1", runs[1].id)
        released.set()
        await house.worker(app)
        await runs[1].signal(go, "me too")
        assert await runs[1].result(timeout=SOON) == "me too"
        await transaction.commit()
        assert await runs[0].result(timeout=SOON) == "now"
    finally:
        await other.close()
    await house.check_invariants()


async def test_what_is_recorded_at_the_moment_in_which_the_worker_is_told_to_stop_is_gone_on_with(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()
    told: list[Holdings] = []
    really = Holdings.step_soon

    def step_soon(self: Holdings, run: Any) -> None:
        really(self, run)
        if not told:
            # Its outcome is durable and in the memory of the run, and the code has not heard of it.
            told.append(self)
            self.drain()

    monkeypatch.setattr(Holdings, "step_soon", step_soon)

    @app.activity
    async def step(n: int) -> int:
        return n + 1

    @app.workflow
    async def flow() -> int:
        return await step(await step(1))

    client = await house.client(app)
    async with app.worker(**LONG_GRACE):
        run = await client.start(flow)
        # Its claims go on, so it may take the run and give it back more than once.
        await house.until(
            "select bucket_id is null and exists (select from holdfast.journal j where j.run_id = t.run_id)"
            " from holdfast.task t where run_id = $1",
            run.id,
        )
    assert await house.journal(run.id) == ["step#1"]
    assert await house.value("select due_at <= holdfast.now() from holdfast.task where run_id = $1", run.id)
    await house.worker(app)
    assert await run.result(timeout=SOON) == 3
    assert len(told) == 1
    await house.check_invariants()
