"""Keys that belong to their run for a while: who is answered with what, under every race that was thought of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.store.operations import Verb, operate
from holdfast.store.session import Session
from holdfast.store.starts import KeyTerms, Manner, Start, Started, start_keyed
from tests.store.ground import Ground, both, new_id

HOUR = timedelta(hours=1)
RETURN, REJECT, REPLACE = range(3)


def start(
    key: str = "k",
    *,
    window: timedelta | None = None,
    open: bool = False,
    taken: int = RETURN,
    input: str = "{}",
    run_id: UUID | None = None,
) -> Start:
    manner = Manner(2, "job", "default", 3, None, None, None, None)
    terms = KeyTerms(window, while_open=open, taken=taken)
    return Start(run_id or new_id(), input, manner, key, input.encode(), None, terms)


async def send(session: Session, *starts: Start) -> list[Started]:
    return await start_keyed(session, starts, hint=False)


def made(asked: Start) -> Started:
    return Started(asked.id, existing=False, same=True)


def found(asked: Start, **what: bool) -> Started:
    return Started(asked.id, existing=True, same=what.get("same", True), refused=what.get("refused", False))


async def end(ground: Ground, asked: Start, session: Session | None = None) -> None:
    """Ends the run, as its holder would."""
    connection = ground.db if session is None else session.connection
    await connection.execute(
        "with gone as (delete from holdfast.task where run_id = $1 returning run_id) "
        "insert into holdfast.result (run_id, at, status) select run_id, holdfast.now(), 1 from gone",
        asked.id,
    )


async def open_runs(ground: Ground) -> set[UUID]:
    return {row[0] for row in await ground.db.fetch("select run_id from holdfast.task")}


async def advance(ground: Ground, span: timedelta) -> None:
    moved = await ground.value("select holdfast.now() - clock_timestamp()") + span
    await ground.execute(
        "create or replace function holdfast.now() returns timestamptz language sql volatile parallel safe "
        f"as $$ select clock_timestamp() + interval '{moved.total_seconds()} seconds' $$"
    )


# ---- how long a key is its run's


async def test_a_key_is_its_runs_while_that_is_open(ground: Ground) -> None:
    first, again, after, later = (start(open=True) for _ in range(4))
    assert await send(ground.session, first) == [made(first)]
    assert await send(ground.session, again) == [found(first)]
    await end(ground, first)
    assert await send(ground.session, after) == [made(after)]
    assert await send(ground.session, later) == [found(after)]
    assert await open_runs(ground) == {after.id}


async def test_a_run_that_goes_on_as_another_one_is_open(ground: Ground) -> None:
    first, again, after = (start(open=True) for _ in range(3))
    await send(ground.session, first)
    await end(ground, first)
    retry = new_id()
    assert (
        await ground.value(
            "select holdfast.continue_run($1, $2, 2::smallint, '{}', null, null, null, null)", first.id, retry
        )
        == "done"
    )
    assert await send(ground.session, again) == [Started(retry, existing=True, same=True)]
    await ground.execute("select holdfast.cancel($1)", retry)
    assert await send(ground.session, after) == [made(after)]


async def test_a_key_is_its_runs_for_a_time_whatever_becomes_of_that(ground: Ground) -> None:
    first, again, after = (start(window=HOUR) for _ in range(3))
    await send(ground.session, first)
    await end(ground, first)
    await advance(ground, HOUR - timedelta(minutes=1))
    assert await send(ground.session, again) == [found(first)]
    await advance(ground, timedelta(minutes=1))
    assert await send(ground.session, after) == [made(after)]
    assert await ground.value("select until - at > '59 min' from holdfast.start_key where run_id = $1", after.id)


async def test_the_terms_are_those_of_the_start_that_has_the_key(ground: Ground) -> None:
    kept, impatient = start(window=HOUR), start(window=timedelta(microseconds=1))
    await send(ground.session, kept)
    assert await send(ground.session, impatient, start(open=True), start()) == [found(kept)] * 3
    await end(ground, kept)
    await advance(ground, HOUR)
    # One that is meant for ever takes it, and has it for ever.
    forever, late = start(), start(open=True)
    assert await send(ground.session, forever) == [made(forever)]
    await end(ground, forever)
    await advance(ground, 1000 * HOUR)
    assert await send(ground.session, late) == [found(forever)]


# ---- what a start comes to whose key is taken


@pytest.mark.parametrize("terms", [{}, {"open": True}, {"window": HOUR}], ids=["for ever", "while open", "for a time"])
async def test_it_is_answered_with_that_run_or_refused_or_takes_its_place(
    ground: Ground, terms: dict[str, Any]
) -> None:
    first = start(**terms)
    await send(ground.session, first)
    other = start(**terms, input='{"n": 1}')
    assert await send(ground.session, start(**terms), other) == [found(first), found(first, same=False)]
    assert await send(ground.session, start(**terms, taken=REJECT)) == [found(first, refused=True)]
    assert await open_runs(ground) == {first.id}
    new = start(**terms, taken=REPLACE, input='{"n": 2}')
    assert await send(ground.session, new) == [made(new)]
    assert await open_runs(ground) == {new.id}
    assert await ground.value("select status from holdfast.result where run_id = $1", first.id) == 3
    assert await send(ground.session, start(**terms, input='{"n": 2}')) == [found(new)]


async def test_one_that_is_replaced_while_it_is_held_is_asked_to_end(ground: Ground) -> None:
    first, new = start(open=True), start(open=True, taken=REPLACE)
    await send(ground.session, first)
    hand = await ground.worker()
    await hand.take(first.id)
    assert await send(ground.session, new) == [made(new)]
    assert await open_runs(ground) == {first.id, new.id}
    assert (await ground.held(first.id))["flags"] & 4
    # However it ends: the key is the other one's.
    await hand.flush(hand.end(first.id))
    assert await send(ground.session, start(open=True)) == [found(new)]


async def test_a_key_whose_run_has_ended_is_only_taken(ground: Ground) -> None:
    first, new = start(), start(taken=REPLACE)
    await send(ground.session, first)
    await end(ground, first)
    assert await send(ground.session, new) == [made(new)]
    assert await ground.value("select status from holdfast.result where run_id = $1", first.id) == 1
    assert await send(ground.session, start()) == [found(new)]


async def test_a_key_that_is_left_of_a_run_that_is_gone_is_taken_until_its_time(ground: Ground) -> None:
    gone = start()
    await send(ground.session, gone)
    await ground.execute("delete from holdfast.task")
    await ground.execute("delete from holdfast.run")
    await ground.execute("update holdfast.start_key set until = holdfast.now() + interval '1 hour'")
    assert await send(ground.session, start(), start(taken=REJECT)) == [found(gone), found(gone, refused=True)]
    new = start(taken=REPLACE)
    assert await send(ground.session, new) == [made(new)]


# ---- many in one call


async def test_in_one_call_the_last_of_those_that_replace_each_other_is_left(ground: Ground) -> None:
    one, two, three, other = (
        start(taken=REPLACE, input='{"n": 1}'),
        start(taken=REPLACE),
        start(taken=REPLACE),
        start("o"),
    )
    batch = [one, other, two, three]
    for _ in range(2):
        # The second time as if the first answer had been lost.
        assert await send(ground.session, *batch) == [made(each) for each in batch]
        assert await open_runs(ground) == {three.id, other.id}
    assert await ground.value("select count(*) from holdfast.result where status = 3") == 2
    assert await ground.value("select run_id from holdfast.start_key where key = 'k'") == three.id


async def test_in_one_call_the_first_has_the_key_and_the_others_are_answered_by_their_wishes(ground: Ground) -> None:
    first, same, refused = start(open=True), start(open=True), start(open=True, taken=REJECT)
    assert await send(ground.session, first, same, refused) == [made(first), found(first), found(first, refused=True)]
    assert await open_runs(ground) == {first.id}


async def test_a_call_that_is_sent_again_changes_nothing_whoever_has_the_key_by_then(ground: Ground) -> None:
    first, second = start(open=True, taken=REPLACE), start(open=True, taken=REPLACE)
    await send(ground.session, first)
    assert await send(ground.session, first) == [made(first)]
    await send(ground.session, second)
    before = await ground.everything()
    assert await send(ground.session, first) == [made(first)]
    assert await ground.everything() == before
    assert await open_runs(ground) == {second.id}


# ---- at the same time


async def locked(ground: Ground) -> tuple[Session, Any]:
    """A session that holds on to the row of the key, in a transaction."""
    holder = await ground.more()
    transaction = holder.connection.transaction()
    await transaction.start()
    await holder.connection.execute("select from holdfast.start_key for update")
    return holder, transaction


async def test_a_run_that_ends_between_the_look_and_the_answer_has_ended(ground: Ground) -> None:
    first, second = start(open=True), start(open=True)
    await send(ground.session, first)
    _, transaction = await locked(ground)
    asking = await ground.more()
    answer = asyncio.ensure_future(send(asking, second))
    # It has seen that the key is there, and stands before its row.
    await ground.waits(asking)
    await end(ground, first)
    await transaction.commit()
    assert await answer == [made(second)]


async def test_a_run_whose_end_is_not_committed_is_open(ground: Ground) -> None:
    first, second, third = (start(open=True) for _ in range(3))
    await send(ground.session, first)
    ending = await ground.more()
    transaction = ending.connection.transaction()
    await transaction.start()
    await end(ground, first, ending)
    # Nobody waits for the transaction that ends it.
    assert await send(ground.session, second) == [found(first)]
    await transaction.commit()
    assert await send(ground.session, third) == [made(third)]


@pytest.mark.parametrize("terms", [{"open": True}, {"window": HOUR}], ids=["while open", "for a time"])
async def test_of_all_that_come_when_a_window_has_just_ended_one_makes_a_run(
    ground: Ground, terms: dict[str, Any]
) -> None:
    sessions = [await ground.more() for _ in range(8)]
    last = start(**terms)
    await send(ground.session, last)
    for _ in range(20):
        if "open" in terms:
            await end(ground, last)
        else:
            await advance(ground, HOUR)
        asked = [start(**terms) for _ in sessions]
        answers = await both(*[send(session, one) for session, one in zip(sessions, asked, strict=True)])
        (owner,) = {answer.id for (answer,) in answers}
        assert [answer.existing for (answer,) in answers].count(False) == 1
        (last,) = [one for one in asked if one.id == owner]


async def test_of_all_that_replace_at_the_same_time_one_is_left_and_every_other_has_ended(ground: Ground) -> None:
    sessions = [await ground.more() for _ in range(8)]
    for _ in range(20):
        asked = [start(open=True, taken=REPLACE) for _ in sessions]
        answers = await both(*[send(session, one) for session, one in zip(sessions, asked, strict=True)])
        # Each was made, and told so.
        assert [answer for (answer,) in answers] == [made(one) for one in asked]
        (left,) = await open_runs(ground)
        assert left == await ground.value("select run_id from holdfast.start_key")
    assert await ground.value("select count(*) from holdfast.result") == 20 * 8 - 1


async def test_what_ends_as_it_is_replaced_has_ended_once(ground: Ground) -> None:
    session, hand = await ground.more(), await ground.worker()
    for _ in range(20):
        first, new = start(open=True), start(open=True, taken=REPLACE)
        await send(ground.session, first)
        await hand.take(first.id)
        answer, flushed = await both(send(session, new), hand.flush(hand.end(first.id)))
        assert answer == [made(new)]
        while flushed.busy:
            flushed = await hand.flush(hand.end(first.id), wait=True)
        assert await open_runs(ground) == {new.id}
        assert await ground.value("select status from holdfast.result where run_id = $1", first.id) == 1
        await end(ground, new)


async def test_a_transaction_that_rolls_back_leaves_the_key_and_the_run_as_they_were(ground: Ground) -> None:
    first = start(open=True)
    await send(ground.session, first)
    users = await ground.more()
    transaction = users.connection.transaction()
    await transaction.start()
    replacing = start(open=True, taken=REPLACE)
    assert await send(users, replacing) == [made(replacing)]
    asking = await ground.more()
    second = start(open=True)
    answer = asyncio.ensure_future(send(asking, second))
    await ground.waits(asking)
    await transaction.rollback()
    assert await answer == [found(first)]
    assert await open_runs(ground) == {first.id}


async def test_who_waits_for_a_transaction_that_takes_the_key_is_answered_with_what_that_has_made(
    ground: Ground,
) -> None:
    first = start(open=True)
    await send(ground.session, first)
    await end(ground, first)
    users = await ground.more()
    transaction = users.connection.transaction()
    await transaction.start()
    new = start(open=True)
    assert await send(users, new) == [made(new)]
    asking = await ground.more()
    answer = asyncio.ensure_future(send(asking, start(open=True)))
    await ground.waits(asking)
    await transaction.commit()
    assert await answer == [found(new)]


async def test_a_key_that_is_removed_meanwhile_is_taken(ground: Ground) -> None:
    first, second = start(window=HOUR), start(window=HOUR)
    await send(ground.session, first)
    await end(ground, first)
    await advance(ground, HOUR)
    holder, transaction = await locked(ground)
    asking = await ground.more()
    answer = asyncio.ensure_future(send(asking, second))
    await ground.waits(asking)
    await holder.connection.execute("delete from holdfast.start_key")
    await transaction.commit()
    assert await answer == [made(second)]
    assert await send(ground.session, start(window=HOUR)) == [found(second)]


async def test_those_who_replace_many_and_those_who_cancel_them_never_stand_in_each_others_way(ground: Ground) -> None:
    keys = [f"k{n}" for n in range(30)]
    # Keys and runs in opposite orders.
    runs = [start(key, open=True) for key in reversed(keys)]
    for _ in range(10):
        await send(ground.session, *runs)
        one, two, three = [await ground.more() for _ in range(3)]
        replacing: Sequence[Start] = [start(key, open=True, taken=REPLACE) for key in keys]
        others: Sequence[Start] = [start(key, open=True, taken=REPLACE) for key in reversed(keys)]
        ids = [run.id for run in runs]
        # A deadlock would raise here.
        for came in await both(send(one, *replacing), send(two, *others), operate(three, Verb.CANCEL, ids)):
            assert not isinstance(came, BaseException), came
        assert len(await open_runs(ground)) == len(keys)
        await ground.execute("select holdfast.cancel(run_id) from holdfast.task order by run_id")
        runs = [start(key, open=True) for key in reversed(keys)]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_at_a_higher_level_it_is_refused_rather_than_wrong(ground: Ground, level: str) -> None:
    first = start(open=True)
    await send(ground.session, first)
    users = await ground.more()
    await users.connection.execute(f"begin isolation level {level}")
    await users.connection.execute("select 1 from holdfast.run")
    # What the transaction cannot see any more: the key has gone to another run.
    await end(ground, first)
    new = start(open=True)
    await send(ground.session, new)
    with pytest.raises(asyncpg.SerializationError):
        await send(users, start(open=True))
    await users.connection.execute("rollback")
    assert await open_runs(ground) == {new.id}


# ---- from plain SQL


async def test_sql_has_the_same_terms(ground: Ground) -> None:
    one = "select holdfast.start('job', key => 'k', key_window => 'open')"
    first = await ground.value(one)
    assert await ground.value(one) == first
    with pytest.raises(asyncpg.PostgresError, match="key k of job is taken by run") as raised:
        await ground.value("select holdfast.start('job', key => 'k', key_taken => 'reject')")
    assert raised.value.sqlstate == "HF010"
    new = await ground.value(
        "select holdfast.start('job', '{\"n\": 1}', key => 'k', key_window => '10 minutes', key_taken => 'replace')"
    )
    assert await open_runs(ground) == {new}
    assert await ground.value("select until - at between '9 min' and '11 min' from holdfast.start_key")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("key_window => 'soon'", "key_window 'soon' is not forever, open or an interval of more than zero"),
        ("key_window => '0'", "is not forever, open or an interval"),
        ("key_window => '-1 hour'", "is not forever, open or an interval"),
        ("key_taken => 'maybe'", "key_taken 'maybe' is not one of return_existing, reject, replace"),
        ("key_window => 'soon', key_taken => 'x', lane => ''", "key_taken 'x' is not one of"),
    ],
)
async def test_sql_is_told_what_is_wrong_with_them(ground: Ground, arguments: str, message: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await ground.value(f"select holdfast.start('job', key => 'k', {arguments})")
    assert message in str(raised.value)
    assert raised.value.sqlstate == "HF007"


async def test_sql_needs_a_key_for_them_and_starts_jobs(ground: Ground) -> None:
    with pytest.raises(asyncpg.PostgresError, match="key_window and key_taken go with a key"):
        await ground.value("select holdfast.start('job', key_window => 'open')")
    run = await ground.value("select holdfast.start('job', job => true)")
    assert await ground.value("select kind from holdfast.run where id = $1", run) == 2
