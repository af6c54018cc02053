"""A signal that comes while a run parks is not lost, whichever comes first; and nobody waits for a busy row."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from holdfast.core.journal import EntryKind
from holdfast.store.writes import JournalWrite, Writes
from tests.house import House
from tests.worker.hand import end, hand, outcome, park, session, start

IS_DUE = "select due_at <= holdfast.now() from holdfast.task where run_id = $1"
IS_PARKED = "select bucket_id is null and due_at = 'infinity' from holdfast.task where run_id = $1"


async def waits_for_a_lock(house: House) -> None:
    await house.until("select exists (select from pg_locks where not granted)")


async def test_a_signal_that_waits_for_the_park_finds_the_run_parked_and_wakes_it(house: House) -> None:
    run = await start(house)
    async with hand(house) as one, session(house) as sender:
        (claimed,) = await one.claim()
        async with one.connection.transaction():
            await one.flush(Writes(run, claimed.hold, move=park()))
            signal = asyncio.create_task(sender.connection.fetchval("select holdfast.signal($1, 'go')", run))
            await waits_for_a_lock(house)
        assert await signal
    assert await house.value(IS_DUE, run)
    await house.check_invariants()


async def test_a_park_that_finds_the_row_busy_with_a_signal_is_put_off_and_then_sees_the_signal(house: House) -> None:
    run, other = await start(house), await start(house)
    async with hand(house) as one, session(house) as sender:
        holds = {claimed.run_id: claimed.hold for claimed in await one.claim()}
        parks = [Writes(one_id, hold, move=park()) for one_id, hold in holds.items()]
        async with sender.connection.transaction():
            await sender.connection.fetchval("select holdfast.signal($1, 'go')", run)
            flushed = await one.flush(*parks)
            # Its neighbour is parked without waiting for it.
            assert set(flushed.busy) == {run}
            assert not flushed.lost
            assert await house.value(IS_PARKED, other)
        flushed = await one.flush(Writes(run, holds[run], move=park()))
        assert (flushed.busy, flushed.lost) == (frozenset(), frozenset())
    assert await house.value(IS_DUE, run)
    assert await house.value(IS_PARKED, other)
    await house.check_invariants()


async def test_a_patient_park_waits_for_the_row_and_sees_the_signal(house: House) -> None:
    run = await start(house)
    async with hand(house) as one, session(house) as sender:
        (claimed,) = await one.claim()
        async with sender.connection.transaction():
            await sender.connection.fetchval("select holdfast.signal($1, 'go')", run)
            patient = asyncio.create_task(one.flush(Writes(run, claimed.hold, move=park()), wait=True))
            await waits_for_a_lock(house)
        flushed = await patient
        assert (flushed.busy, flushed.lost) == (frozenset(), frozenset())
    assert await house.value(IS_DUE, run)
    await house.check_invariants()


async def test_a_signal_that_rolls_back_wakes_nobody(house: House) -> None:
    run = await start(house)
    async with hand(house) as one, session(house) as sender:
        (claimed,) = await one.claim()
        transaction = sender.connection.transaction()
        await transaction.start()
        await sender.connection.fetchval("select holdfast.signal($1, 'go')", run)
        patient = asyncio.create_task(one.flush(Writes(run, claimed.hold, move=park()), wait=True))
        await waits_for_a_lock(house)
        await transaction.rollback()
        await patient
    assert await house.value(IS_PARKED, run)
    await house.check_invariants()


async def test_a_signal_that_was_journaled_before_the_park_does_not_wake_it(house: House) -> None:
    run = await start(house)
    async with hand(house) as one:
        (claimed,) = await one.claim()
        await house.value("select holdfast.signal($1, 'go')", run)
        row = JournalWrite(1, EntryKind.SIGNAL, "signal:go#1", None, "null", None, 0, None, None, None)
        await one.flush(Writes(run, claimed.hold, journal=[row], seen=[1], move=park(seen=1)))
        assert await house.value(IS_PARKED, run)
        await house.value("select holdfast.signal($1, 'go')", run)
        assert await house.value(IS_DUE, run)
    await house.check_invariants()


async def test_a_run_that_only_sleeps_is_not_woken_by_a_signal(house: House) -> None:
    before, after = await start(house), await start(house)
    async with hand(house) as one:
        holds = {claimed.run_id: claimed.hold for claimed in await one.claim()}
        morning = await house.value("select holdfast.now() + interval '1 hour'")
        await house.value("select holdfast.signal($1, 'go')", before)
        await one.flush(*[Writes(one_id, hold, move=park(waits=False, due=morning)) for one_id, hold in holds.items()])
        await house.value("select holdfast.signal($1, 'go')", after)
        rows = await house.db.fetch("select due_at from holdfast.task")
        assert [row["due_at"] for row in rows] == [morning, morning]
    await house.check_invariants()


async def test_a_cancel_wakes_also_a_run_that_only_sleeps_and_one_that_parks_just_now(house: House) -> None:
    before, after = await start(house), await start(house)
    async with hand(house) as one:
        holds = {claimed.run_id: claimed.hold for claimed in await one.claim()}
        morning = await house.value("select holdfast.now() + interval '1 hour'")
        assert await house.value("select holdfast.cancel($1)", before) == "requested"
        await one.flush(*[Writes(one_id, hold, move=park(waits=False, due=morning)) for one_id, hold in holds.items()])
        assert await house.value("select holdfast.cancel($1)", after) == "requested"
        assert await house.value(IS_DUE, before)
        assert await house.value(IS_DUE, after)
    await house.check_invariants()


async def test_a_signal_to_a_run_that_ends_is_either_seen_or_refused(house: House) -> None:
    run = await start(house)
    async with hand(house) as one, session(house) as sender:
        (claimed,) = await one.claim()
        async with one.connection.transaction():
            await one.flush(Writes(run, claimed.hold, journal=[outcome(1, "a#1")], end=end()))
            signal = asyncio.create_task(sender.connection.fetchval("select holdfast.signal($1, 'go')", run))
            await waits_for_a_lock(house)
        error = (await asyncio.gather(signal, return_exceptions=True))[0]
        assert getattr(error, "sqlstate", None) == "HF004"
    await house.check_invariants()


async def test_a_due_run_goes_to_one_of_two_workers_and_a_busy_one_is_passed_over(house: House) -> None:
    runs = {await start(house) for _ in range(20)}
    async with hand(house, "first") as first, hand(house, "second") as second, session(house) as user:
        async with user.connection.transaction():
            locked: UUID = await user.connection.fetchval("select run_id from holdfast.task limit 1 for update")
            one, two = await asyncio.gather(first.claim(room=15), second.claim(room=15))
            ids = [claimed.run_id for claimed in (*one, *two)]
            assert len(ids) == len(set(ids)) == 19
            assert set(ids) == runs - {locked}
        (late,) = await first.claim()
        assert late.run_id == locked
    await house.check_invariants()


async def test_a_move_in_the_past_is_due_now_and_keeps_its_place(house: House) -> None:
    run = await start(house)
    async with hand(house) as one:
        (claimed,) = await one.claim()
        past = claimed.due_at - timedelta(days=1)
        await one.flush(Writes(run, claimed.hold, move=park(waits=False, due=past)))
        assert await house.value("select due_at > $2 from holdfast.task where run_id = $1", run, claimed.due_at)
        assert await house.value(IS_DUE, run)
    await house.check_invariants()
