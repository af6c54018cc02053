"""A run is ended at once: without its clean-up code, wherever it is, also where its holder has died."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from holdfast import Effect, RunCancelled, RunStatus, Signal, activity_info, sleep
from tests.house import House, eventually
from tests.scenarios.soon import SOON, told_to_stop

go = Signal[str]("go")


async def test_one_that_is_parked_ends_at_once_and_no_code_of_it_runs(house: House) -> None:
    app = house.app()
    cleaned: list[str] = []

    @app.workflow
    async def flow() -> None:
        try:
            await go.wait()
        except asyncio.CancelledError:
            cleaned.append("cleaned")
            raise

    client = await house.client(app)
    await house.worker(app)
    run, paused = await client.start(flow), await client.start(flow)
    await house.parked(run.id, paused.id)
    await paused.pause()
    await paused.signal_by_name("another", 1)
    for one in (run, paused):
        assert await one.terminate() is Effect.DONE
        assert await one.terminate() is Effect.ENDED
        with pytest.raises(RunCancelled):
            await one.result(timeout=SOON)
    assert not cleaned
    assert await house.value("select count(*) from holdfast.inbox") == 0
    await house.check_invariants()


@pytest.mark.parametrize("hints", [True, False], ids=["hinted", "by polling"])
@pytest.mark.parametrize("kind", ["workflow", "job", "thread"])
async def test_one_that_is_held_is_ended_by_its_holder_within_a_second(house: House, kind: str, hints: bool) -> None:
    app = house.app()
    cleaned: list[str] = []
    begun = asyncio.Event()
    told: list[bool] = []
    loop = asyncio.get_running_loop()

    @app.activity
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.activity
    def in_a_thread() -> None:
        loop.call_soon_threadsafe(begun.set)
        told.append(told_to_stop(activity_info()))

    @app.workflow
    async def flow() -> None:
        try:
            await slow()
        except asyncio.CancelledError:
            cleaned.append("cleaned")
            await slow()

    client = await house.client(app)
    await house.worker(app, hints=hints)
    code = {"workflow": flow, "job": slow, "thread": in_a_thread}[kind]
    run = await client.start(code.call())
    await begun.wait()
    asked = time.monotonic()
    assert await run.terminate() is Effect.REQUESTED
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    assert time.monotonic() - asked < 1.0
    assert not cleaned
    if kind == "thread":
        await eventually(lambda: told == [True], "the thread was told")
    await house.check_invariants()


async def test_if_its_holder_dies_before_it_obeys_the_next_one_does(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()
    entered: list[int] = []

    @app.activity
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.workflow
    async def flow() -> None:
        entered.append(1)
        await slow()

    client = await house.client(app)
    # It neither polls nor hears hints, so it does not learn of the request.
    await house.worker(app, hints=False, poll=timedelta(minutes=1), lease=timedelta(seconds=1))
    run = await client.start(flow)
    await begun.wait()
    assert await run.terminate() is Effect.REQUESTED
    name = await house.value("select name from holdfast.worker where state = 'active'")
    await house.worker(app)
    await house.expire_lease(name)
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    assert entered == [1]
    await house.check_invariants()


async def test_one_that_parks_meanwhile_is_ended_all_the_same(house: House) -> None:
    app = house.app()

    @app.activity
    async def step() -> None:
        pass

    @app.workflow
    async def flow() -> None:
        while True:
            await step()
            await sleep(timedelta(days=1))

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([flow.call() for _ in range(100)])
    await asyncio.gather(*(run.terminate() for run in runs))
    await house.ended(*[run.id for run in runs])
    assert {await run.status() for run in runs} == {RunStatus.CANCELLED}
    await house.check_invariants()
