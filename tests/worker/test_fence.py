"""A worker whose lease is over writes nothing; what it held goes to others, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from holdfast.store import work
from holdfast.store.session import Session
from holdfast.store.writes import Writes
from tests.house import House
from tests.worker.hand import Hand, end, hand, outcome, park, session, start

FENCED = "HF001"


async def refused(house: House, one: Hand, writes: Writes) -> None:
    """Everything that this worker could say is refused, and leaves nothing behind."""
    before = await house.db.fetch("select * from holdfast.task order by run_id")
    for attempt in (
        lambda: one.flush(writes),
        lambda: one.flush(writes, wait=True, again=True),
        one.claim,
        lambda: work.leave(one.session, one.identity),
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await attempt()
        assert caught.value.sqlstate == FENCED
    assert not (await work.heartbeat(one.session, one.identity)).alive
    assert await house.db.fetch("select * from holdfast.task order by run_id") == before
    assert not await house.value("select count(*) from holdfast.journal")
    assert not await house.value("select count(*) from holdfast.result")


async def test_a_worker_whose_lease_is_over_neither_writes_nor_claims_nor_renews(house: House) -> None:
    run = await start(house)
    await start(house)
    async with hand(house) as one:
        (claimed,) = await one.claim(room=1)
        assert claimed.run_id == run
        await one.expire()
        writes = Writes(run, claimed.hold, journal=[outcome(1, "step#1")], end=end())
        # Nobody has recovered its runs yet: the lease alone decides.
        await refused(house, one, writes)
        async with session(house) as other:
            recovered = await work.recover(other)
        assert recovered is not None
        assert (recovered.worker, recovered.runs, recovered.finished) == (one.identity.worker, 1, True)
        await refused(house, one, writes)
        # Not even with a lease that somebody has made longer by hand.
        await house.db.execute("update holdfast.worker set lease_until = clock_timestamp() + interval '1 hour'")
        await refused(house, one, writes)
    await house.check_invariants()


async def test_a_run_that_is_taken_back_is_due_at_once_and_its_next_holder_has_another_hold(house: House) -> None:
    run = await start(house)
    async with hand(house, "first") as first, hand(house, "second") as second, session(house) as other:
        (claimed,) = await first.claim()
        await first.flush(Writes(run, claimed.hold, journal=[outcome(1, "step#1")]))
        await first.expire()
        assert await second.claim() == []
        await work.recover(other)
        (again,) = await second.claim()
        assert (again.run_id, again.hold) == (run, claimed.hold + 1)
        journal = await work.read_journals(second.session, [run])
        assert [entry.key for entry in journal[run]] == ["step#1"]
        await second.flush(Writes(run, again.hold, end=end()))
    await house.check_invariants()


async def test_a_lease_that_lives_is_not_recovered(house: House) -> None:
    await start(house)
    async with hand(house) as one, session(house) as other:
        await one.claim()
        assert await work.recover(other) is None
        assert (await work.heartbeat(one.session, one.identity)).alive
    await house.check_invariants()


async def test_a_flush_that_waited_for_recovery_is_refused(house: House) -> None:
    run = await start(house)
    async with hand(house) as one, session(house) as other:
        (claimed,) = await one.claim()
        await one.expire()
        async with other.connection.transaction():
            await work.recover(other)
            # The zombie's flush has to wait for the lock that recovery holds; what it sees then is what counts.
            zombie = asyncio.create_task(one.flush(Writes(run, claimed.hold, end=end())))
            await house.until("select exists (select from pg_locks where locktype = 'advisory' and not granted)")
        with pytest.raises(asyncpg.PostgresError) as caught:
            await zombie
        assert caught.value.sqlstate == FENCED
    await house.check_invariants()


async def test_recovery_does_not_wait_for_a_flush_that_is_under_way_and_keeps_what_it_wrote(house: House) -> None:
    ended, kept = await start(house), await start(house)
    async with hand(house) as one, session(house) as other:
        claimed = {run.run_id: run for run in await one.claim()}
        async with one.connection.transaction():
            await one.flush(Writes(ended, claimed[ended].hold, end=end()))
            await one.expire()
            recovered = await work.recover(other)
            assert recovered is None or (recovered.runs, recovered.finished) == (0, False)
        await house.until("select lease_until < clock_timestamp() from holdfast.worker")
        recovered = await work.recover(other)
        assert recovered is not None
        assert (recovered.runs, recovered.finished) == (1, True)
    assert await house.value("select status from holdfast.result where run_id = $1", ended) == 1
    assert await house.value("select bucket_id is null from holdfast.task where run_id = $1", kept)
    await house.check_invariants()


async def test_a_locked_row_of_one_dead_worker_does_not_keep_others_from_being_recovered(house: House) -> None:
    async with (
        hand(house, "first") as first,
        hand(house, "second") as second,
        session(house) as other,
        session(house) as user,
    ):
        await start(house)
        (stuck,) = await first.claim(room=1)
        await start(house)
        (free,) = await second.claim(room=1)
        await first.expire()
        await second.expire()
        async with user.connection.transaction():
            await user.connection.execute("select from holdfast.task where run_id = $1 for update", stuck.run_id)
            for _ in range(20):
                await work.recover(other)
            assert await house.value("select bucket_id is null from holdfast.task where run_id = $1", free.run_id)
        for _ in range(20):
            await work.recover(other)
        assert await house.value("select bucket_id is null from holdfast.task where run_id = $1", stuck.run_id)
    await house.check_invariants()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_worker_under_a_higher_isolation_level_is_refused(house: House, level: str) -> None:
    run = await start(house)
    async with hand(house) as one:
        (claimed,) = await one.claim()
        for attempt in (
            lambda: one.flush(Writes(run, claimed.hold, end=end())),
            one.claim,
            lambda: work.recover(one.session),
        ):
            transaction = one.connection.transaction(isolation=level.replace(" ", "_"))
            await transaction.start()
            with pytest.raises(asyncpg.PostgresError) as caught:
                await attempt()
            await transaction.rollback()
            assert caught.value.sqlstate == "HF002"
    await house.check_invariants()


async def test_connections_work_whatever_isolation_level_the_database_defaults_to(house: House) -> None:
    name = await house.value("select current_database()")
    await house.db.execute(f"alter database {name} set default_transaction_isolation = 'serializable'")
    run = await start(house)
    async with hand(house) as one:
        (claimed,) = await one.claim()
        flushed = await one.flush(Writes(run, claimed.hold, end=end()))
        assert not flushed.lost
    await house.check_invariants()


async def test_a_write_for_an_earlier_hold_is_dropped_and_said_to_be_lost(house: House) -> None:
    run = await start(house)
    async with hand(house) as one:
        (first,) = await one.claim()
        await one.flush(Writes(run, first.hold, move=park(due=None)))
        (second,) = await one.claim()
        assert second.hold == first.hold + 1
        # The same worker, with the same epoch: only the hold tells.
        for late in (end(), None):
            writes = Writes(
                run,
                first.hold,
                journal=[outcome(1, "step#1", "2")],
                end=late,
                move=None if late else park(),
            )
            flushed = await one.flush(writes)
            assert flushed.lost == {run}
        assert await house.journal(run) == []
        assert not await house.value("select waits_inbox from holdfast.task")
        flushed = await one.flush(Writes(run, second.hold, journal=[outcome(1, "step#1", "1")], end=end()))
        assert not flushed.lost
    assert await house.value("select output::text from holdfast.journal") == "1"
    await house.check_invariants()


async def test_the_same_flush_twice_writes_once(house: House) -> None:
    ends, parks = await start(house), await start(house)
    async with hand(house) as one:
        claimed = {run.run_id: run.hold for run in await one.claim()}
        writes = [
            Writes(ends, claimed[ends], journal=[outcome(1, "step#1")], end=end()),
            Writes(parks, claimed[parks], journal=[outcome(1, "step#1")], move=park()),
        ]
        await one.flush(*writes)
        before = await _everything(one.session)
        await one.flush(*writes, again=True)
        assert await _everything(one.session) == before
    await house.check_invariants()


async def _everything(one: Session) -> list[object]:
    tables = ("run", "task", "journal", "result", "inbox")
    return [await one.connection.fetch(f"select t::text from holdfast.{table} t order by 1") for table in tables]


async def test_a_journal_row_of_another_hold_is_refused_by_name(house: House) -> None:
    mine, foreign = await start(house), await start(house)
    async with hand(house) as one:
        claimed = {run.run_id: run.hold for run in await one.claim()}
        await one.flush(Writes(foreign, claimed[foreign], journal=[outcome(1, "step#1", "1")]))
        writes = [
            Writes(mine, claimed[mine], journal=[outcome(1, "step#1")]),
            Writes(foreign, claimed[foreign], journal=[outcome(2, "step#1", "2")]),
        ]
        with pytest.raises(asyncpg.UniqueViolationError):
            await one.flush(*writes)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await one.flush(*writes, again=True)
        assert caught.value.sqlstate == "HF006"
        assert str(foreign) in str(caught.value.as_dict()["detail"])
        assert str(mine) not in str(caught.value.as_dict()["detail"])
        assert await house.journal(mine) == []
    await house.check_invariants()


async def test_a_heartbeat_moves_the_end_of_the_lease(house: House) -> None:
    async with hand(house, lease=timedelta(seconds=30)) as one:
        before = await house.value("select lease_until from holdfast.worker")
        assert (await work.heartbeat(one.session, one.identity)).alive
        assert await house.value("select lease_until from holdfast.worker") > before
