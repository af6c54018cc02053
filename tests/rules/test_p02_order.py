"""Rule 2: locks in one order, busy rows passed over and waited for at the third time, held runs moved by their holder.

Shown elsewhere: rows are locked in the order of their ids, and a patient flush is not patient for ever
(``tests/store/test_flush.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from holdfast.store import work
from holdfast.store.inbox import request_cancel
from holdfast.store.operations import Verb, operate
from holdfast.store.starts import Manner, Start, start_keyed
from holdfast.worker.held import Unit
from tests.house import eventually
from tests.rules.change import replaced, rewritten, shown
from tests.rules.commit import Committing
from tests.rules.steering import refusal, waits
from tests.store.ground import Ground, new_id, step

DEADLOCK = "40P01"


@shown(
    ["done", "done"],
    the_order=(
        rewritten(
            "flush", ("               order by t.run_id\n                 for update of t) s;", "for update of t) s;")
        ),
        [DEADLOCK, "done"],
    ),
)
async def test_p02_flushes_that_write_the_same_rows_queue_up(ground: Ground, expected: object) -> None:
    low, middle, high = await ground.start_many(3)
    hand = await ground.worker()
    await hand.take(low, middle, high)
    one, two = await ground.more(), await ground.more()
    blocker = await ground.connect()
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("select from holdfast.task where run_id = $1 for update", middle)
    flushes: list[asyncio.Future[Any]] = []
    for session, order in ((one, (low, middle, high)), (two, (high, middle, low))):
        writes = [hand.writes(run, begun=True) for run in order]
        flushes.append(asyncio.ensure_future(hand.flush(*writes, wait=True, session=session)))
        assert await waits(ground, session, flushes[-1])
    await transaction.rollback()
    assert sorted([await refusal(flush) for flush in flushes]) == expected


@shown(
    ["done", "done"],
    the_order=(rewritten("start_many", ("order by s.name, s.key, s.n", "order by s.n")), [DEADLOCK, "done"]),
)
async def test_p02_starts_with_the_same_keys_queue_up(ground: Ground, expected: object) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    sessions = [await ground.more() for _ in range(3)]

    def starts(*keys: str) -> list[Start]:
        return [Start(new_id(), "{}", manner, key, None) for key in keys]

    transaction = sessions[0].connection.transaction()
    await transaction.start()
    await start_keyed(sessions[0], starts("middle"), hint=False)
    batches: list[asyncio.Future[Any]] = []
    for session, keys in zip(sessions[1:], (("low", "middle", "top"), ("top", "middle", "low")), strict=True):
        batches.append(asyncio.ensure_future(start_keyed(session, starts(*keys), hint=False)))
        assert await waits(ground, session, batches[-1])
    await transaction.rollback()
    assert sorted([await refusal(batch) for batch in batches]) == expected


@shown(
    "passed over",
    skip_locked=(rewritten("flush", ("for update of t skip locked) s;", "for update of t) s;")), "all wait"),
)
async def test_p02_a_busy_row_holds_up_no_neighbour(ground: Ground, expected: object) -> None:
    busy, free = await ground.start_many(2)
    hand = await ground.worker()
    await hand.take(busy, free)
    user = await ground.connect()
    transaction = user.transaction()
    await transaction.start()
    await user.execute("select holdfast.signal($1, 'upgrade')", busy)
    flush = asyncio.ensure_future(hand.flush(hand.end(busy), hand.end(free)))
    waiting = await waits(ground, hand.session, flush)
    ended = await ground.result(free) is not None
    await transaction.commit()
    flushed = await flush
    assert ("all wait" if waiting else "passed over") == expected
    assert (ended, flushed.busy == {busy}) == (not waiting, not waiting)


@shown(
    [False, False, False, True],
    patience=(replaced("holdfast.worker.group_commit._PATIENCE", 1_000_000), [False] * 40),
)
async def test_p02_the_third_time_it_waits(
    ground: Ground, committing: Committing, monkeypatch: pytest.MonkeyPatch, expected: list[bool]
) -> None:
    busy, free = await committing.claim(2)
    commit = committing.commit()
    patient: list[bool] = []
    real = work.flush

    async def flush(*arguments: Any, wait: bool, again: bool) -> work.Flushed:
        patient.append(wait)
        return await real(*arguments, wait=wait, again=again)

    monkeypatch.setattr(work, "flush", flush)
    user = await ground.connect()
    transaction = user.transaction()
    await transaction.start()
    await user.execute("select holdfast.signal($1, 'upgrade')", busy.run_id)
    for owner in (busy, free):
        commit.add(Unit(owner, end=committing.hand.end(owner.run_id).end))
    await eventually(lambda: len(patient) >= len(expected), "it is tried so many times")
    assert patient[: len(expected)] == expected
    assert (busy.told, free.told) == ([], ["committed"])
    await transaction.commit()
    await eventually(lambda: busy.told == ["committed"], "it is written when the row is free")


async def whoever_holds_it(db: Any, patch: pytest.MonkeyPatch) -> None:
    await rewritten("cancel_run", ("if v_task.bucket_id is null and (", "if ("))(db, patch)
    await rewritten("drop_task", ("\n       and t.bucket_id is null", ""))(db, patch)


@shown(
    ("requested", "before its end"),
    the_holder=(whoever_holds_it, ("cancelled", "after its end")),
)
async def test_p02_a_held_run_is_ended_by_its_holder_only(ground: Ground, expected: object) -> None:
    (job,) = await ground.start_many(1, name="job", kind=2)
    hand = await ground.worker()
    await hand.take(job)
    canceller = await ground.more()
    transaction = canceller.connection.transaction()
    await transaction.start()
    answer = await request_cancel(canceller, job)
    # A row of the journal alone takes no lock: it rests on nobody else ending the run.
    journal = asyncio.ensure_future(hand.flush(hand.writes(job, journal=[step(1)])))
    assert not await waits(ground, hand.session, journal)
    await transaction.commit()
    await hand.flush(hand.writes(job, journal=[step(2)]))
    await hand.flush(hand.end(job))
    result = await ground.result(job)
    assert result is not None
    late = any(row["at"] > result["at"] for row in await ground.journal(job))
    assert (answer, "after its end" if late else "before its end") == expected


@shown(
    ["done", "done"],
    locks_first=(rewritten("lock_many", ("cardinality(p_runs) > 1", "false")), [DEADLOCK, "done"]),
)
@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.TERMINATE])
async def test_p02_ends_of_many_lock_their_tasks_before_they_give_permits_back(
    ground: Ground, verb: Verb, expected: object
) -> None:
    low, middle, high = await ground.start_many(3, name="job", kind=2)
    hand = await ground.worker()
    await hand.take(low, middle, high)
    await hand.flush(hand.park(low), hand.park(middle))
    await permitted(ground, {low: "a", high: "a"})
    one = await ground.more()
    async with busy(ground, "task", middle):
        ending = asyncio.ensure_future(operate(one, verb, [low, middle, high]))
        assert await waits(ground, one, ending)
        flush = asyncio.ensure_future(hand.flush(hand.end(high), wait=True))
        await waits(ground, hand.session, flush)
    assert sorted([await refusal(ending), await refusal(flush)]) == expected


@shown(
    ["done", "done"],
    the_order=(rewritten("lock_many", ("t.flags & 2048 <> 0", "false")), [DEADLOCK, "done"]),
)
async def test_p02_ends_of_many_lock_the_keys_of_their_permits_in_order(ground: Ground, expected: object) -> None:
    low, high, *held = await ground.start_many(4)
    hand = await ground.worker()
    await hand.take(low, high, *held)
    await hand.flush(hand.park(low), hand.park(high))
    await permitted(ground, {low: "b", high: "a", held[0]: "a", held[1]: "b"})
    one = await ground.more()
    async with busy(ground, "permit", high):
        ending = asyncio.ensure_future(operate(one, Verb.TERMINATE, [low, high]))
        assert await waits(ground, one, ending)
        flush = asyncio.ensure_future(hand.flush(*[hand.end(run) for run in held]))
        assert await waits(ground, hand.session, flush)
    assert sorted([await refusal(ending), await refusal(flush)]) == expected


async def permitted(ground: Ground, keys: Mapping[UUID, str]) -> None:
    """These runs have permits of these keys."""
    for key in set(keys.values()):
        await ground.execute("insert into holdfast.limit_key values ('flow', $1, 0, null, 9, now())", key)
    for run, key in keys.items():
        await ground.execute("insert into holdfast.permit values ($1, 'flow', $2, true)", run, key)
        await ground.execute("update holdfast.limit_key set taken = taken + 1 where key = $1", key)
        await ground.execute("update holdfast.task set flags = flags | 2048 where run_id = $1", run)


@asynccontextmanager
async def busy(ground: Ground, table: str, run: UUID) -> AsyncGenerator[None]:
    """Somebody has locked this run's row."""
    somebody = await ground.connect()
    transaction = somebody.transaction()
    await transaction.start()
    await somebody.execute(f"select from holdfast.{table} where run_id = $1 for update", run)
    yield
    await transaction.rollback()
