"""A sleep is ended early: the timer rings before its time, and each replay knows that it did."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import Effect, RetryAfter, RunStatus, Signal, now, sleep
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_the_earliest_timer_rings_and_the_others_keep_their_time(house: House, kept: int) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> list[str]:
        began = now()
        seen: list[str] = []

        async def nap(days: int) -> None:
            await sleep(timedelta(days=days))
            seen.append(f"{days} after {(now() - began).days}")

        await asyncio.gather(nap(3), nap(1), nap(2))
        await go.wait()
        return seen

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(flow)
    await house.parked(run.id)
    due = await house.value("select due_at from holdfast.task where run_id = $1", run.id)
    assert await run.wake() is Effect.DONE
    await house.until("select due_at = $2 from holdfast.task where run_id = $1", run.id, due + timedelta(days=1))
    assert await house.journal(run.id) == ["timer#2"]
    await house.check_invariants()
    # The second before its time, the last one in time.
    await run.wake()
    await house.until("select due_at = $2 from holdfast.task where run_id = $1", run.id, due + timedelta(days=2))
    await house.advance(timedelta(days=3))
    await house.until("select count(*) = 3 from holdfast.journal where run_id = $1", run.id)
    await run.signal(go, "on")
    # Its whole journal once more, in another worker.
    assert await run.result(timeout=SOON) == ["1 after 0", "2 after 0", "3 after 3"]
    assert await house.journal(run.id) == ["timer#2", "timer#3", "timer#1", "signal:go#1"]
    await house.check_invariants()


async def test_a_replay_elsewhere_rings_them_as_they_rang(house: House) -> None:
    app = house.app()
    passes: list[list[str]] = []

    @app.workflow
    async def flow() -> list[str]:
        seen: list[str] = []
        passes.append(seen)
        try:
            async with asyncio.timeout(timedelta(days=1).total_seconds()):
                seen.append(await go.wait())
        except TimeoutError:
            seen.append("too late")
        await sleep(timedelta(hours=1))
        seen.append("slept")
        return seen

    client = await house.client(app)
    async with app.worker(skip_warm_up=True, cached_runs=0):
        run = await client.start(flow)
        await house.parked(run.id)
        await run.wake()
        await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
        await house.parked(run.id)
    await house.worker(app)
    await run.wake()
    assert await run.result(timeout=SOON) == ["too late", "slept"]
    assert all(seen == ["too late", "slept"][: len(seen)] for seen in passes)
    await house.check_invariants()


async def test_while_it_is_held_its_holder_is_told(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()
    may_end = asyncio.Event()

    @app.activity
    async def slow() -> str:
        begun.set()
        await may_end.wait()
        return "slow"

    @app.workflow
    async def flow() -> str:
        work = asyncio.create_task(slow())
        await sleep(timedelta(days=1))
        return f"awake before {await work}"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    assert await run.wake() is Effect.REQUESTED
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'timer#1')", run.id)
    await house.until("select flags & 256 = 0 from holdfast.task where run_id = $1", run.id)
    may_end.set()
    assert await run.result(timeout=SOON) == "awake before slow"
    assert await run.wake() is Effect.ENDED
    await house.check_invariants()


async def test_a_back_off_is_over(house: House) -> None:
    app = house.app()
    calls: list[int] = []

    @app.activity
    async def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise RetryAfter(timedelta(days=1))
        return "done"

    @app.workflow
    async def flow() -> str:
        async with asyncio.timeout(timedelta(days=30).total_seconds()):
            return await flaky()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await house.parked(run.id)
    assert await run.wake() is Effect.DONE
    assert await run.result(timeout=SOON) == "done"
    assert await house.journal(run.id) == ["flaky#1@1", "flaky#1"]
    await house.check_invariants()


async def test_one_that_has_not_begun_begins_and_one_that_waits_for_a_signal_only_does_not_wake(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await go.wait()

    client = await house.client(app)
    run = await client.start(flow, after=timedelta(days=1))
    assert await run.wake() is Effect.DONE
    assert await run.status() is RunStatus.READY
    assert await run.wake() is Effect.NOTHING
    await house.worker(app)
    await house.parked(run.id)
    assert await run.wake() is Effect.NOTHING
    await run.signal(go, "on")
    assert await run.result(timeout=SOON) == "on"


async def test_a_wake_that_comes_while_the_run_parks_is_not_overlooked(house: House) -> None:
    app = house.app()

    @app.activity
    async def step() -> None:
        pass

    @app.workflow
    async def flow() -> int:
        for _ in range(20):
            await step()
            await sleep(timedelta(days=1))
        return 20

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(flow) for _ in range(10)]
    woken = 0
    while await house.value("select exists (select from holdfast.task)"):
        for run in runs:
            effect = await run.wake()
            woken += effect in {Effect.DONE, Effect.REQUESTED}
    assert woken >= 200
    for run in runs:
        assert await run.result(timeout=SOON) == 20
    await house.check_invariants()
