"""A run is paused, in every state, and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from holdfast import Effect, Retry, RetryAfter, RunCancelled, RunNotFound, RunStatus, RunTimedOut, Signal, sleep
from tests.house import House, eventually
from tests.operate.inside import held_by
from tests.scenarios.soon import SOON

go = Signal[str]("go")
IS_AT_REST = "select bucket_id is null and due_at = 'infinity' and flags & 1 <> 0 from holdfast.task where run_id = $1"


async def test_one_that_sleeps_stands_still_and_its_deadline_does_not_move(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        await sleep(timedelta(days=2))
        return "awake"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await house.parked(run.id)
    due = await house.value("select due_at from holdfast.task where run_id = $1", run.id)
    assert await run.pause() is Effect.DONE
    assert await run.pause() is Effect.NOTHING
    assert await run.status() is RunStatus.PAUSED
    assert await run.wake() is Effect.NOTHING
    await house.check_invariants()

    assert await run.resume() is Effect.DONE
    assert await run.resume() is Effect.NOTHING
    assert await house.value("select due_at from holdfast.task where run_id = $1", run.id) == due
    assert await run.pause() is Effect.DONE
    await house.advance(timedelta(days=3))
    assert await run.resume() is Effect.DONE
    assert await run.result(timeout=SOON) == "awake"
    assert await run.pause() is Effect.ENDED
    assert await run.resume() is Effect.ENDED
    await house.check_invariants()


async def test_signals_to_a_paused_run_are_kept(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await go.wait() + await go.wait()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await house.parked(run.id)
    await run.pause()
    assert await run.signal(go, "a")
    assert await run.signal(go, "b")
    assert await house.value(IS_AT_REST, run.id)
    await house.check_invariants()
    await run.resume()
    assert await run.result(timeout=SOON) == "ab"
    await house.check_invariants()


async def test_what_runs_is_finished_and_recorded_and_nothing_new_begins(house: House) -> None:
    app = house.app()
    calls: list[str] = []
    may_end = asyncio.Event()

    @app.activity
    async def slow() -> str:
        calls.append("slow")
        await may_end.wait()
        return "one"

    @app.activity
    async def next_one() -> str:
        calls.append("next")
        return "two"

    @app.workflow
    async def flow() -> str:
        return await slow() + await next_one()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await eventually(lambda: calls, "the activity runs")
    assert await run.pause() is Effect.REQUESTED
    assert await run.status() is RunStatus.PAUSED
    held = held_by(worker, run.id)
    await eventually(lambda: held._asked, "the holder has seen the request")
    may_end.set()
    await house.until(IS_AT_REST, run.id)
    assert calls == ["slow"]
    assert await house.journal(run.id) == ["slow#1"]
    await house.check_invariants()
    await run.resume()
    assert await run.result(timeout=SOON) == "onetwo"
    assert calls == ["slow", "next"]


async def test_resumed_before_its_activity_has_ended_it_goes_on(house: House) -> None:
    app = house.app()
    calls: list[str] = []
    may_end = asyncio.Event()

    @app.activity
    async def slow() -> str:
        calls.append("slow")
        await may_end.wait()
        return "one"

    @app.workflow
    async def flow() -> str:
        return await slow()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await eventually(lambda: calls, "the activity runs")
    held = held_by(worker, run.id)
    await run.pause()
    await eventually(lambda: held._asked, "the holder has seen the request")
    assert await run.resume() is Effect.DONE
    await eventually(lambda: not held._asked, "the holder has seen that it is over")
    may_end.set()
    assert await run.result(timeout=SOON) == "one"
    assert calls == ["slow"]
    await house.check_invariants()


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_at_once_abandons_what_runs_and_begins_it_again(house: House, kind: str) -> None:
    app = house.app()
    calls: list[str] = []
    may_end = asyncio.Event()

    @app.activity
    async def slow() -> str:
        calls.append("slow")
        await may_end.wait()
        return "one"

    @app.workflow
    async def flow() -> str:
        return await slow()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow) if kind == "workflow" else await client.start(slow)
    await eventually(lambda: calls, "the activity runs")
    assert await run.pause() is Effect.REQUESTED
    assert await run.pause(at_once=True) is Effect.REQUESTED
    await house.until(IS_AT_REST, run.id)
    assert await house.journal(run.id) == []
    await house.check_invariants()
    may_end.set()
    await run.resume()
    assert await run.result(timeout=SOON) == "one"
    assert calls == ["slow", "slow"]
    await house.check_invariants()


async def test_one_that_has_not_begun_begins_at_its_time_again(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return "done"

    client = await house.client(app)
    later = await client.start(flow, after=timedelta(days=1))
    ready = await client.start(flow)
    for run in (later, ready):
        assert await run.pause() is Effect.DONE
    await house.worker(app)
    assert await (await client.start(flow)).result(timeout=SOON) == "done"
    assert await ready.status() is RunStatus.PAUSED
    for run in (later, ready):
        assert await run.resume() is Effect.DONE
    assert await ready.result(timeout=SOON) == "done"
    assert await later.status() is RunStatus.SCHEDULED
    await house.advance(timedelta(days=1))
    assert await later.result(timeout=SOON) == "done"


async def test_a_job_that_backs_off_keeps_its_time(house: House) -> None:
    app = house.app()
    calls: list[int] = []

    @app.activity(retry=Retry(max_attempts=3))
    async def job() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise RetryAfter(timedelta(hours=1))
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(job)
    await house.parked(run.id)
    await run.pause()
    await run.resume()
    assert await run.status() is RunStatus.WAITING
    assert await run.wake() is Effect.DONE
    assert await run.result(timeout=SOON) == "done"
    await house.check_invariants()


async def test_a_worker_that_dies_with_it_leaves_it_paused(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()

    @app.activity
    async def slow() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    @app.workflow
    async def flow() -> str:
        return await slow()

    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    await run.pause()
    name = await house.value("select name from holdfast.worker where state = 'active'")
    await house.expire_lease(name)
    await house.until(IS_AT_REST, run.id)
    assert await run.status() is RunStatus.PAUSED
    assert worker is not None
    await house.check_invariants()


async def test_its_timeout_goes_on(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await go.wait()

    client = await house.client(app)
    untouched = await client.start(flow, timeout=timedelta(hours=1), after=timedelta(minutes=1))
    await untouched.pause()
    begun = await client.start(flow, timeout=timedelta(hours=1))
    await house.worker(app)
    await house.parked(begun.id)
    await begun.pause()
    await house.advance(timedelta(hours=2))
    with pytest.raises(RunTimedOut):
        await untouched.result(timeout=SOON)
    assert await begun.status() is RunStatus.PAUSED
    await begun.resume()
    with pytest.raises(RunTimedOut):
        await begun.result(timeout=SOON)
    await house.check_invariants()


async def test_a_cancel_is_obeyed_when_it_is_resumed(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await go.wait()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await house.parked(run.id)
    await run.pause()
    assert await run.cancel() == "requested"
    assert await house.value(IS_AT_REST, run.id)
    await run.resume()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_nobody_knows_it(house: House) -> None:
    client = await house.client(house.app())
    for operation in (client.get(uuid4()).pause, client.get(uuid4()).wake, client.get(uuid4()).terminate):
        with pytest.raises(RunNotFound):
            await operation()
