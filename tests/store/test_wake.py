"""Signals and cancels: what wakes, what does not, and that nothing is lost in between."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.errors import RunEnded, RunNotFound
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending, Flag
from holdfast.store.inbox import request_cancel, send_signal
from tests.store.ground import Ground, Hand, both, new_id, step

HOUR = timedelta(hours=1)


@pytest.fixture
async def run(ground: Ground) -> UUID:
    """A run in line."""
    return await ground.start()


@pytest.fixture
async def hand(ground: Ground, run: UUID) -> Hand:
    """A worker that holds it."""
    hand = await ground.worker()
    await hand.take(run)
    return hand


async def signal(ground: Ground, run: UUID, *, key: str | None = None) -> bool:
    return await send_signal(ground.session, run, name="upgrade", payload='{"a": 1}', key=key)


# -- signals


@pytest.mark.parametrize(
    ("park", "change", "woken"),
    [
        pytest.param({}, None, True, id="waits for ever"),
        pytest.param({"due": None, "after": HOUR}, None, True, id="waits with a timeout"),
        pytest.param({"waits": False}, None, False, id="only sleeps"),
        pytest.param({"due": None, "after": HOUR, "waits": False}, None, False, id="backs off"),
        pytest.param({"set": Flag.PAUSED}, None, False, id="is paused"),
        pytest.param({}, "wake_at = 2", False, id="waits for two"),
        pytest.param({}, "wake_at = 1", True, id="waits for one"),
    ],
)
async def test_a_signal_wakes_only_what_waits_for_it(
    ground: Ground, hand: Hand, run: UUID, *, park: dict[str, Any], change: str | None, woken: bool
) -> None:
    await hand.flush(hand.park(run, **park))
    if change:
        await ground.execute(f"update holdfast.task set {change}")
    assert await signal(ground, run)
    assert await ground.is_due(run) is woken
    assert (await ground.held(run))["inbox_count"] == 1


async def test_a_signal_to_a_held_run_moves_nothing(ground: Ground, hand: Hand, run: UUID) -> None:
    before = await ground.held(run)
    await signal(ground, run)
    assert await ground.held(run) == before | {"inbox_count": 1}


async def test_a_signal_does_not_push_a_run_back_that_was_due_before(ground: Ground, hand: Hand, run: UUID) -> None:
    await hand.flush(hand.park(run, due=None, waits=True))
    before = await ground.held(run)
    await signal(ground, run)
    assert (await ground.held(run))["due_at"] == before["due_at"]


async def test_letters_are_numbered_as_they_were_counted(ground: Ground, run: UUID) -> None:
    sessions = [await ground.more() for _ in range(6)]
    for _ in range(5):
        await both(*[send_signal(session, run, name="upgrade", payload="1", key=None) for session in sessions])
    assert [row["number"] for row in await ground.inbox(run)] == list(range(1, 31))
    assert (await ground.held(run))["inbox_count"] == 30


async def test_of_many_signals_with_one_key_one_is_stored(ground: Ground, run: UUID) -> None:
    sessions = [await ground.more() for _ in range(8)]
    answers = await both(*[send_signal(s, run, name="upgrade", payload="1", key="order-7") for s in sessions])
    assert sorted(answers) == [False] * 7 + [True]
    assert (await ground.held(run))["inbox_count"] == 1
    assert await send_signal(ground.session, run, name="upgrade", payload="1", key="order-8")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_signal_with_a_key_is_safe_in_any_transaction_of_a_user(ground: Ground, run: UUID, level: str) -> None:
    user = await ground.connect()
    transaction = user.transaction(isolation=level.replace(" ", "_"))  # type: ignore[arg-type]
    await transaction.start()
    await user.fetchval("select count(*) from holdfast.inbox")
    assert await signal(ground, run, key="once")
    with pytest.raises(asyncpg.SerializationError):
        await user.fetchval("select holdfast.signal($1, 'upgrade', '1', 'once')", run)
    await transaction.rollback()
    assert (await ground.held(run))["inbox_count"] == 1


async def test_a_signal_without_a_payload_carries_null(ground: Ground, run: UUID) -> None:
    await ground.value("select holdfast.signal($1, 'upgrade')", run)
    await ground.value("select holdfast.signal($1, 'upgrade', null)", run)
    assert [row["payload"] for row in await ground.inbox(run)] == ["null", "null"]


@pytest.mark.parametrize("name", [None, ""])
async def test_a_signal_needs_a_name(ground: Ground, run: UUID, name: str | None) -> None:
    with pytest.raises(asyncpg.PostgresError, match="a signal needs a name") as raised:
        await ground.value("select holdfast.signal($1, $2)", run, name)
    assert raised.value.sqlstate == "HF007"


@pytest.mark.parametrize("verb", ["signal($1, 'upgrade')", "cancel($1)"])
@pytest.mark.parametrize("run_id", [new_id(), None])
async def test_a_run_that_never_was_is_said_to_be_unknown(ground: Ground, verb: str, run_id: UUID | None) -> None:
    with pytest.raises(asyncpg.PostgresError, match="there is no run") as raised:
        await ground.value(f"select holdfast.{verb}", run_id)
    assert raised.value.sqlstate == "HF003"


async def test_what_is_sent_to_nobody_is_an_error_of_its_own(ground: Ground, hand: Hand, run: UUID) -> None:
    with pytest.raises(RunNotFound):
        await signal(ground, new_id())
    with pytest.raises(RunNotFound):
        await request_cancel(ground.session, new_id())
    await hand.flush(hand.end(run))
    with pytest.raises(RunEnded):
        await signal(ground, run)
    with pytest.raises(asyncpg.PostgresError, match="has ended") as raised:
        await ground.value("select holdfast.signal($1, 'upgrade')", run)
    assert raised.value.sqlstate == "HF004"
    assert await request_cancel(ground.session, run) == "ended"


# -- between looking and parking


@pytest.mark.parametrize("wait", [True, False])
async def test_a_signal_that_commits_before_the_park_is_not_lost(
    ground: Ground, hand: Hand, run: UUID, wait: bool
) -> None:
    await signal(ground, run)
    await hand.flush(hand.park(run, seen=0), wait=wait)
    assert await ground.is_due(run)


async def test_a_signal_that_commits_while_the_park_waits_is_not_lost(ground: Ground, hand: Hand, run: UUID) -> None:
    transaction = ground.db.transaction()
    await transaction.start()
    await signal(ground, run)
    park = asyncio.ensure_future(hand.flush(hand.park(run, seen=0), wait=True))
    await ground.waits(hand.session)
    await transaction.commit()
    await park
    assert await ground.is_due(run)
    assert (await ground.held(run))["inbox_count"] == 1


async def test_a_signal_that_waits_for_the_park_wakes_it(ground: Ground, hand: Hand, run: UUID) -> None:
    sender = await ground.more()
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.flush(hand.park(run, seen=0))
    sending = asyncio.ensure_future(send_signal(sender, run, name="upgrade", payload="1", key=None))
    await ground.waits(sender)
    await transaction.commit()
    assert await sending
    assert await ground.is_due(run)


async def test_a_park_that_has_seen_everything_stays_parked(ground: Ground, hand: Hand, run: UUID) -> None:
    await signal(ground, run)
    await hand.flush(hand.writes(run, journal=[step(1)], seen=[1]))
    await hand.flush(hand.park(run, seen=1))
    assert (await ground.held(run))["due_at"] == datetime.max


@pytest.mark.parametrize(("waits", "due"), [(True, True), (False, False)])
async def test_what_only_sleeps_is_not_kept_awake_by_a_letter(
    ground: Ground, hand: Hand, run: UUID, waits: bool, due: bool
) -> None:
    await signal(ground, run)
    await hand.flush(hand.park(run, seen=0, due=None, after=HOUR, waits=waits))
    assert await ground.is_due(run) is due


async def test_a_request_to_cancel_is_not_slept_over(ground: Ground, hand: Hand, run: UUID) -> None:
    assert await request_cancel(ground.session, run) == "requested"
    await hand.flush(hand.park(run, seen=0, due=None, after=HOUR, waits=False))
    assert await ground.is_due(run)


async def test_a_signal_that_waits_for_the_end_learns_of_it(ground: Ground, hand: Hand, run: UUID) -> None:
    sender, canceller = await ground.more(), await ground.more()
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.flush(hand.end(run))
    sending = asyncio.ensure_future(send_signal(sender, run, name="upgrade", payload="1", key="k"))
    cancelling = asyncio.ensure_future(request_cancel(canceller, run))
    await ground.waits(sender)
    await ground.waits(canceller)
    await transaction.commit()
    with pytest.raises(RunEnded):
        await sending
    assert await cancelling == "ended"
    assert await ground.inbox(run) == []


async def test_a_signal_that_is_taken_back_wakes_nobody(ground: Ground, hand: Hand, run: UUID) -> None:
    await hand.flush(hand.park(run))
    transaction = ground.db.transaction()
    await transaction.start()
    await signal(ground, run)
    await transaction.rollback()
    assert not await ground.is_due(run)
    assert await ground.inbox(run) == []


# -- cancel


async def test_what_nobody_has_begun_is_cancelled_at_once(ground: Ground, run: UUID) -> None:
    await signal(ground, run, key="k")
    assert await request_cancel(ground.session, run) == "cancelled"
    result = await ground.result(run)
    assert result is not None
    assert (result["status"], result["first_claim_at"]) == (Ending.CANCELLED, None)
    assert (await ground.task(run), await ground.inbox(run)) == (None, [])
    assert await request_cancel(ground.session, run) == "ended"


@pytest.mark.parametrize("kind", [2, 3])
async def test_a_parked_job_has_no_clean_up_code_and_is_cancelled_at_once(ground: Ground, kind: int) -> None:
    (job,) = await ground.start_many(1, name="job", kind=kind)
    hand = await ground.worker()
    await hand.parked(job, due=None, after=HOUR, waits=False)
    first_claim_at = (await ground.held(job))["first_claim_at"]
    assert await request_cancel(ground.session, job) == "cancelled"
    result = await ground.result(job)
    assert result is not None
    assert result["first_claim_at"] == first_claim_at


@pytest.mark.parametrize(
    ("park", "due"),
    [({}, True), ({"due": None, "after": HOUR, "waits": False}, True), ({"set": Flag.PAUSED}, False)],
)
async def test_a_parked_workflow_is_asked_to_cancel(
    ground: Ground, hand: Hand, run: UUID, park: dict[str, Any], due: bool
) -> None:
    await hand.flush(hand.park(run, **park))
    assert await request_cancel(ground.session, run) == "requested"
    task = await ground.held(run)
    assert task["flags"] & Flag.CANCEL
    assert await ground.is_due(run) is due
    (letter,) = await ground.inbox(run)
    assert (letter["number"], letter["kind"], letter["name"]) == (1, EntryKind.CANCEL, "cancel")


async def test_a_request_to_cancel_is_made_once(ground: Ground, hand: Hand, run: UUID) -> None:
    sessions = [await ground.more() for _ in range(5)]
    assert await both(*[request_cancel(session, run) for session in sessions]) == ["requested"] * 5
    assert (await ground.held(run))["inbox_count"] == 1
    assert len(await ground.inbox(run)) == 1


@pytest.mark.parametrize("kind", [1, 2])
async def test_a_held_run_is_moved_by_its_holder_only(ground: Ground, kind: int) -> None:
    (run,) = await ground.start_many(1, kind=kind)
    hand = await ground.worker()
    await hand.take(run)
    before = await ground.held(run)
    assert await request_cancel(ground.session, run) == "requested"
    assert await ground.held(run) == before | {"flags": Flag.CANCEL, "inbox_count": 1}


async def test_a_cancel_and_a_claim_agree_on_who_was_first(ground: Ground) -> None:
    hand = await ground.worker()
    canceller = await ground.more()
    for _ in range(20):
        run = await ground.start()
        claim, cancelled = await both(hand.claim(), request_cancel(canceller, run))
        if cancelled == "cancelled":
            assert claim.runs == []
            assert await ground.result(run) is not None
        else:
            assert cancelled == "requested"
            # A claim passes over a row that somebody is at, and finds it the next time.
            if not claim.runs:
                await hand.take(run)
            assert (await ground.held(run))["flags"] == Flag.CANCEL
            await hand.flush(hand.end(run))


async def test_signals_cancels_flushes_and_recovery_at_once_end_in_order(ground: Ground) -> None:
    runs = await ground.start_many(12)
    hands = [await ground.worker() for _ in range(3)]
    senders = [await ground.more() for _ in range(3)]
    sent = dict.fromkeys(runs, 0)

    async def send(session: Any, order: list[UUID]) -> None:
        for run in order:
            if await send_signal(session, run, name="upgrade", payload="1", key=None):
                sent[run] += 1

    async def work_(hand: Hand) -> None:
        for _ in range(6):
            claimed = (await hand.claim(5)).runs
            flushed = await hand.flush(*[hand.park(run.run_id, seen=run.inbox_count) for run in claimed])
            busy = [run for run in claimed if run.run_id in flushed.busy]
            if busy:
                await hand.flush(*[hand.park(run.run_id, seen=run.inbox_count) for run in busy], wait=True)

    await asyncio.gather(
        *[work_(hand) for hand in hands],
        *[send(session, runs[turn:] + runs[:turn]) for turn, session in enumerate(senders)],
    )
    for run in runs:
        task = await ground.held(run)
        assert task["inbox_count"] == sent[run] == 3
        assert [row["number"] for row in await ground.inbox(run)] == [1, 2, 3]
