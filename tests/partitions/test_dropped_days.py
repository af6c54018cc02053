"""Retention by DROP: a day goes as a whole when all of its runs have ended and are old enough; others go run by run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import OperationRefused, Retry, RunNotFound, Signal
from holdfast.core.states import Ending
from holdfast.store import retention as store
from holdfast.store.connect import connect
from holdfast.store.partitions import prune_day
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.upkeep import Retention
from tests.house import House, eventually
from tests.partitions.divided import DAY, day_name, day_tables, end_earlier, make_past, remake, table_of
from tests.scenarios.soon import SOON

go = Signal[str]("go")


class Declined(Exception):
    """Raised by activities of these tests."""


class Shop:
    """Workflows that succeed, fail, wait, and have children."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.app = house.app()

        @self.app.activity(retry=Retry(max_attempts=1))
        async def work(word: str) -> str:
            if word == "bad":
                raise Declined(word)
            return word

        @self.app.workflow
        async def flow(word: str) -> str:
            return await go.wait() if word == "waits" else await work(word)

        @self.app.workflow
        async def family(size: int) -> list[str]:
            return [await flow("good") for _ in range(size)]

        @self.app.workflow
        async def rolling(turns: int) -> str:
            if turns:
                rolling.continue_as_new(turns - 1)
            return await go.wait()

        self.flow = flow
        self.family = family
        self.rolling = rolling

    async def opened(self) -> None:
        """With a worker, and with tables for the last week."""
        self.client = await self.house.client(self.app)
        await self.house.worker(self.app)
        assert len(await make_past(self.house, 7)) == 7

    async def ended(self, days: int, word: str = "good", *, key: str | None = None) -> UUID:
        """A run that was made so many days ago, and ended a moment later."""
        run = await self.client.start(self.flow, word, key=key)
        await self.house.ended(run.id)
        old = await remake(self.house, run.id, days)
        await end_earlier(self.house, old, by=days * DAY)
        return old

    async def waiting(self, days: int) -> UUID:
        """One that was made so many days ago, and waits."""
        run = await self.client.start(self.flow, "waits")
        await self.house.parked(run.id)
        return await remake(self.house, run.id, days)

    async def remaining(self) -> set[UUID]:
        """The runs that there are."""
        return {row["id"] for row in await self.house.db.fetch("select id from holdfast.run")}

    async def has_day(self, run: UUID) -> bool:
        """Whether the tables of its day are there, all three of them."""
        names = [f"holdfast.{table}_{day_name(run)}" for table in ("run", "journal", "result")]
        found = [await self.house.value("select to_regclass($1) is not null", name) for name in names]
        assert len(set(found)) == 1
        return bool(found[0])


@pytest.fixture
async def shop(house: House) -> Shop:
    shop = Shop(house)
    await shop.opened()
    return shop


async def test_a_day_goes_as_a_whole_with_all_that_is_written_of_it(house: House, shop: Shop) -> None:
    old = [await shop.ended(5) for _ in range(3)]
    other, fresh = await shop.ended(3), await shop.ended(0)
    assert await shop.client.records.prune(6 * DAY) == 0
    before = await day_tables(house)
    assert await shop.client.records.prune(3.5 * DAY, dry_run=True) == 3
    assert await day_tables(house) == before
    assert await shop.client.records.prune(3.5 * DAY) == 3
    # And with it the days before, of which nobody has made use.
    assert min(await day_tables(house)) > day_name(old[0])
    assert await shop.remaining() == {other, fresh}
    assert [await shop.has_day(run) for run in (old[0], other, fresh)] == [False, True, True]
    for run in old:
        with pytest.raises(RunNotFound):
            await shop.client.get(run).status()
    assert await house.value("select count(distinct run_id) from holdfast.journal") == 2
    assert await house.value("select count(*) from holdfast.upkeep where task = 'pruned'") == 1
    await house.check_invariants()


async def test_nothing_goes_from_a_day_that_is_not_over_or_not_old_enough(house: House, shop: Shop) -> None:
    runs = {await shop.ended(days) for days in (0, 1)}
    # Yesterday ended less than a day ago.
    assert await shop.client.records.prune(DAY) == 0
    assert await shop.remaining() == runs
    assert await shop.client.records.prune(timedelta(0)) == 1
    await house.check_invariants()


async def test_a_run_that_outlives_its_day_keeps_it_and_the_others_go_by_themselves(house: House, shop: Shop) -> None:
    waits, done, same = await shop.waiting(6), await shop.ended(6), await shop.ended(6)
    assert await table_of(house, waits) == f"run_{day_name(waits)}"
    assert await shop.client.records.prune(DAY) == 2
    assert await shop.remaining() == {waits}
    assert await shop.has_day(waits)
    assert {done, same} & {row[0] for row in await house.db.fetch("select run_id from holdfast.journal")} == set()
    await house.check_invariants()
    # It goes on as if nothing were the matter, ends days after its day, and is kept from then on.
    await shop.client.signal(waits, go, "on")
    assert await shop.client.get(waits, shop.flow).result(timeout=SOON) == "on"
    assert await shop.client.records.prune(DAY) == 0
    assert await shop.has_day(waits)
    await house.advance(3 * DAY)
    assert await shop.client.records.prune(DAY) == 1
    assert not await shop.has_day(waits)
    assert await shop.remaining() == set()
    await house.check_invariants()


async def test_a_tree_that_reaches_into_the_next_day_goes_whole_and_then_both_days(house: House, shop: Shop) -> None:
    root = await shop.client.start(shop.family, 3)
    await root.result(timeout=SOON)
    children = [row["id"] for row in await house.db.fetch("select id from holdfast.run where root = $1", root.id)]
    tree = [await remake(house, root.id, 6)] + [await remake(house, child, 5) for child in children]
    await end_earlier(house, *tree, by=5 * DAY)
    plain = [await shop.ended(6), await shop.ended(5)]
    assert await shop.remaining() == {*tree, *plain}
    assert await shop.client.records.prune(3 * DAY) == 6
    assert await shop.remaining() == set()
    assert [await shop.has_day(run) for run in plain] == [False, False]
    await house.check_invariants()


async def test_a_tree_of_which_a_part_goes_on_keeps_its_root_and_both_days(house: House, shop: Shop) -> None:
    root, plain, child = await shop.ended(6), await shop.ended(6), await shop.waiting(5)
    await house.db.execute(
        "update holdfast.run set parent = $1, root = $1, parent_key = 'flow#1' where id = $2", root, child
    )
    assert await shop.client.records.prune(3 * DAY) == 1
    assert await shop.remaining() == {root, child}
    assert [await shop.has_day(run) for run in (root, child)] == [True, True]
    assert plain not in await shop.remaining()


async def test_who_has_been_retried_stays_until_what_it_has_become_is_old_enough(house: House, shop: Shop) -> None:
    old = await shop.ended(6, "bad", key="mine")
    plain = await shop.ended(6)
    again = await shop.client.get(old).retry()
    await house.ended(again.id)
    third = await again.retry()
    await house.ended(third.id)
    assert await shop.client.records.prune(3 * DAY) == 1
    assert plain not in await shop.remaining()
    assert await shop.remaining() == {old, again.id, third.id}
    assert (await shop.client.get(old).newest()).id == third.id
    await house.check_invariants()
    await house.advance(5 * DAY)
    assert await shop.client.records.prune(3 * DAY) == 3
    assert not await shop.has_day(old)
    assert await house.value("select count(*) from holdfast.successor") == 0
    await house.check_invariants()


async def test_a_chain_within_a_day_goes_with_it(house: House, shop: Shop) -> None:
    run = await shop.client.start(shop.flow, "bad")
    await house.ended(run.id)
    again = await run.retry()
    await house.ended(again.id)
    chain = [await remake(house, one.id, 6) for one in (run, again)]
    await end_earlier(house, *chain, by=6 * DAY)
    await house.check_invariants()
    assert await shop.client.records.prune(3 * DAY) == 2
    assert not await shop.has_day(chain[0])
    assert await house.value("select count(*) from holdfast.successor") == 0


async def test_the_first_id_of_a_chain_leads_on_when_its_day_has_gone(house: House, shop: Shop) -> None:
    run = await shop.client.start(shop.rolling, 1, key="acme")
    await house.until("select count(*) = 1 from holdfast.result where status = 4")
    newest = await run.newest()
    await house.parked(newest.id)
    old = await remake(house, run.id, 6)
    await end_earlier(house, old, by=6 * DAY)
    assert await shop.client.records.prune(3 * DAY) == 1
    assert not await shop.has_day(old)
    assert await shop.remaining() == {newest.id}
    assert (await shop.client.start(shop.rolling, 1, key="acme")).id == newest.id
    await shop.client.signal(old, go, "on")
    assert await shop.client.get(old, shop.rolling).result(timeout=SOON) == "on"
    await house.check_invariants()


async def test_keys_are_refused_for_their_time_after_their_day_has_gone(house: House, shop: Shop) -> None:
    old = await shop.ended(6, key="once")
    await shop.client.schedules.create("nightly", shop.flow.call("good"), "every day at 09:00")
    await house.db.execute("update holdfast.schedule set last_run = $1, running = array[$1::uuid]", old)
    assert await shop.client.records.prune(3 * DAY, keep_keys=5 * DAY) == 1
    again = await shop.client.start(shop.flow, "good", key="once")
    assert (again.id, again.existing) == (old, True)
    with pytest.raises(RunNotFound):
        await again.result(timeout=SOON)
    assert await house.value("select last_run is null and running = '{}' from holdfast.schedule")
    await house.advance(6 * DAY)
    new = await shop.client.start(shop.flow, "good", key="once")
    assert not new.existing
    await house.check_invariants()


async def test_a_day_with_one_that_is_to_be_kept_goes_run_by_run(house: House, shop: Shop) -> None:
    good, bad = await shop.ended(6), await shop.ended(6, "bad")
    assert await shop.client.records.prune(3 * DAY, status="succeeded") == 1
    assert await shop.remaining() == {bad}
    assert await shop.has_day(good)
    assert await shop.client.records.prune(3 * DAY, status=["succeeded", "failed"]) == 1
    assert not await shop.has_day(bad)


async def test_what_lies_in_no_day_goes_run_by_run(house: House, shop: Shop) -> None:
    old = await shop.ended(40)
    assert await table_of(house, old) == "run_default"
    assert await shop.client.records.prune(3 * DAY) == 1
    assert await shop.remaining() == set()
    await house.check_invariants()


async def test_who_reads_for_long_keeps_the_day_until_the_next_time(house: House, shop: Shop) -> None:
    old = await shop.ended(2)
    reader = await connect(house.dsn, application="tests")
    async with reader.transaction():
        await reader.fetch("select * from holdfast.journal")
        assert await shop.client.records.prune(DAY) == 0
        # Nobody waits behind it either.
        assert await (await shop.client.start(shop.flow, "good")).result(timeout=SOON) == "good"
    assert await shop.has_day(old)
    assert await shop.client.records.prune(DAY) == 1
    assert not await shop.has_day(old)
    await reader.close()


async def test_a_run_that_is_being_retried_keeps_its_day(house: House, shop: Shop) -> None:
    old = await shop.ended(2, "bad")
    connection = await connect(house.dsn, application="tests")
    session = Session(connection, Statements())
    try:
        async with connection.transaction():
            # As far as a retry is when it copies the journal.
            await connection.execute("select 1 from holdfast.result where run_id = $1 for key share", old)
            assert await shop.client.records.prune(DAY) == 0
        # And the other way round: what has gone meanwhile cannot be retried.
        async with connection.transaction():
            ages = dict.fromkeys(Ending, DAY)
            gone, after = 0, store.FIRST
            for _ in range(20):
                day = await prune_day(session, ages, keep_keys=DAY, after=after, limit=100)
                gone += day.runs or 0
                after = day.last or store.FIRST
            assert gone == 1
            retrying = asyncio.create_task(shop.client.get(old).retry())
            await house.until("select exists (select from pg_stat_activity where wait_event_type = 'Lock')")
        with pytest.raises((RunNotFound, OperationRefused)):
            await retrying
    finally:
        await connection.close()
    assert await shop.remaining() == set()
    await house.check_invariants()


async def test_many_who_prune_at_once_drop_a_day_once_beside_those_who_work(house: House, shop: Shop) -> None:
    old = [await shop.ended(days) for days in (6, 5, 4)]
    other = await house.client(shop.app)
    runs = await shop.client.start_many([shop.flow.call("good") for _ in range(200)])
    removed = await asyncio.gather(
        shop.client.records.prune(2 * DAY), other.records.prune(2 * DAY), *[run.result(timeout=SOON) for run in runs]
    )
    assert removed[0] + removed[1] == 3  # type: ignore[operator]
    assert [await shop.has_day(run) for run in old] == [False] * 3
    assert len(await shop.remaining() & {run.id for run in runs}) == 200
    await house.check_invariants()


async def test_workers_drop_days_by_themselves(house: House, shop: Shop) -> None:
    old, waits = await shop.ended(6), await shop.waiting(5)
    async with Retention(
        dsn=house.dsn,
        statements=Statements(),
        keep=dict.fromkeys(("succeeded", "failed", "cancelled", "continued"), DAY),
        keep_keys=DAY,
        application="holdfast retention",
    ) as retention:
        await eventually(lambda: retention.asked, "it has had its turn")
    assert retention.removed == 1
    assert [await shop.has_day(run) for run in (old, waits)] == [False, True]
    await house.check_invariants()
