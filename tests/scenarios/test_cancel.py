"""W14: a run is cancelled, in every state; and a run that has a timeout of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest

from holdfast import RetryAfter, RunCancelled, RunNotFound, RunStatus, RunTimedOut, Signal, activity_info, sleep
from tests.house import House, eventually
from tests.scenarios.soon import SOON, told_to_stop

go = Signal[str]("go")


async def test_before_the_claim_it_ends_at_once_and_no_code_of_it_runs(house: House) -> None:
    app = house.app()
    ran: list[str] = []

    @app.workflow
    async def flow() -> None:
        ran.append("flow")

    @app.activity
    async def job() -> None:
        ran.append("job")

    client = await house.client(app)
    runs = [await client.start(flow), await client.start(job), await client.start(flow, after=timedelta(hours=1))]
    for run in runs:
        assert await run.cancel() == "cancelled"
        assert await run.cancel() == "ended"
        with pytest.raises(RunCancelled):
            await run.result(timeout=SOON)
    await house.worker(app)
    await (await client.start(flow)).result(timeout=SOON)
    assert ran == ["flow"]
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
@pytest.mark.parametrize("waits_for", ["timer", "signal", "back-off"])
async def test_while_it_waits_its_clean_up_code_runs_once_and_it_ends_as_cancelled(
    house: House, kept: int, waits_for: str
) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def work(word: str) -> None:
        calls[word] += 1
        if word == "fails":
            raise RetryAfter(timedelta(hours=1))

    @app.workflow
    async def flow() -> None:
        await work("do")
        try:
            if waits_for == "timer":
                await sleep(timedelta(hours=1))
            elif waits_for == "signal":
                await go.wait()
            else:
                await work("fails")
        except asyncio.CancelledError:
            await work("undo")
            raise

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(flow)
    await house.parked(run.id)
    answers = [await run.cancel(), await run.cancel()]
    assert answers[0] == "requested"
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    assert await run.status() is RunStatus.CANCELLED
    assert await run.cancel() == "ended"
    assert calls["do"] == calls["undo"] == 1
    assert calls["fails"] == (1 if waits_for == "back-off" else 0)
    await house.check_invariants()


@pytest.mark.parametrize("hints", [True, False])
async def test_while_an_activity_runs_it_is_cancelled_too(house: House, hints: bool) -> None:
    app = house.app()
    begun = asyncio.Event()
    stopped: list[str] = []
    thread_begun = threading.Event()

    @app.activity
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("async")

    @app.activity
    def slow_thread() -> None:
        info = activity_info()
        thread_begun.set()
        assert told_to_stop(info)
        stopped.append("thread")

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(slow(), slow_thread())

    client = await house.client(app)
    await house.worker(app, hints=hints, poll=timedelta(minutes=1) if hints else timedelta(milliseconds=100))
    run = await client.start(flow)
    await begun.wait()
    await asyncio.to_thread(thread_begun.wait)
    assert await run.cancel() == "requested"
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await eventually(lambda: sorted(stopped) == ["async", "thread"], "both are told")
    await house.check_invariants()


async def test_a_running_job_is_cancelled_and_one_that_rests_ends_at_once(house: House) -> None:
    app = house.app()
    begun, stopped = asyncio.Event(), asyncio.Event()

    @app.activity
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    @app.activity
    async def rests() -> None:
        raise RetryAfter(timedelta(hours=1))

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(slow)
    await begun.wait()
    assert await run.cancel() == "requested"
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await stopped.wait()
    resting = await client.start(rests)
    await house.parked(resting.id)
    assert await resting.cancel() == "cancelled"
    with pytest.raises(RunCancelled):
        await resting.result(timeout=SOON)
    await house.check_invariants()


async def test_a_run_that_does_not_obey_goes_on_and_gives_its_result(house: House) -> None:
    app = house.app()

    @app.workflow
    async def stubborn() -> str:
        try:
            await go.wait()
        except asyncio.CancelledError:
            return f"no, {await go.wait()}"
        return "?"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(stubborn)
    await house.parked(run.id)
    await run.cancel()
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    await run.signal(go, "thank you")
    assert await run.result(timeout=SOON) == "no, thank you"
    await house.check_invariants()


async def test_after_the_end_and_of_an_unknown_run(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == "done"
    assert await run.cancel() == "ended"
    assert await run.result(timeout=SOON) == "done"
    with pytest.raises(RunNotFound):
        await client.cancel(uuid4())
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_a_run_with_a_timeout_ends_with_it_after_its_clean_up(house: House, kept: int) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def work(word: str) -> None:
        calls[word] += 1

    @app.workflow
    async def flow() -> None:
        try:
            await go.wait()
        finally:
            await work("undo")

    @app.activity
    async def endless() -> None:
        await asyncio.Event().wait()

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(flow, timeout=timedelta(hours=2))
    await house.parked(run.id)
    await house.advance(timedelta(hours=1, minutes=59))
    assert await run.status() is RunStatus.WAITING
    await house.advance(timedelta(minutes=1))
    with pytest.raises(RunTimedOut, match="timeout"):
        await run.result(timeout=SOON)
    assert calls == {"undo": 1}
    assert await run.status() is RunStatus.FAILED
    job = await client.start(endless, timeout=timedelta(milliseconds=200))
    with pytest.raises(Exception, match="time"):
        await job.result(timeout=SOON)
    # One that is not even begun in time says so as well.
    late = await client.start(flow, after=timedelta(hours=3), timeout=timedelta(hours=2))
    await house.advance(timedelta(hours=3))
    with pytest.raises(RunTimedOut):
        await late.result(timeout=SOON)
    await house.check_invariants()
