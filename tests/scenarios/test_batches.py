"""Batches: many jobs in one call, each with its own result, retries and end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    App,
    DefinitionError,
    Limit,
    Retry,
    RunFailed,
    RunStatus,
    activity_info,
    complete_later,
    fan_out,
)
from tests.house import House, eventually
from tests.scenarios.soon import SOON

LONG = timedelta(hours=1)
AT_ONCE = Retry(max_attempts=4, initial=timedelta(milliseconds=1))


@dataclass
class Order:
    number: int
    customer: str = "a"


@pytest.mark.parametrize("threaded", [False, True])
async def test_many_jobs_are_one_call_and_each_has_its_result(house: House, threaded: bool) -> None:
    app = house.app()
    batches: list[int] = []

    def together(orders: list[Order]) -> list[str]:
        batches.append(len(orders))
        return [f"{one.customer}{one.number}" for one in orders]

    async def on_the_loop(orders: list[Order]) -> list[str]:
        return together(orders)

    index: Any = app.batch(size=50, wait=LONG, name="index")(together if threaded else on_the_loop)
    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(Order(n)) for n in range(150)])
    assert [await run.result(timeout=SOON) for run in runs] == [f"a{n}" for n in range(150)]
    assert batches == [50, 50, 50]
    await house.check_invariants()


async def test_fewer_go_when_the_first_has_waited_for_long_enough(house: House) -> None:
    app = house.app()
    batches: list[list[int]] = []

    @app.batch(size=1000, wait=timedelta(milliseconds=200))
    async def index(numbers: list[int]) -> None:
        batches.append(numbers)

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(n) for n in range(7)])
    await house.ended(*[run.id for run in runs])
    assert sorted(n for batch in batches for n in batch) == list(range(7))
    assert len(batches) < 7


async def test_what_waits_in_a_batch_takes_no_slot_of_others(house: House) -> None:
    app = house.app()

    @app.batch(size=30, wait=LONG)
    async def index(numbers: list[int]) -> list[int]:
        return numbers

    @app.activity
    async def other() -> str:
        return "done"

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(n) for n in range(29)])
    await house.held(*[run.id for run in runs])
    assert await (await client.start(other)).result(timeout=SOON) == "done"
    assert [await run.status() for run in runs[:3]] == [RunStatus.RUNNING] * 3
    runs.append(await client.start(index, 29))
    assert [await run.result(timeout=SOON) for run in runs] == list(range(30))


async def test_calls_in_workflows_join_the_batch(house: House) -> None:
    app = house.app()
    batches: list[int] = []

    @app.batch(size=40, wait=LONG)
    async def index(numbers: list[int]) -> list[int]:
        batches.append(len(numbers))
        return [2 * n for n in numbers]

    @app.workflow
    async def flow() -> int:
        return sum(await fan_out(index, range(30)))

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    jobs = await client.start_many([index.call(n) for n in range(10)])
    assert await run.result(timeout=SOON) == 870
    assert [await job.result(timeout=SOON) for job in jobs] == [2 * n for n in range(10)]
    assert batches == [40]
    await house.check_invariants()


async def test_one_that_spoils_its_batch_is_alone_in_the_end_and_the_others_succeed(house: House) -> None:
    app = house.app()
    batches: list[int] = []

    @app.batch(size=64, wait=timedelta(milliseconds=300), retry=AT_ONCE)
    async def index(numbers: list[int]) -> list[int]:
        batches.append(len(numbers))
        if 13 in numbers:
            raise ValueError(f"13 among {len(numbers)}")
        return numbers

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(n) for n in range(64)])
    for n, run in enumerate(runs):
        if n != 13:
            assert await run.result(timeout=SOON) == n
    with pytest.raises(RunFailed, match="13 among 1"):
        await runs[13].result(timeout=SOON)
    assert batches[0] == 64
    assert len(await house.journal(runs[13].id)) == 3
    assert len(await house.journal(runs[0].id)) in (1, 2, 3)
    await house.check_invariants()


async def test_a_cancelled_job_leaves_its_batch(house: House) -> None:
    app = house.app()
    batches: list[list[int]] = []
    begun, release = asyncio.Event(), asyncio.Event()

    @app.batch(size=3, wait=LONG)
    async def index(numbers: list[int]) -> list[int]:
        batches.append(numbers)
        begun.set()
        await release.wait()
        return numbers

    client = await house.client(app)
    await house.worker(app)
    early = await client.start(index, 0)
    await house.held(early.id)
    await early.cancel()
    await house.ended(early.id)
    runs = [await client.start(index, n) for n in (1, 2, 3)]
    async with asyncio.timeout(SOON.total_seconds()):
        await begun.wait()
    await runs[1].cancel()
    await house.ended(runs[1].id)
    release.set()
    assert [await runs[place].result(timeout=SOON) for place in (0, 2)] == [1, 3]
    assert [sorted(batch) for batch in batches] == [[1, 2, 3]]


async def test_a_batch_whose_items_are_all_cancelled_is_cancelled(house: House) -> None:
    app = house.app()
    ended: list[str] = []

    @app.batch(size=2, wait=LONG)
    async def index(numbers: list[int]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(n) for n in range(2)])
    await house.held(*[run.id for run in runs])
    for run in runs:
        await run.cancel()
    await house.ended(*[run.id for run in runs])
    await eventually(lambda: ended == ["cancelled"], "the call is cancelled")


def one_less(items: list[int]) -> Any:
    return items[1:]


def something_else(items: list[int]) -> Any:
    return {"a": 1}


def later(items: list[int]) -> Any:
    complete_later()


def asked(items: list[int]) -> Any:
    return activity_info()


def stopped(items: list[int]) -> Any:
    return next(iter(()))


def left(items: list[int]) -> Any:
    sys.exit(3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (one_less, "was given 4 items, and gave 3 results"),
        (something_else, "gave dict, and not a list with a result for each item"),
        (later, "works in the code of an activity only"),
        (asked, "works in the code of an activity only"),
        (stopped, "StopIteration"),
        (left, "SystemExit"),
    ],
)
async def test_what_a_batch_gives_is_a_result_for_each(house: House, given: Any, message: str) -> None:
    app = house.app()

    @app.batch(size=4, wait=LONG, retry=Retry(max_attempts=1))
    async def index(numbers: list[int]) -> list[int]:
        results: list[int] = given(numbers)
        return results

    client = await house.client(app)
    await house.worker(app)
    runs = await client.start_many([index.call(n) for n in range(4)])
    for run in runs:
        with pytest.raises(RunFailed, match=message):
            await run.result(timeout=SOON)
    await house.check_invariants()


async def test_a_batch_obeys_limits_and_is_started_by_name_and_from_sql(house: House) -> None:
    app = house.app()
    batches: list[list[str]] = []

    @app.batch(size=10, wait=timedelta(milliseconds=100), concurrency=Limit(2, per="item.customer"))
    async def index(orders: Sequence[Order]) -> list[int]:
        batches.append([one.customer for one in orders])
        return [one.number for one in orders]

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(index, Order(n)) for n in range(5)]
    named = await client.start_by_name("index", {"item": {"number": 7, "customer": "b"}})
    sql = await house.value("""select holdfast.start('index', '{"item": {"number": 8, "customer": "a"}}')""")
    assert [await run.result(timeout=SOON) for run in (*runs, named)] == [0, 1, 2, 3, 4, 7]
    await house.ended(sql)
    assert max(batch.count("a") for batch in batches) == 2
    await house.check_invariants()


@pytest.mark.parametrize("size", [0, -1, True, 2.5, 1001])
def test_a_size_is_a_number(size: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'index': size= is a whole number from 1 to 1,000, not"):

        @App().batch(size=size, wait=LONG)
        async def index(items: list[int]) -> None: ...


@pytest.mark.parametrize("wait", [5, None, -LONG, timedelta(days=1)])
def test_a_wait_is_a_duration(wait: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'index': wait= is a duration of at most an hour"):

        @App().batch(size=1, wait=wait)
        async def index(items: list[int]) -> None: ...


def test_a_batch_takes_a_list_and_gives_one() -> None:
    batch: Any = App().batch(size=1, wait=LONG)

    async def two(items: list[int], more: int) -> None: ...
    async def number(items: int) -> None: ...
    async def single(items: list[int]) -> int:
        return len(items)

    def bare(items: Any) -> Any:
        return items

    with pytest.raises(DefinitionError, match="takes one parameter, the list of its items"):
        batch(two)
    with pytest.raises(DefinitionError, match=r"takes a list of items, such as list\[Order\], not <class 'int'>"):
        batch(number)
    with pytest.raises(DefinitionError, match="gives a list with a result for each item, in their order, or nothing"):
        batch(single)
    assert batch(bare).parameters.names == ("item",)
