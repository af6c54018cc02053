"""Flushes: what each section writes, and what happens when it is said twice, or by two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending, Flag
from holdfast.store import work
from holdfast.store.writes import End, Writes
from tests.store.ground import Ground, Hand, both, move, new_id, step

HOUR = timedelta(hours=1)
NOBODY: frozenset[UUID] = frozenset()


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


# -- one section after the other


async def test_an_empty_flush_is_fenced_and_says_the_time(hand: Hand) -> None:
    one, two = await hand.flush(), await hand.flush()
    assert one.at < two.at
    assert (one.busy, one.lost) == (NOBODY, NOBODY)


async def test_a_journal_row_keeps_what_it_is_given(ground: Ground, hand: Hand, run: UUID) -> None:
    row = step(7, digest=b"\x00\xff", output='{"a": "\\u0000", "b":1.10}', attempts=3, elapsed=timedelta(seconds=2))
    flushed = await hand.flush(hand.writes(run, journal=[row]))
    (stored,) = await ground.journal(run)
    assert stored == {
        "run_id": run,
        "at": flushed.at,
        "started_at": flushed.at - timedelta(seconds=2),
        "not_before": None,
        "seq": 7,
        "hold": 1,
        "kind": EntryKind.ACTIVITY,
        "attempts": 3,
        "key": "charge#7",
        "digest": b"\x00\xff",
        "output": '{"a": "\\u0000", "b":1.10}',
        "error": None,
    }


async def test_the_times_of_a_journal_row_come_from_the_database(ground: Ground, hand: Hand, run: UUID) -> None:
    past, future = datetime.fromisoformat("2001-01-01T00:00Z"), datetime.fromisoformat("2101-01-01T00:00Z")
    rows = [
        step(1, at=past, elapsed=None),
        step(2, at=future, elapsed=None),
        step(3, kind=EntryKind.ATTEMPT, error="{}", after=timedelta(seconds=9), elapsed=None),
    ]
    flushed = await hand.flush(hand.writes(run, journal=rows))
    stored = await ground.journal(run)
    assert [row["at"] for row in stored] == [flushed.at, future, flushed.at]
    assert [row["started_at"] for row in stored] == [None] * 3
    assert [row["not_before"] for row in stored] == [None, None, flushed.at + timedelta(seconds=9)]


async def test_rows_of_many_runs_travel_together(ground: Ground, hand: Hand, run: UUID) -> None:
    runs = [run, *await ground.start_many(20)]
    await hand.claim(20)
    await hand.flush(*[hand.writes(one, journal=[step(seq) for seq in range(1, 4)]) for one in runs])
    assert [[row["seq"] for row in await ground.journal(one)] for one in runs] == [[1, 2, 3]] * 21


Due = Callable[[datetime], datetime]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        pytest.param({"due": None}, "now", id="at once"),
        pytest.param({"due": None, "after": HOUR}, "in an hour", id="after a back-off"),
        pytest.param({"due": datetime.fromisoformat("2101-01-01T00:00Z")}, "2101", id="at a time"),
        pytest.param({"due": datetime.fromisoformat("2001-01-01T00:00Z")}, "now", id="at a time in the past"),
        pytest.param({}, "infinity", id="for ever"),
    ],
)
async def test_a_move_says_when_the_run_is_due(
    ground: Ground, hand: Hand, run: UUID, what: dict[str, Any], expected: str
) -> None:
    flushed = await hand.flush(hand.park(run, **what))
    task = await ground.held(run)
    times = {
        "now": flushed.at,
        "in an hour": flushed.at + HOUR,
        "2101": datetime.fromisoformat("2101-01-01T00:00Z"),
        "infinity": work.FOREVER,
    }
    assert task["due_at"] == times[expected]
    assert task["bucket_id"] is None
    assert task["hold"] == 1


async def test_what_was_taken_ahead_of_its_time_is_given_back_for_its_time(
    ground: Ground, hand: Hand, run: UUID
) -> None:
    await ground.execute("update holdfast.task set due_at = holdfast.now() + interval '1 hour'")
    due = (await ground.held(run))["due_at"]
    await hand.flush(hand.park(run, due=None, waits=False))
    assert (await ground.held(run))["due_at"] == due


async def test_a_move_sets_and_clears_flags_and_keeps_the_others(ground: Ground, hand: Hand, run: UUID) -> None:
    await ground.execute("update holdfast.task set flags = $1", Flag.CANCEL | Flag.BEGUN)
    await hand.flush(hand.park(run, set=Flag.BLOCKED, clear=Flag.BEGUN))
    assert (await ground.held(run))["flags"] == Flag.CANCEL | Flag.BLOCKED


@pytest.mark.parametrize(("progress", "crashes", "lane"), [(True, 0, "default"), (False, 2, "default alone")])
async def test_progress_forgets_crashes(
    ground: Ground, hand: Hand, run: UUID, *, progress: bool, crashes: int, lane: str
) -> None:
    await ground.execute("update holdfast.task set crashes = 2, lane = 'default alone'")
    await hand.flush(hand.park(run, progress=progress))
    task = await ground.held(run)
    assert (task["crashes"], task["lane"]) == (crashes, lane)


async def test_a_run_that_is_entered_after_a_crash_is_marked(ground: Ground, hand: Hand, run: UUID) -> None:
    await hand.flush(hand.writes(run, begun=True))
    assert (await ground.held(run))["flags"] == Flag.BEGUN
    # Said in the same breath as its end of the line, the mark does not outlive it.
    await hand.flush(hand.writes(run, begun=True), hand.park(run, due=None, waits=False, clear=Flag.BEGUN))
    assert (await ground.held(run))["flags"] == 0


async def test_a_blocked_run_says_why_until_it_goes_on(ground: Ground, hand: Hand, run: UUID) -> None:
    async def block(reason: str) -> tuple[str, datetime]:
        await hand.flush(
            hand.writes(run, move=move(due=None, waits=False, set=Flag.BLOCKED), blocked=reason), again=False
        )
        row = await ground.db.fetchrow("select reason, at from holdfast.blockage where run_id = $1", run)
        assert row is not None
        await hand.claim()
        return row["reason"], row["at"]

    first = await block("the code has changed")
    assert await block("the code has changed") == first
    reason, at = await block("it has changed again")
    assert (reason, at > first[1]) == ("it has changed again", True)
    await hand.flush(hand.park(run, clear=Flag.BLOCKED))
    assert await ground.value("select count(*) from holdfast.blockage") == 0


async def test_what_was_seen_leaves_the_inbox_and_keys_stay(ground: Ground, hand: Hand, run: UUID) -> None:
    for key in (None, "once", None):
        await ground.value("select holdfast.signal($1, 'upgrade', '1', $2)", run, key)
    letters = (await work.read_inboxes(ground.session, [run]))[run]
    assert [letter.number for letter in letters] == [1, 2, 3]
    await hand.flush(hand.writes(run, journal=[step(1), step(2)], seen=[1, 2]))
    assert [(row["number"], row["seen"], row["payload"]) for row in await ground.inbox(run)] == [
        (2, True, None),
        (3, False, "1"),
    ]
    assert [letter.number for letter in (await work.read_inboxes(ground.session, [run]))[run]] == [3]
    assert await ground.value("select holdfast.signal($1, 'upgrade', '1', 'once')", run) is False


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("version", [None, "2"])
async def test_an_end_makes_the_result_from_the_task(
    ground: Ground, hand: Hand, run: UUID, ending: Ending, version: str | None
) -> None:
    if version is not None:
        await ground.execute("update holdfast.task set name = name || '@' || $1", version)
    await ground.value("select holdfast.signal($1, 'upgrade', '1', 'once')", run)
    await ground.execute("update holdfast.task set flags = flags | 2")
    await ground.execute("insert into holdfast.blockage (run_id, reason, at) values ($1, 'why', holdfast.now())", run)
    first_claim_at = (await ground.held(run))["first_claim_at"]
    flushed = await hand.flush(hand.writes(run, end=End(ending, '{"a":1}', '{"b":2}')))
    assert await ground.result(run) == {
        "run_id": run,
        "at": flushed.at,
        "first_claim_at": first_claim_at,
        "status": ending,
        "output": '{"a":1}',
        "error": '{"b":2}',
        "version": version,
    }
    left = await ground.everything()
    assert (left["task"], left["inbox"], left["blockage"]) == ([], [], [])


async def test_null_outputs_and_whole_columns_of_nulls_are_kept_apart(ground: Ground, hand: Hand, run: UUID) -> None:
    (other,) = await ground.start_many(1)
    await hand.take(other)
    await hand.flush(hand.end(run, output=None), hand.end(other, output="null"))
    results = [await ground.result(one) for one in (run, other)]
    assert [result["output"] for result in results if result] == [None, "null"]


# -- said twice

Say = Callable[[Hand, UUID], Writes]
SECTIONS: dict[str, Say] = {
    "journal": lambda hand, run: hand.writes(run, journal=[step(2), step(3)]),
    "seen": lambda hand, run: hand.writes(run, journal=[step(2)], seen=[1, 2]),
    "park": lambda hand, run: hand.park(run, seen=2),
    "back-off": lambda hand, run: hand.park(run, due=None, after=HOUR, waits=False, progress=True),
    "give back": lambda hand, run: hand.park(run, due=None, waits=False),
    "begun": lambda hand, run: hand.writes(run, begun=True),
    "blocked": lambda hand, run: hand.writes(
        run, move=move(due=None, after=HOUR, waits=False, set=Flag.BLOCKED), blocked="why"
    ),
    "unblocked": lambda hand, run: hand.park(run, clear=Flag.BLOCKED),
    "end": lambda hand, run: hand.writes(run, journal=[step(2)], end=End(Ending.SUCCEEDED, "1", None)),
    "journal and park": lambda hand, run: hand.writes(run, journal=[step(2)], move=move(seen=2)),
}


@pytest.fixture
async def busy_life(ground: Ground, hand: Hand, run: UUID) -> None:
    """The run has a journal, letters, and a blockage."""
    await hand.flush(hand.writes(run, journal=[step(1)]))
    for key in (None, "once"):
        await ground.value("select holdfast.signal($1, 'upgrade', '1', $2)", run, key)
    await ground.execute("insert into holdfast.blockage (run_id, reason, at) values ($1, 'old', holdfast.now())", run)


@pytest.mark.parametrize("section", SECTIONS)
async def test_what_is_said_again_changes_nothing(
    ground: Ground, hand: Hand, run: UUID, busy_life: None, section: str
) -> None:
    writes = SECTIONS[section](hand, run)
    first = await hand.flush(writes)
    after = await ground.everything()
    second = await hand.flush(writes, again=True)
    assert await ground.everything() == after
    assert second.busy == NOBODY
    # A run whose end was committed is found gone, as one that another has taken would be.
    assert second.lost == (frozenset({run}) if section == "end" else NOBODY)
    if writes.journal and section != "end":
        # What the holder goes on with is what a replay will read.
        assert second.at == first.at


@pytest.mark.parametrize("section", SECTIONS)
async def test_what_is_said_again_although_it_never_arrived_is_written(
    ground: Ground, hand: Hand, run: UUID, busy_life: None, section: str
) -> None:
    writes = SECTIONS[section](hand, run)
    before = await ground.everything()
    flushed = await hand.flush(writes, again=True)
    assert (flushed.busy, flushed.lost) == (NOBODY, NOBODY)
    assert await ground.everything() != before
    assert all(row["at"] == flushed.at for row in (await ground.journal(run))[1:])


async def test_a_park_said_again_does_not_undo_a_wake(ground: Ground, hand: Hand, run: UUID) -> None:
    writes = hand.park(run)
    await hand.flush(writes)
    await ground.value("select holdfast.signal($1, 'upgrade')", run)
    woken = await ground.held(run)
    assert (await hand.flush(writes, again=True)).lost == NOBODY
    assert await ground.held(run) == woken
    assert await ground.is_due(run)


async def test_what_was_taken_meanwhile_is_lost_to_who_says_it_again(ground: Ground, hand: Hand, run: UUID) -> None:
    writes = hand.writes(run, journal=[step(1)], move=move(due=None, waits=False), blocked="why")
    await hand.flush(writes)
    other = await ground.worker()
    await other.take(run)
    await other.flush(other.writes(run, journal=[step(2)]))
    await ground.execute("delete from holdfast.blockage")
    before = await ground.everything()
    assert (await hand.flush(writes, again=True)).lost == {run}
    assert await ground.everything() == before


# -- others


async def test_a_journal_row_of_another_holder_is_named(ground: Ground, hand: Hand, run: UUID) -> None:
    mine = await ground.start()
    await hand.take(mine)
    await ground.execute(
        "insert into holdfast.journal (run_id, at, seq, hold, kind, key) "
        "values ($1, holdfast.now(), 1, 2, 1, 'charge#1')",
        run,
    )
    writes = [hand.writes(one, journal=[step(1)]) for one in (run, mine)]
    before = await ground.everything()
    with pytest.raises(asyncpg.UniqueViolationError):
        await hand.flush(*writes)
    with pytest.raises(asyncpg.PostgresError, match="another holder") as raised:
        await hand.flush(*writes, again=True)
    assert raised.value.sqlstate == "HF006"
    assert raised.value.as_dict()["detail"] == str(run)
    assert await ground.everything() == before


async def test_a_second_row_with_the_same_key_is_another_holders_too(ground: Ground, hand: Hand, run: UUID) -> None:
    await hand.flush(hand.writes(run, journal=[step(1, "charge#1")]))
    with pytest.raises(asyncpg.PostgresError, match="another holder"):
        await hand.flush(hand.writes(run, journal=[step(2, "charge#1")]), again=True)


@pytest.mark.parametrize("section", ["park", "begun", "blocked", "end", "journal and park"])
@pytest.mark.parametrize("why", ["another hold", "ended", "never was"])
async def test_what_is_not_this_holders_any_more_is_lost(
    ground: Ground, hand: Hand, run: UUID, section: str, why: str
) -> None:
    other = await ground.start()
    await hand.take(other)
    if why == "another hold":
        await ground.execute("update holdfast.task set hold = hold + 1 where run_id = $1", run)
    elif why == "ended":
        await hand.flush(hand.end(run))
    else:
        run = new_id()
        hand.holds[run] = 1
    before = await ground.everything()
    flushed = await hand.flush(SECTIONS[section](hand, run), hand.writes(other, begun=True))
    assert (flushed.lost, flushed.busy) == (frozenset({run}), NOBODY)
    # What others of the same flush want is written all the same.
    assert (await ground.held(other))["flags"] == Flag.BEGUN
    await ground.execute("update holdfast.task set flags = 0 where run_id = $1", other)
    assert await ground.everything() == before


@pytest.mark.parametrize("section", ["park", "begun", "blocked", "end", "journal and park"])
async def test_a_run_whose_row_is_busy_is_left_for_the_next_flush(
    ground: Ground, hand: Hand, run: UUID, section: str
) -> None:
    other = await ground.start()
    await hand.take(other)
    before = await ground.everything()
    writes = SECTIONS[section](hand, run)
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", run)
        flushed = await hand.flush(writes, hand.end(other))
        assert (flushed.lost, flushed.busy) == (NOBODY, frozenset({run}))
    assert await ground.result(other) is not None
    await ground.execute("delete from holdfast.result")
    after = await ground.everything()
    assert [row for row in before["task"] if row["run_id"] == run] == after["task"]
    assert (after["journal"], after["blockage"]) == ([], [])
    assert (await hand.flush(writes)).busy == NOBODY
    assert await ground.everything() != after


async def test_a_patient_flush_waits_for_the_row_and_sees_what_was_done_to_it(
    ground: Ground, hand: Hand, run: UUID
) -> None:
    transaction = ground.db.transaction()
    await transaction.start()
    await ground.execute("update holdfast.task set inbox_count = 1, hold = hold + 1 where run_id = $1", run)
    flush = asyncio.ensure_future(hand.flush(hand.end(run), wait=True))
    await ground.waits(hand.session)
    await transaction.commit()
    assert (await flush).lost == {run}
    assert await ground.result(run) is None


async def test_a_patient_flush_is_not_patient_for_ever(ground: Ground, hand: Hand, run: UUID) -> None:
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", run)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await hand.flush(hand.end(run), wait=True)
    await hand.flush(hand.end(run), wait=True)


async def test_flushes_with_crossing_rows_do_not_deadlock(ground: Ground) -> None:
    runs = await ground.start_many(40)
    hand = await ground.worker()
    await hand.claim(40)
    sessions = [await ground.more() for _ in range(4)]
    for _ in range(15):
        # All write all rows, each in an order of its own: with waiting, so that nobody passes over anything.
        answers = await both(
            *[
                hand.flush(
                    *[hand.writes(run, begun=True) for run in (runs[shift:] + runs[:shift])[:: 1 if shift % 2 else -1]],
                    wait=True,
                    session=session,
                )
                for shift, session in enumerate(sessions)
            ]
        )
        assert [answer.lost for answer in answers] == [NOBODY] * 4


async def test_rows_are_locked_in_the_order_of_their_ids(ground: Ground, hand: Hand, run: UUID) -> None:
    low, middle, high = sorted([run, *await ground.start_many(2)])
    await hand.claim(2)
    blocker = await ground.connect()
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("select from holdfast.task where run_id = $1 for update", middle)
    flush = asyncio.ensure_future(hand.flush(*[hand.end(one) for one in (high, middle, low)], wait=True))
    await ground.waits(hand.session)
    free = await ground.db.fetch("select run_id from holdfast.task for update skip locked")
    assert [row["run_id"] for row in free] == [high]
    await transaction.rollback()
    await flush


async def test_a_worker_can_be_patient_and_go_on_elsewhere(ground: Ground, hand: Hand, run: UUID) -> None:
    other = await ground.start()
    await hand.take(other)
    second = await ground.more()
    transaction = ground.db.transaction()
    await transaction.start()
    await ground.execute("select from holdfast.task where run_id = $1 for update", run)
    patient = asyncio.ensure_future(hand.flush(hand.end(run), wait=True, session=second))
    await ground.waits(second)
    await hand.flush(hand.end(other))
    await transaction.rollback()
    await patient
    assert await ground.value("select count(*) from holdfast.result") == 2


@pytest.mark.parametrize("state", ["22", "23", "54"])
async def test_values_that_cannot_be_stored_are_data_errors(ground: Ground, hand: Hand, run: UUID, state: str) -> None:
    writes = {
        "22": hand.writes(run, journal=[step(1, output="{not json")]),
        "23": hand.writes(run, end=End(Ending(3), "1", None)),
        "54": hand.writes(run, journal=[step(1, "k" * 20 + "".join(str(new_id()) for _ in range(300)))]),
    }[state]
    if state == "23":
        await ground.execute("insert into holdfast.result (run_id, at, status) values ($1, holdfast.now(), 1)", run)
    with pytest.raises(asyncpg.PostgresError) as raised:
        await hand.flush(writes)
    assert (raised.value.sqlstate or "")[:2] == state
    assert await ground.journal(run) == []
