"""W2, W3: asyncio's constructs around durable operations, end to end; the same winner wherever the run goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from holdfast import Signal, sleep
from tests.house import House, eventually
from tests.scenarios.soon import SOON

go = Signal[str]("go")
more = Signal[str]("more")

# What is in memory, and what is replayed from the journal each time that a run was parked.
KEPT = [2000, 0]


@pytest.fixture(params=KEPT, ids=["from memory", "by replay"])
def kept(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def test_gather_and_task_group_give_every_outcome(house: House, kept: int) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def fetch(name: str) -> str:
        calls[name] += 1
        return name.upper()

    @app.activity
    def crunch(name: str) -> int:
        calls[name] += 1
        return len(name)

    @app.workflow
    async def many() -> list[object]:
        first = await asyncio.gather(fetch("a"), crunch("bb"), go.wait(), sleep(timedelta(milliseconds=20)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(f"t{n}")) for n in range(3)]
            heard = group.create_task(more.wait())
        return [*first, *[task.result() for task in tasks], heard.result()]

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(many)
    await house.parked(run.id)
    await run.signal(go, "went")
    await house.until("select count(*) = 5 from holdfast.journal where run_id = $1 and kind = 1", run.id)
    await house.parked(run.id)
    await run.signal(more, "and more")
    assert await run.result(timeout=SOON) == ["A", 2, "went", None, "T0", "T1", "T2", "and more"]
    assert set(calls.values()) == {1}
    await house.check_invariants()


async def test_the_first_completed_wins_for_good_and_the_losers_are_cancelled(house: House, kept: int) -> None:
    app = house.app()
    release = asyncio.Event()
    seen: list[str] = []
    ended: Counter[str] = Counter()

    @app.activity
    async def quick() -> str:
        return "quick"

    @app.activity
    async def slow() -> str:
        try:
            await release.wait()
        except asyncio.CancelledError:
            ended["cancelled"] += 1
            raise
        return "slow"

    @app.workflow
    async def race() -> list[str]:
        runners = {
            asyncio.create_task(one, name=name)
            for name, one in {
                "slow": slow(),
                "quick": quick(),
                "timer": sleep(timedelta(hours=1)),
                "signal": go.wait(),
            }.items()
        }
        done, pending = await asyncio.wait(runners, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        winners = sorted(task.get_name() for task in done)
        seen.append(",".join(winners))
        winners.append(await go.wait())
        return winners

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(race)
    await house.parked(run.id)
    await eventually(lambda: ended["cancelled"] == 1, "the loser is cancelled")
    assert await house.journal(run.id) == ["quick#1"]
    await run.signal(go, "late")
    # The signal goes to the wait that is open, not to the one that was cancelled.
    assert await run.result(timeout=SOON) == ["quick", "late"]
    assert set(seen) == {"quick"}
    assert len(seen) == (1 if kept else 2)
    await house.check_invariants()


async def test_as_completed_gives_them_in_the_order_in_which_they_came(house: House, kept: int) -> None:
    app = house.app()
    gates = {name: asyncio.Event() for name in "abc"}
    orders: list[list[str]] = []

    @app.activity
    async def gated(name: str) -> str:
        await gates[name].wait()
        return name

    @app.workflow
    async def ordered() -> list[str]:
        order = [await one for one in asyncio.as_completed([gated(name) for name in "abc"])]
        orders.append(order)
        order.append(await go.wait())
        return order

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(ordered)
    for n, name in enumerate("cab"):
        gates[name].set()
        await house.until("select count(*) = $2 from holdfast.journal where run_id = $1", run.id, n + 1)
    await house.parked(run.id)
    await run.signal(go, "end")
    assert await run.result(timeout=SOON) == ["c", "a", "b", "end"]
    assert all(order[:3] == ["c", "a", "b"] for order in orders)
    await house.check_invariants()


async def test_a_timeout_around_an_activity_a_timer_and_a_signal(house: House, kept: int) -> None:
    app = house.app()
    cancelled = asyncio.Event()
    branches: list[str] = []

    @app.activity
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @app.workflow
    async def impatient() -> list[str]:
        missed: list[str] = []
        try:
            async with asyncio.timeout(0.05):
                await endless()
        except TimeoutError:
            missed.append("activity")
        try:
            async with asyncio.timeout(0.05):
                await sleep(timedelta(days=1))
        except TimeoutError:
            missed.append("timer")
        try:
            async with asyncio.timeout(0.05):
                await go.wait()
        except TimeoutError:
            missed.append("signal")
        try:
            await asyncio.wait_for(more.wait(), 3600)
        except TimeoutError:
            missed.append("never")
        branches.append(",".join(missed))
        missed.append(await go.wait())
        return missed

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(impatient)
    await cancelled.wait()
    await house.parked(run.id)
    await run.signal(more, "in time")
    await house.until("select exists (select from holdfast.journal where run_id = $1 and kind = 4)", run.id)
    await run.signal(go, "end")
    assert await run.result(timeout=SOON) == ["activity", "timer", "signal", "end"]
    assert set(branches) == {"activity,timer,signal"}
    assert "endless#1" not in await house.journal(run.id)
    await house.check_invariants()


async def test_two_workers_that_pass_a_run_to_and_fro_call_each_step_once_in_its_own_order(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    gates: dict[str, asyncio.Event] = {}

    @app.activity
    async def step(run: int, branch: int, number: int) -> str:
        calls[f"{run} {branch} {number}"] += 1
        await asyncio.sleep((run * 7 + branch * 5 + number * 3) % 4 / 100)  # each run interleaves in another way
        return f"{branch}.{number}"

    @app.workflow
    async def braid(run: int) -> list[list[str]]:
        async def strand(branch: int) -> list[str]:
            done: list[str] = []
            for number in range(3):
                done.append(await step(run, branch, number))
                done.append(await Signal[str](f"strand-{branch}").wait())
            return done

        return await asyncio.gather(*[strand(branch) for branch in range(3)])

    client = await house.client(app)
    # Neither keeps anything in memory, and of both a run may be claimed by either: it is replayed at each step.
    await house.worker(app, cached_runs=0, name="one")
    await house.worker(app, cached_runs=0, name="two")
    runs = await client.start_many([braid.call(n) for n in range(6)])

    async def pull(n: int) -> None:
        order = [(branch, number) for number in range(3) for branch in range(3)]
        shift = n % 3
        for branch, number in order[shift:] + order[:shift]:
            await runs[n].signal(Signal[str](f"strand-{branch}"), f"{branch}!{number}")

    await asyncio.gather(*[pull(n) for n in range(6)])
    for run in runs:
        strands = await run.result(timeout=SOON)
        for branch, strand in enumerate(strands):
            assert strand[0::2] == [f"{branch}.{number}" for number in range(3)]
            assert len(strand[1::2]) == 3
    assert set(calls.values()) == {1}
    assert len(calls) == 54
    assert not gates
    await house.check_invariants()


async def test_an_async_iterator_of_signals_and_a_queue_between_tasks(house: House, kept: int) -> None:
    app = house.app()

    @app.activity
    async def shout(word: str) -> str:
        return word.upper()

    @app.workflow
    async def pipeline(count: int) -> list[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=2)

        async def words() -> AsyncIterator[str]:
            for _ in range(count):
                yield await go.wait()

        async def produce() -> None:
            async for word in words():
                await queue.put(word)
            await queue.put(None)

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            heard: list[str] = []
            while (word := await queue.get()) is not None:
                heard.append(await shout(word))
        return heard

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(pipeline, 5)
    for word in ("one", "two", "three", "four", "five"):
        await run.signal(go, word)
        await house.until(
            "select count(*) = (select count(*) from holdfast.journal where run_id = $1 and kind = 4) "
            "from holdfast.journal where run_id = $1 and kind = 1",
            run.id,
        )
    assert await run.result(timeout=SOON) == ["ONE", "TWO", "THREE", "FOUR", "FIVE"]
    await house.check_invariants()
