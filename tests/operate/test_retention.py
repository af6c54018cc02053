"""What is recorded of runs that ended long ago goes: whole families, never an open one, keys later than their runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import InvalidInput, KeyConflict, OperationRefused, Retry, RunNotFound, RunStatus, Signal
from holdfast.core.states import Ending
from holdfast.store.connect import connect
from holdfast.store.retention import prune
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.upkeep import Retention
from holdfast.upkeep.retention import EVERY
from tests.house import House, eventually
from tests.scenarios.soon import SOON

go = Signal[str]("go")
DAY = timedelta(days=1)


class Declined(Exception):
    """Raised by activities of these tests."""


class Shop:
    """Workflows that succeed, fail, wait, and have children."""

    def __init__(self, house: House) -> None:
        self.app = house.app()

        @self.app.activity(retry=Retry(max_attempts=1))
        async def work(word: str) -> str:
            if word == "bad":
                raise Declined("bad")
            return word

        @self.app.workflow
        async def flow(word: str) -> str:
            if word == "waits":
                return await go.wait()
            return await work(word)

        @self.app.workflow
        async def family(last: str) -> list[str]:
            return [await flow("good"), await flow(last)]

        self.flow = flow
        self.family = family


async def remaining(house: House) -> set[UUID]:
    return {row["id"] for row in await house.db.fetch("select id from holdfast.run")}


async def test_what_ended_long_ago_goes_and_nothing_else(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    good, bad, waits = [await client.start(shop.flow, word) for word in ("good", "bad", "waits")]
    await house.ended(good.id, bad.id)
    await house.parked(waits.id)
    await house.advance(10 * DAY)
    fresh = await client.start(shop.flow, "good")
    await fresh.result(timeout=SOON)

    assert await client.records.prune(11 * DAY) == 0
    assert await client.records.prune(DAY, dry_run=True) == 2
    assert len(await remaining(house)) == 4
    assert await client.records.prune(DAY, status="succeeded") == 1
    assert await remaining(house) == {bad.id, waits.id, fresh.id}
    assert await client.records.prune(DAY) == 1
    assert await remaining(house) == {waits.id, fresh.id}
    for table in ("journal", "result", "inbox"):
        rows = await house.db.fetch(f"select distinct run_id from holdfast.{table}")
        assert {row[0] for row in rows} <= {waits.id, fresh.id}
    with pytest.raises(RunNotFound):
        await good.result(timeout=SOON)
    await waits.signal(go, "on")
    assert await waits.result(timeout=SOON) == "on"
    await house.check_invariants()


async def test_a_tree_goes_when_all_of_it_has_ended_and_its_root_is_old_enough(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    done, going = await client.start(shop.family, "good"), await client.start(shop.family, "waits")
    await house.ended(done.id)
    await house.until("select count(*) = 2 from holdfast.run where root = $1", going.id)
    await house.until("select count(*) = 4 from holdfast.result")
    await house.advance(10 * DAY)
    assert await client.records.prune(DAY) == 3
    # A child of the other one has ended long ago, and stays with it.
    assert len(await remaining(house)) == 3
    last = await house.value("select run_id from holdfast.task where run_id <> $1", going.id)
    await client.get(last).signal(go, "on")
    await going.result(timeout=SOON)
    assert await client.records.prune(DAY) == 0
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY) == 3
    assert await remaining(house) == set()
    await house.check_invariants()


async def test_a_run_that_was_retried_goes_with_the_one_in_its_place(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    run = await client.start(shop.flow, "waits", key="mine")
    await house.parked(run.id)
    await run.terminate()
    again = await run.retry()
    fork = await again.fork()
    await house.advance(10 * DAY)
    assert await client.records.prune(DAY) == 0
    assert (await client.start(shop.flow, "waits", key="mine")).id == again.id
    await run.signal(go, "on")
    assert await run.result(timeout=SOON) == "on"
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY) == 2
    assert await remaining(house) == {fork.id}
    await house.check_invariants()


async def test_a_key_is_refused_for_its_time_after_its_run_has_gone(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    worker = await house.worker(shop.app)
    run = await client.start(shop.flow, "good", key="once")
    await run.result(timeout=SOON)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, keep_keys=5 * DAY) == 1
    await house.check_invariants()
    again = await client.start(shop.flow, "good", key="once")
    assert (again.id, again.existing) == (run.id, True)
    with pytest.raises(RunNotFound):
        await again.result(timeout=SOON)
    with pytest.raises(KeyConflict):
        await client.start(shop.flow, "bad", key="once")
    assert await remaining(house) == set()
    await house.advance(6 * DAY)
    assert await client.records.prune(DAY) == 0
    new = await client.start(shop.flow, "good", key="once")
    assert (new.existing, new.id == run.id) == (False, False)
    assert await new.result(timeout=SOON) == "good"
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, keep_keys=timedelta(0)) == 1
    # It is free at once, and its row goes later.
    third = await client.start(shop.flow, "bad", key="once")
    assert (third.existing, third.id == new.id) == (False, False)
    await house.ended(third.id)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, keep_keys=timedelta(0)) == 1
    await house.advance(DAY)
    assert await client.records.prune(DAY) == 0
    assert await house.value("select count(*) from holdfast.start_key") == 0
    assert worker is not None
    await house.check_invariants()


async def test_many_go_in_batches_while_another_prunes_too(house: House) -> None:
    shop = Shop(house)
    client, other = await house.client(shop.app), await house.client(shop.app)
    await house.worker(shop.app)
    runs = await client.start_many([shop.flow.call("good") for _ in range(1_200)])
    await house.ended(*[run.id for run in runs])
    await house.advance(2 * DAY)
    # With the activities that were dispatched because there were so many.
    there = len(await remaining(house))
    assert await client.records.prune(DAY, dry_run=True) == there >= 1_200
    removed = await asyncio.gather(client.records.prune(DAY), other.records.prune(DAY))
    assert sum(removed) == there
    assert await remaining(house) == set()
    await house.check_invariants()


async def test_a_run_that_is_being_retried_stays(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    run = await client.start(shop.flow, "waits")
    await house.parked(run.id)
    await run.terminate()
    await house.advance(2 * DAY)
    connection = await connect(house.dsn, application="tests")
    try:
        session = Session(connection, Statements())
        async with connection.transaction():
            # As far as a retry is when it copies the journal.
            await connection.execute("select 1 from holdfast.result where run_id = $1 for key share", run.id)
            assert await client.records.prune(DAY) == 0
        # And the other way round: what has gone meanwhile cannot be retried.
        async with connection.transaction():
            assert (await prune(session, {Ending.CANCELLED: DAY}, keep_keys=DAY)).runs == 1
            retrying = asyncio.create_task(run.retry())
            await house.until("select exists (select from pg_stat_activity where wait_event_type = 'Lock')")
        with pytest.raises((RunNotFound, OperationRefused)):
            await retrying
    finally:
        await connection.close()
    assert await remaining(house) == set()
    await house.check_invariants()


async def test_workers_do_it_by_themselves_one_of_them(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    first = await house.worker(shop.app)
    good, bad = await client.start(shop.flow, "good", key="k"), await client.start(shop.flow, "bad")
    await house.ended(good.id, bad.id)
    await house.advance(2 * DAY)
    await house.worker(shop.app, keep={"succeeded": DAY}, keep_keys=3 * DAY)
    await house.until("select count(*) = 1 from holdfast.run")
    assert await client.get(bad.id).status() is RunStatus.FAILED
    assert await house.value("select until > holdfast.now() from holdfast.start_key")
    # The next one has no turn before the hour is over.
    pruned = await house.value("select at from holdfast.upkeep where task = 'prune'")
    async with retention(house) as idle:
        await eventually(lambda: idle.asked, "it has asked for its turn")
    assert idle.removed == 0
    assert await house.value("select at from holdfast.upkeep where task = 'prune'") == pruned
    assert len(await remaining(house)) == 1
    async with retention(house, every=timedelta(microseconds=1)) as busy:
        await eventually(lambda: busy.asked, "it has had its turn")
    assert busy.removed == 1
    assert await remaining(house) == set()
    assert first is not None
    await house.check_invariants()


def retention(house: House, *, every: timedelta = EVERY) -> Retention:
    """That of another worker, which keeps failed runs for a day."""
    return Retention(
        dsn=house.dsn,
        statements=Statements(),
        keep={"failed": DAY},
        keep_keys=DAY,
        application="holdfast retention of another",
        every=every,
    )


async def test_what_cannot_be_meant_is_refused(house: House) -> None:
    client = await house.client(house.app())
    with pytest.raises(InvalidInput, match="'running': runs are removed that have ended"):
        await client.records.prune(DAY, status="running")
    with pytest.raises(InvalidInput, match="older_than"):
        await client.records.prune(-DAY)
