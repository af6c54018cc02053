"""Runs that are claimed before they are due: what is taken, and what becomes of it when it is given back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast.core.states import Flag
from holdfast.store import work
from holdfast.store.inbox import request_cancel, send_signal
from holdfast.store.operations import Verb, operate
from holdfast.worker.moves import given_back
from tests.store.ground import Ground, Hand, move, step

SECOND = timedelta(seconds=1)
LEAD = 15 * SECOND


async def taken_ahead(ground: Ground, *, after: timedelta = 10 * SECOND, **options: Any) -> tuple[Hand, UUID]:
    """A run that is due later, and the worker that has it."""
    run = await ground.start(after=after, **options)
    hand = await ground.worker()
    claim = await hand.claim(early=5, lead=LEAD)
    assert [one.run_id for one in claim.runs] == [run]
    return hand, run


async def give_back(ground: Ground, hand: Hand, run: UUID, verb: str, *, seen: int = 0) -> None:
    """In one of the ways in which a holder loses what it has not begun."""
    if verb == "flush":
        await hand.flush(hand.writes(run, move=given_back(seen)))
    elif verb == "leave":
        assert await work.leave(hand.session, hand.identity) == 1
    else:
        await ground.lease_over(hand)
        assert await work.recover(ground.session) is not None


GIVEN_BACK = pytest.mark.parametrize("verb", ["flush", "leave", "recovery"])


async def test_what_is_due_within_the_lead_comes_behind_what_is_due(ground: Ground) -> None:
    soon, later, far = [await ground.start(after=seconds * SECOND) for seconds in (5, 14, 16)]
    due = await ground.start()
    hand = await ground.worker()
    claim = await hand.claim(10, early=10, lead=LEAD)
    assert [run.run_id for run in claim.runs] == [due, soon, later]
    assert [run.due_at <= claim.at for run in claim.runs] == [True, False, False]
    assert not await ground.is_due(far)
    assert (await ground.held(far))["bucket_id"] is None


async def test_without_room_for_it_or_without_a_lead_nothing_is_taken_early(ground: Ground) -> None:
    runs = await ground.start_many(3, after=SECOND)
    hand = await ground.worker()
    assert (await hand.claim(early=0, lead=LEAD)).runs == []
    assert (await hand.claim(early=5)).runs == []
    claim = await hand.claim(early=2, lead=LEAD)
    assert [run.run_id for run in claim.runs] == runs[:2]
    # Of what is left it is said when it is due.
    assert set(claim.next_due.values()) == {(await ground.held(runs[2]))["due_at"]}


async def test_its_time_begins_when_it_is_due(ground: Ground) -> None:
    hand, run = await taken_ahead(ground)
    task = await ground.held(run)
    assert task["first_claim_at"] == task["due_at"]
    assert await ground.status(run) == "assigned"
    await give_back(ground, hand, run, "flush")
    assert await ground.status(run) == "scheduled"


async def test_what_its_timeout_ends_before_it_is_due_is_left_to_that(ground: Ground) -> None:
    await ground.start(after=10 * SECOND)
    await ground.execute("update holdfast.task set deadline = holdfast.now() + interval '3 s'")
    hand = await ground.worker()
    assert (await hand.claim(early=5, lead=LEAD)).runs == []


@GIVEN_BACK
async def test_what_was_never_begun_is_as_if_nobody_had_taken_it(ground: Ground, verb: str) -> None:
    before = None
    run = await ground.start(after=10 * SECOND)
    before = await ground.held(run)
    hand = await ground.worker()
    (claimed,) = (await hand.claim(early=5, lead=LEAD)).runs
    assert claimed.run_id == run
    await ground.execute("update holdfast.task set name = name || '@7'")  # as a worker with versions would
    await give_back(ground, hand, run, verb)
    after = await ground.held(run)
    # Whether something was executed is not known to whoever leaves in a hurry.
    before["flags"] = after["flags"] if verb == "leave" else before["flags"]
    assert after == {**before, "hold": 1}


@GIVEN_BACK
@pytest.mark.parametrize("comes", [None, "signal", "child too few", "cancel"])
async def test_what_waits_for_its_inbox_goes_on_to_wait(ground: Ground, verb: str, comes: str | None) -> None:
    run = await ground.start()
    first = await ground.worker()
    due = await ground.value("select holdfast.now() + interval '10 s'")
    wake = 3 if comes == "child too few" else None
    await first.parked(run, due=due, waits=True, progress=True, wake=wake)
    hand = await ground.worker()
    assert [one.run_id for one in (await hand.claim(early=5, lead=LEAD)).runs] == [run]
    if comes == "cancel":
        assert await request_cancel(ground.session, run) == "requested"
    elif comes is not None:
        assert await send_signal(ground.session, run, name="x", payload="1", key=None)
    (seen,) = await work.look(ground.session, [run])
    assert comes is None or seen.woken is (comes in ("signal", "cancel"))
    await give_back(ground, hand, run, verb)
    assert await ground.is_due(run) is (comes in ("signal", "cancel"))
    if comes is None:
        # It hears what comes later.
        assert await send_signal(ground.session, run, name="x", payload="1", key=None)
        assert await ground.is_due(run)


@GIVEN_BACK
async def test_what_only_sleeps_is_not_woken_by_a_letter(ground: Ground, verb: str) -> None:
    run = await ground.start()
    first = await ground.worker()
    due = await ground.value("select holdfast.now() + interval '10 s'")
    await first.parked(run, due=due, waits=False, progress=True)
    hand = await ground.worker()
    assert (await hand.claim(early=5, lead=LEAD)).runs
    assert await send_signal(ground.session, run, name="x", payload="1", key=None)
    await give_back(ground, hand, run, verb)
    task = await ground.held(run)
    assert task["due_at"] == due
    assert task["first_claim_at"] < due


async def test_what_is_entered_early_is_due_from_then_on(ground: Ground) -> None:
    run = await ground.start()
    first = await ground.worker()
    due = await ground.value("select holdfast.now() + interval '10 s'")
    await first.parked(run, due=due, waits=True, progress=True)
    hand = await ground.worker()
    await hand.claim(early=5, lead=LEAD)
    await hand.flush(hand.writes(run, begun=True))
    assert await ground.status(run) == "running"
    await give_back(ground, hand, run, "recovery")
    assert await ground.is_due(run)
    assert (await ground.held(run))["crashes"] == 1


@GIVEN_BACK
async def test_what_has_begun_before_its_time_stays_begun(ground: Ground, verb: str) -> None:
    """Something came for it, it did something and parked; then it is held again, and given back, before its time."""
    first, run = await taken_ahead(ground)
    began = (await ground.held(run))["first_claim_at"]
    entered = move(seen=0, waits=True, clear=Flag.BEGUN, progress=True)
    await first.flush(first.writes(run, begun=True, journal=[step(1, key="step#1")]), first.writes(run, move=entered))
    await send_signal(ground.session, run, name="go", payload="1", key=None)
    hand = await ground.worker()
    await hand.claim()
    assert await ground.status(run) == "running"
    await give_back(ground, hand, run, verb)
    assert (await ground.held(run))["first_claim_at"] == began
    assert await ground.value("select holdfast.cancel($1)", run) == "requested"


async def test_one_that_has_begun_before_its_time_rings_its_timer_as_it_is_woken(ground: Ground) -> None:
    first, run = await taken_ahead(ground)
    due = await ground.value("select holdfast.now() + interval '5 s'")
    asleep = move(seen=0, due=due, waits=False, clear=Flag.BEGUN, progress=True)
    await first.flush(first.writes(run, begun=True, journal=[step(1, key="step#1")]), first.writes(run, move=asleep))
    hand = await ground.worker()
    await hand.claim(early=5, lead=LEAD)
    assert await ground.status(run) == "waiting"
    assert await operate(ground.session, Verb.WAKE, [run]) == {run: "requested"}
    assert (await ground.held(run))["flags"] & Flag.WAKE


async def test_pause_and_resume_leave_it_its_time(ground: Ground) -> None:
    hand, run = await taken_ahead(ground)
    due = (await ground.held(run))["due_at"]
    assert await operate(ground.session, Verb.PAUSE, [run]) == {run: "requested"}
    await give_back(ground, hand, run, "flush")
    assert (await ground.held(run))["due_at"] == work.FOREVER
    assert await operate(ground.session, Verb.RESUME, [run]) == {run: "done"}
    assert (await ground.held(run))["due_at"] == due


@pytest.mark.parametrize("kind", [1, 2])
async def test_wake_makes_it_due_and_its_holder_gives_it_back(ground: Ground, kind: int) -> None:
    hand, run = await taken_ahead(ground, kind=kind, name="job")
    assert await operate(ground.session, Verb.WAKE, [run]) == {run: "done"}
    (seen,) = await work.look(ground.session, [run])
    assert seen.due_at <= await ground.value("select holdfast.now()")
    await give_back(ground, hand, run, "flush")
    assert await ground.is_due(run)


async def test_one_that_is_cancelled_before_its_time_has_never_begun(ground: Ground) -> None:
    hand, run = await taken_ahead(ground)
    await hand.flush(hand.end(run))
    result = await ground.result(run)
    assert result is not None
    assert result["first_claim_at"] is None


async def test_a_crash_is_not_counted_for_it(ground: Ground) -> None:
    hand, run = await taken_ahead(ground)
    await ground.execute("update holdfast.task set crashes = 1, flags = flags | $1", int(Flag.CANCEL))
    await give_back(ground, hand, run, "recovery")
    task = await ground.held(run)
    assert (task["crashes"], task["lane"]) == (1, "default")


async def test_given_back_after_its_time_it_is_still_one_that_nobody_has_begun(ground: Ground) -> None:
    hand, run = await taken_ahead(ground, after=timedelta(milliseconds=50))
    await ground.until("select due_at < holdfast.now() from holdfast.task")
    await hand.flush(hand.writes(run, move=given_back(0, untouched=True)))
    assert (await ground.held(run))["first_claim_at"] is None
    assert await ground.is_due(run)


async def test_it_is_given_back_a_little_later_where_that_is_asked_for(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    flushed = await hand.flush(hand.writes(run, move=given_back(0, after=SECOND)))
    assert (await ground.held(run))["due_at"] == flushed.at + SECOND
