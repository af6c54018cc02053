"""Of starts that follow each other closely the last one begins, whoever starts them; exact by the database's clock."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Debounce, Limit, RunCancelled, RunHandle, RunStatus, Signal, Throttle
from tests.house import House
from tests.limits.watching import frozen
from tests.scenarios.soon import SOON

WINDOW = timedelta(seconds=5)

go = Signal[None]("go")


async def lined_up(house: House, count: int) -> None:
    """Waits until so many runs wait for their windows, and nothing is due."""
    await house.until(
        "select count(*) = $1 and not exists (select from holdfast.task where due_at <= holdfast.now())"
        " from holdfast.permit_wait",
        count,
    )


async def replaced(run: RunHandle[Any], by: RunHandle[Any]) -> None:
    with pytest.raises(RunCancelled, match=f"replaced by run {by.id}, which was started later") as caught:
        await run.result(timeout=SOON)
    assert caught.value.reason is not None


async def test_the_last_start_begins_when_it_has_been_quiet(house: House) -> None:
    app = house.app()

    @app.activity(debounce=Debounce(WINDOW, per="document"))
    async def index(document: str, version: int) -> int:
        return version

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    first = await client.start(index, "a", 1)
    other = await client.start(index, "b", 7)
    await lined_up(house, 2)
    assert await first.status() is RunStatus.WAITING
    await clock.advance(WINDOW * 0.8)
    second = await client.start(index, "a", 2)
    await replaced(first, second)
    await lined_up(house, 2)
    await house.check_invariants()
    (reason,) = (await client.why(second.id)).reasons
    assert reason.text.startswith("waits for debounce 'index/document', key 'a'")
    await clock.advance(WINDOW * 0.2)
    assert await other.result(timeout=SOON) == 7
    await lined_up(house, 1)
    await clock.advance(WINDOW * 0.8)
    assert await second.result(timeout=SOON) == 2
    third = await client.start(index, "a", 3)
    await lined_up(house, 1)
    await clock.advance(WINDOW)
    assert await third.result(timeout=SOON) == 3
    await house.check_invariants()
    assert await house.value("select count(*) from holdfast.permit_line") == 0


async def test_it_does_not_wait_for_longer_than_at_most(house: House) -> None:
    app = house.app()

    @app.activity(debounce=Debounce(WINDOW, at_most=timedelta(seconds=12)))
    async def index(version: int) -> int:
        return version

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    runs: list[RunHandle[int]] = []
    for version in range(3):
        runs.append(await client.start(index, version))
        await lined_up(house, 1)
        await clock.advance(timedelta(seconds=4))
    # Twelve seconds after the first of them, though the last one came four seconds ago.
    assert await runs[-1].result(timeout=SOON) == 2
    for before, after in itertools.pairwise(runs):
        await replaced(before, after)
    await house.check_invariants()


async def test_what_has_passed_and_waits_for_a_permit_is_not_replaced_any_more(house: House) -> None:
    app = house.app()

    @app.workflow(concurrency=1, debounce=Debounce(WINDOW, at_most=WINDOW * 1.2))
    async def index(number: int) -> int:
        if number == 0:
            await go.wait()
        return number

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    holder = await client.start(index, 0)
    await lined_up(house, 1)
    await clock.advance(WINDOW)
    await house.parked(holder.id)
    first = await client.start(index, 1)
    await lined_up(house, 1)
    await clock.advance(WINDOW * 0.8)
    second = await client.start(index, 2)
    await replaced(first, second)
    await lined_up(house, 1)
    await clock.advance(WINDOW * 0.4)
    await house.until("select count(*) = 1 from holdfast.permit_wait where name not like 'debounce %'")
    third = await client.start(index, 3)
    await lined_up(house, 2)
    await holder.signal(go, None)
    assert await second.result(timeout=SOON) == 2
    await clock.advance(WINDOW)
    assert await third.result(timeout=SOON) == 3
    await house.check_invariants()


async def test_what_a_throttle_has_let_pass_is_not_asked_again_when_its_window_is_over(house: House) -> None:
    app = house.app()

    @app.activity(throttle=Throttle(4, per=timedelta(hours=1)), debounce=Debounce(WINDOW, per="document"))
    async def index(document: str) -> str:
        return document

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    runs = [await client.start(index, document) for document in "abcd"]
    await lined_up(house, 4)
    beyond = await client.start(index, "e")
    with pytest.raises(RunCancelled, match="its throttle lets no more start"):
        await beyond.result(timeout=SOON)
    await clock.advance(WINDOW)
    assert [await run.result(timeout=SOON) for run in runs] == list("abcd")
    await house.check_invariants()


async def test_what_came_while_no_worker_was_there_is_sorted_by_when_it_came(house: House) -> None:
    app = house.app()

    @app.activity(debounce=Debounce(WINDOW))
    async def index(version: int) -> int:
        return version

    client = await house.client(app)
    clock = await frozen(house)
    runs: list[RunHandle[int]] = []
    for version, later in enumerate((1, 1, 6, 2, 5, 0)):
        runs.append(await client.start(index, version))
        await clock.advance(timedelta(seconds=later))
    await house.worker(app)
    # Two seconds, a quiet time, two seconds, as long as the window, and the last one.
    assert await runs[2].result(timeout=SOON) == 2
    assert await runs[4].result(timeout=SOON) == 4
    await lined_up(house, 1)
    await replaced(runs[0], runs[1])
    await replaced(runs[1], runs[2])
    await replaced(runs[3], runs[4])
    await clock.advance(WINDOW)
    assert await runs[5].result(timeout=SOON) == 5
    await house.check_invariants()


async def test_it_holds_for_starts_from_sql_by_name_and_in_transactions_but_not_for_calls_in_workflows(
    house: House,
) -> None:
    app = house.app()

    @app.activity(debounce=Debounce(WINDOW, per="document"))
    async def index(document: str, version: int) -> int:
        return version

    @app.workflow
    async def both() -> list[int]:
        return list(await asyncio.gather(index("a", 10), index("a", 11)))

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    first = await house.value("""select holdfast.start('index', '{"document": "a", "version": 1}')""")
    await clock.advance(timedelta(seconds=1))
    second = await client.start_by_name("index", {"document": "a", "version": 2})
    await clock.advance(timedelta(seconds=1))
    async with house.db.transaction():
        third = await client.start(index, "a", 3, connection=house.db)
    await house.ended(first, second.id)
    transaction = house.db.transaction()
    await transaction.start()
    await client.start(index, "a", 4, connection=house.db)
    await transaction.rollback()
    await lined_up(house, 1)
    run = await client.start(both)
    assert await run.result(timeout=SOON) == [10, 11]
    await clock.advance(WINDOW)
    assert await third.result(timeout=SOON) == 3
    assert [
        await house.value("select status from holdfast.result where run_id = $1", one) for one in (first, second.id)
    ] == [
        3,
        3,
    ]
    await house.check_invariants()


async def test_what_waits_can_be_cancelled_paused_and_resumed_and_a_workflow_is_debounced_once(house: House) -> None:
    app = house.app()

    @app.workflow(debounce=Debounce(WINDOW), concurrency=Limit(1))
    async def tour(number: int) -> int:
        await go.wait()
        return number

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    cancelled = await client.start(tour, 1)
    await lined_up(house, 1)
    await cancelled.cancel()
    assert await cancelled.status() is RunStatus.CANCELLED
    await house.check_invariants()
    paused = await client.start(tour, 2)
    await lined_up(house, 1)
    await paused.pause()
    first = await client.start(tour, 3)
    await lined_up(house, 1)
    await clock.advance(WINDOW)
    await house.parked(first.id)
    second = await client.start(tour, 4)
    await lined_up(house, 1)
    await clock.advance(WINDOW)
    # Its window is over: now it waits for the permit, and nobody takes its place any more.
    await house.until("select name = 'tour' from holdfast.permit_wait")
    third = await client.start(tour, 5)
    await lined_up(house, 2)
    await house.check_invariants()
    await first.signal(go, None)
    assert await first.result(timeout=SOON) == 3
    await second.signal(go, None)
    assert await second.result(timeout=SOON) == 4
    await clock.advance(timedelta(seconds=1))
    await paused.resume()
    await replaced(third, paused)
    await clock.advance(WINDOW)
    await paused.signal(go, None)
    assert await paused.result(timeout=SOON) == 2
    await house.check_invariants()


@pytest.mark.parametrize("seed", [1, 2])
async def test_of_many_starts_at_once_with_many_workers_one_of_each_key_begins(house: House, seed: int) -> None:
    app = house.app()
    begun: list[str] = []

    @app.activity(debounce=Debounce(timedelta(milliseconds=400), per="document"))
    async def index(document: str, version: int) -> int:
        begun.append(document)
        return version

    client = await house.client(app)
    for _ in range(3):
        await house.worker(app)
    chance = random.Random(seed)
    calls = [index.call(document, n) for n in range(20) for document in "abc"]
    chance.shuffle(calls)
    runs = [run for some in await asyncio.gather(*(client.start_many(calls[n::4]) for n in range(4))) for run in some]
    await house.ended(*[run.id for run in runs])
    rows = await house.db.fetch(
        "select r.input ->> 'document' as document, r.created_at as at, e.status from holdfast.run r "
        "join holdfast.result e on e.run_id = r.id order by r.created_at, r.id"
    )
    for document in "abc":
        those = [row for row in rows if row["document"] == document]
        # Each that begins is followed by a quiet time, or by nothing; each that does not is followed by another.
        for row, after in zip(those, [*those[1:], None], strict=True):
            quiet = after is None or after["at"] - row["at"] >= timedelta(milliseconds=400)
            assert (row["status"] == 1) is quiet
    assert len(begun) == sum(row["status"] == 1 for row in rows)
    await house.check_invariants()
