"""W6: signals, whenever they are sent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast
from uuid import uuid4

import pytest

from holdfast import InvalidInput, RunEnded, RunNotFound, Signal, sleep
from holdfast.store.connect import connect
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[int]("go")
other = Signal[str]("other")


async def test_signals_that_are_sent_before_the_run_is_claimed_or_waits_are_kept_for_it(house: House) -> None:
    app = house.app()
    release = asyncio.Event()

    @app.activity
    async def work() -> None:
        await release.wait()

    @app.workflow
    async def waits() -> list[object]:
        first = await go.wait()
        await work()
        return [first, await other.wait(), await go.wait()]

    client = await house.client(app)
    run = await client.start(waits)
    await run.signal(go, 1)
    await run.signal(other, "early")
    await house.worker(app)
    await house.until("select count(*) = 2 from holdfast.journal where run_id = $1", run.id)
    # Its activity is in flight: it is held in memory.
    await run.signal(go, 2)
    await house.until("select count(*) = 3 from holdfast.journal where run_id = $1", run.id)
    release.set()
    assert await run.result(timeout=SOON) == [1, "early", 2]
    await house.check_invariants()


@pytest.mark.parametrize("hints", [True, False])
async def test_a_signal_reaches_a_run_that_is_held_in_memory(house: House, hints: bool) -> None:
    app = house.app()
    release = asyncio.Event()
    running = asyncio.Event()
    heard: list[int] = []

    @app.activity
    async def work() -> None:
        running.set()
        await release.wait()

    @app.activity
    async def echo(n: int) -> None:
        heard.append(n)

    @app.workflow
    async def listens() -> None:
        async def listen() -> None:
            while True:
                await echo(await go.wait())

        listener = asyncio.create_task(listen())
        await work()
        listener.cancel()

    client = await house.client(app)
    # With hints the poll is far away, so that only a hint can be in time.
    await house.worker(app, hints=hints, poll=timedelta(minutes=1) if hints else timedelta(milliseconds=100))
    run = await client.start(listens)
    await running.wait()
    for n in range(3):
        await run.signal(go, n)
        await house.until("select count(*) = $1 from holdfast.journal where kind = 1", n + 1)
    release.set()
    await run.result(timeout=SOON)
    assert heard == [0, 1, 2]
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_a_signal_during_a_rest_does_not_wake_the_run_early(house: House, kept: int) -> None:
    app = house.app()

    @app.workflow
    async def rests() -> list[int]:
        await sleep(timedelta(days=2))
        return [await go.wait(), await go.wait()]

    @app.workflow
    async def passes() -> None:
        await sleep(timedelta(milliseconds=1))

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(rests)
    await house.parked(run.id)
    holds = "select hold from holdfast.task where run_id = $1"
    before = await house.value(holds, run.id)
    await run.signal(go, 1)
    await (await client.start(passes)).result(timeout=SOON)
    await house.advance(timedelta(days=1))
    await run.signal(go, 2)
    await (await client.start(passes)).result(timeout=SOON)
    assert await house.value(holds, run.id) == before
    assert await house.journal(run.id) == []
    await house.advance(timedelta(days=1))
    assert await run.result(timeout=SOON) == [1, 2]
    await house.check_invariants()


async def test_one_that_is_sent_twice_with_one_key_is_seen_once_also_after_it_was_consumed(house: House) -> None:
    app = house.app()

    @app.workflow
    async def three() -> list[int]:
        return [await go.wait() for _ in range(3)]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(three)
    assert await run.signal(go, 1, key="a")
    assert not await run.signal(go, 100, key="a")
    await house.until("select count(*) = 1 from holdfast.journal where run_id = $1", run.id)
    await house.parked(run.id)
    assert not await run.signal(go, 100, key="a")
    answers = await asyncio.gather(*[run.signal(go, 2, key="b") for _ in range(20)])
    assert answers.count(True) == 1
    assert await run.signal(go, 3)
    assert await run.result(timeout=SOON) == [1, 2, 3]
    assert not await house.value("select count(*) from holdfast.inbox")
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_a_hundred_signals_are_seen_in_order_for_each_name(house: House, kept: int) -> None:
    app = house.app()

    @app.workflow
    async def hears(count: int) -> list[list[int]]:
        async def hear(name: str) -> list[int]:
            return [await Signal[int](name).wait() for _ in range(count)]

        return list(await asyncio.gather(hear("odd"), hear("even")))

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(hears, 50)

    async def send(name: str, first: int) -> None:
        for n in range(first, 100, 2):
            await run.signal(Signal[int](name), n)

    await asyncio.gather(send("even", 0), send("odd", 1))
    assert await run.result(timeout=SOON) == [list(range(1, 100, 2)), list(range(0, 100, 2))]
    await house.check_invariants()


async def test_a_run_that_nobody_knows_or_that_has_ended_takes_none(house: House) -> None:
    app = house.app()

    @app.workflow
    async def ends() -> None:
        pass

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(ends)
    await run.result(timeout=SOON)
    with pytest.raises(RunEnded, match="has ended"):
        await run.signal(go, 1)
    with pytest.raises(RunNotFound, match="there is no run"):
        await client.get(uuid4()).signal(go, 1)
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_a_wait_that_times_out_takes_nothing_and_one_in_time_wins(house: House, kept: int) -> None:
    app = house.app()

    @app.workflow
    async def patient() -> list[object]:
        heard: list[object] = []
        for _ in range(2):
            try:
                heard.append(await go.wait(timeout=timedelta(hours=1)))
            except TimeoutError:
                heard.append("nothing")
        heard.append(await go.wait(timeout=timedelta(hours=1)))
        return heard

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(patient)
    await house.parked(run.id)
    await house.advance(timedelta(hours=1, seconds=1))
    await house.until("select exists (select from holdfast.journal where run_id = $1 and kind = 3)", run.id)
    await house.parked(run.id)
    await run.signal(go, 1)
    await house.until("select exists (select from holdfast.journal where run_id = $1 and kind = 4)", run.id)
    await run.signal(go, 2)
    assert await run.result(timeout=SOON) == ["nothing", 1, 2]
    await house.check_invariants()


async def test_one_that_does_not_fit_its_type_is_refused_where_it_is_sent(house: House) -> None:
    app = house.app()

    @app.workflow
    async def waits() -> int:
        return await go.wait()

    client = await house.client(app)
    run = await client.start(waits)
    with pytest.raises(InvalidInput, match="signal 'go'"):
        await run.signal(go, cast("int", "seven"))
    # By name nothing is checked here: the run refuses it, and can say so.
    await run.signal_by_name("go", "eight")
    await house.worker(app)
    with pytest.raises(Exception, match="signal 'go'"):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_one_in_a_transaction_that_stays_open_holds_up_nobody_else(house: House) -> None:
    app = house.app()
    gate = asyncio.Event()

    @app.activity
    async def work() -> None:
        await gate.wait()

    @app.workflow
    async def waits() -> int:
        await work()
        return await go.wait()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(waits)
    await house.held(run.id)
    user = await connect(house.dsn, application="user")
    try:
        async with user.transaction():
            await run.signal(go, 5, connection=user)
            # Its row is locked, and it wants to park. Others come and go meanwhile.
            gate.set()
            await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
            for _ in range(5):
                neighbour = await client.start(waits)
                await neighbour.signal(go, 6)
                assert await neighbour.result(timeout=SOON) == 6
            assert await house.value("select bucket_id is not null from holdfast.task where run_id = $1", run.id)
    finally:
        await user.close()
    assert await run.result(timeout=SOON) == 5
    await house.check_invariants()
