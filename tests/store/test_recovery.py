"""Leaving and recovery: every run finds its way back into the line, once, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.states import Flag
from holdfast.store import work
from holdfast.store.writes import Move
from tests.store.ground import LEASE, Ground, both, step

HOUR = timedelta(hours=1)


async def recover_all(ground: Ground, **options: Any) -> int:
    """Recovers until nothing is left."""
    count = 0
    while (found := await work.recover(ground.session, **options)) is not None:
        assert found.runs or found.finished, f"recovery of {found.name} stands still"
        count += found.runs
    return count


# -- leaving


async def test_who_leaves_gives_everything_back_at_once(ground: Ground) -> None:
    due, later, ended = await ground.start_many(3)
    hand = await ground.worker()
    await hand.take(due, later, ended)
    await hand.flush(hand.end(ended), hand.writes(due, begun=True))
    await ground.execute("update holdfast.task set due_at = due_at + interval '1 hour' where run_id = $1", later)
    times = {run: (await ground.held(run))["due_at"] for run in (due, later)}
    assert await work.leave(hand.session, hand.identity) == 2
    tasks = {run: await ground.held(run) for run in (due, later)}
    assert [task["bucket_id"] for task in tasks.values()] == [None, None]
    assert [task["flags"] for task in tasks.values()] == [Flag.ENTERED, Flag.ENTERED]
    assert [task["crashes"] for task in tasks.values()] == [0, 0]
    assert tasks[later]["due_at"] == times[later]
    assert tasks[due]["due_at"] > times[due]
    assert await ground.is_due(due)
    assert await ground.value("select count(*) from holdfast.bucket") == 0
    row = await ground.db.fetchrow("select state, epoch, lease_until <= clock_timestamp() as over from holdfast.worker")
    assert row is not None
    assert tuple(row) == ("left", 2, True)
    assert await work.recover(ground.session) is None


async def test_who_has_left_writes_nothing_more(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await work.leave(hand.session, hand.identity)
    with pytest.raises(asyncpg.PostgresError, match="lost its lease"):
        await hand.flush(hand.end(run))
    with pytest.raises(asyncpg.PostgresError, match="lost its lease"):
        await work.leave(hand.session, hand.identity)
    assert not (await work.heartbeat(hand.session, hand.identity)).alive


async def test_leaving_waits_for_a_flush_that_is_under_way(ground: Ground) -> None:
    run, other = await ground.start_many(2)
    hand = await ground.worker()
    await hand.take(run, other)
    second = await ground.more()
    transaction = second.connection.transaction()
    await transaction.start()
    await hand.flush(hand.writes(run, journal=[step(1)]), session=second)
    leave = asyncio.ensure_future(work.leave(hand.session, hand.identity))
    await ground.waits(hand.session)
    # Nobody gets the run, and reads its journal, before that row is there.
    assert not await ground.is_due(run)
    await transaction.commit()
    assert await leave == 2


async def test_a_row_that_somebody_is_at_is_left_to_recovery(ground: Ground) -> None:
    busy, free = await ground.start_many(2)
    hand = await ground.worker()
    await hand.take(busy, free)
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", busy)
        assert await work.leave(hand.session, hand.identity) == 1
    assert [await ground.is_due(run) for run in (busy, free)] == [False, True]
    assert await recover_all(ground) == 1
    assert await ground.is_due(busy)
    assert await ground.value("select count(*) from holdfast.bucket") == 0


# -- recovery


async def test_nothing_is_taken_from_a_worker_that_lives(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    assert await work.recover(ground.session) is None
    assert await work.recover(ground.session, only=hand.identity.worker) is None
    await hand.flush(hand.end(run))


async def test_the_runs_of_a_dead_worker_are_in_line_again(ground: Ground) -> None:
    runs = await ground.start_many(7)
    hand = await ground.worker("payroll")
    await hand.take(*runs)
    await ground.lease_over(hand)
    steps = [await work.recover(ground.session, limit=3) for _ in range(4)]
    number = hand.identity.worker
    assert steps == [
        work.Recovered(number, "payroll", 3, finished=False),
        work.Recovered(number, "payroll", 3, finished=False),
        work.Recovered(number, "payroll", 1, finished=True),
        None,
    ]
    assert all([await ground.is_due(run) for run in runs])
    rows = await ground.db.fetch("select w.epoch, f.epoch, w.state from holdfast.worker w, holdfast.fence f")
    assert [tuple(row) for row in rows] == [(2, 2, "lost")]
    with pytest.raises(asyncpg.PostgresError, match="lost its lease"):
        await hand.flush(hand.end(runs[0]))
    peer = await ground.worker()
    await peer.take(*runs)
    assert {run.hold for run in (await peer.claim(0)).runs} == set()
    assert {peer.holds[run] for run in runs} == {2}


async def test_recovery_of_one_leaves_the_others(ground: Ground) -> None:
    hands = [await ground.worker(str(number)) for number in range(3)]
    for hand in hands:
        await hand.take(await ground.start())
        await ground.lease_over(hand)
    only = hands[1].identity.worker
    assert await recover_all(ground, only=only) == 1
    assert await ground.value("select array_agg(id) from holdfast.worker where state = 'lost'") == [only]
    assert await recover_all(ground) == 2


@pytest.mark.parametrize(
    ("crashes", "flags", "journaled", "ahead", "after"),
    [
        pytest.param(0, 0, False, False, 1, id="the first crash counts for what was due"),
        pytest.param(0, 0, False, True, 0, id="what was not due was not begun"),
        pytest.param(1, 0, False, False, 1, id="a further one does not count for what was only buffered"),
        pytest.param(1, Flag.BEGUN, False, False, 2, id="a further one counts for what was begun"),
        pytest.param(4, Flag.BEGUN, False, False, 5, id="each of them"),
        pytest.param(4, Flag.BEGUN, True, False, 1, id="progress begins the count anew"),
        pytest.param(0, 0, True, False, 1, id="a first crash after progress is a first crash"),
        pytest.param(3, Flag.BEGUN, False, True, 3, id="what is not due any more was not executed"),
    ],
)
async def test_crashes_are_counted(
    ground: Ground, *, crashes: int, flags: int, journaled: bool, ahead: bool, after: int
) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await ground.execute("update holdfast.task set crashes = $1, flags = $2", crashes, flags | Flag.CANCEL)
    if journaled:
        await hand.flush(hand.writes(run, journal=[step(1)]))
    if ahead:
        await ground.execute("update holdfast.task set due_at = holdfast.now() + interval '1 hour'")
    due_at = (await ground.held(run))["due_at"]
    await ground.lease_over(hand)
    assert await recover_all(ground) == 1
    task = await ground.held(run)
    assert task["crashes"] == after
    assert task["flags"] & ~Flag.ENTERED == Flag.CANCEL
    assert task["due_at"] == due_at if ahead else task["due_at"] > due_at
    assert task["lane"] == ("default alone" if after >= 2 else "default")


async def test_progress_under_an_earlier_hold_does_not_count(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await hand.flush(hand.writes(run, journal=[step(1)], move=Move(None, None, 0, False, 0, 0, False)))
    await hand.take(run)
    await ground.execute("update holdfast.task set crashes = 1, flags = $1", Flag.BEGUN)
    await ground.lease_over(hand)
    await recover_all(ground)
    assert (await ground.held(run))["crashes"] == 2


async def test_a_suspect_keeps_one_line_of_its_own(ground: Ground) -> None:
    run = await ground.start()
    await ground.execute("update holdfast.task set crashes = 2, lane = 'default alone'")
    hand = await ground.worker(lane="default alone")
    await hand.take(run)
    await hand.flush(hand.writes(run, begun=True))
    await ground.lease_over(hand)
    await recover_all(ground)
    task = await ground.held(run)
    assert (task["crashes"], task["lane"]) == (3, "default alone")
    assert await work.suspects_due(ground.session, lane="default", names=["flow"])
    assert not await work.suspects_due(ground.session, lane="default", names=["job"])


# -- nobody waits


async def test_a_row_that_somebody_is_at_is_taken_when_it_is_free(ground: Ground) -> None:
    busy, free = await ground.start_many(2)
    hand = await ground.worker()
    await hand.take(busy, free)
    await ground.lease_over(hand)
    recovering = await ground.more()
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", busy)
        first, second = [await work.recover(recovering) for _ in range(2)]
        assert first is not None
        assert second is not None
        assert [(step.runs, step.finished) for step in (first, second)] == [(1, False), (0, False)]
    assert await recover_all(ground) == 1


async def test_a_worker_that_somebody_holds_on_to_does_not_stand_before_the_others(ground: Ground) -> None:
    hands = [await ground.worker(str(number)) for number in range(4)]
    runs: list[UUID] = []
    for hand in hands:
        runs.append(await ground.start())
        await hand.take(runs[-1])
    for number, hand in enumerate(hands):
        await ground.lease_over(hand, since=timedelta(seconds=20 - number))
    recovering = await ground.more()
    async with ground.db.transaction():
        # Each in its way: a row of a run, the row of the worker, the row of the fence.
        await ground.execute("select from holdfast.task where run_id = $1 for update", runs[0])
        await ground.execute("select from holdfast.worker where id = $1 for update", hands[1].identity.worker)
        await ground.execute("select from holdfast.fence where worker_id = $1 for share", hands[2].identity.worker)
        found = await work.recover(recovering)
        assert found is not None
        assert (found.name, found.runs, found.finished) == ("3", 1, True)
        found = await work.recover(recovering)
        assert found is not None
        assert (found.runs, found.finished) == (0, False)
    assert await recover_all(ground) == 3


async def test_a_flush_under_way_is_not_waited_for(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.flush(hand.end(run))
    await ground.lease_over(hand)
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (0, False)
    await transaction.commit()
    # It passed the fence while its lease was alive: so it counts.
    assert await ground.result(run) is not None
    assert await recover_all(ground) == 0
    assert await ground.value("select state from holdfast.worker") == "lost"


async def test_who_holds_on_for_a_whole_lease_is_terminated(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await hand.session.connection.execute("begin")
    await hand.flush(hand.writes(run, journal=[step(1)]))
    pid = hand.session.connection.get_server_pid()
    waiting, bystander = await ground.more(), await ground.more()
    # The same number under a class of somebody else's, and the same two numbers as one lock: not ours to end.
    await bystander.connection.execute("select pg_advisory_lock_shared(1, $1)", hand.identity.worker)
    await bystander.connection.execute(
        ground.sql(
            "select pg_advisory_lock_shared((holdfast.fence_class()::bigint & 4294967295) << 32 | $1::int::bigint)"
        ),
        hand.identity.worker,
    )
    late = asyncio.ensure_future(
        waiting.connection.execute(
            ground.sql("select pg_advisory_xact_lock(holdfast.fence_class(), $1)"), hand.identity.worker
        )
    )
    await ground.waits(waiting)
    await ground.lease_over(hand, since=LEASE * 0.9)
    found = await work.recover(ground.session)
    assert found is not None
    assert not hand.session.connection.is_closed()
    assert await hand.session.connection.fetchval("select 1") == 1

    await ground.lease_over(hand, since=LEASE)
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (0, False)
    await late
    await ground.until("select not exists (select from pg_stat_activity where pid = $1)", pid)
    assert await bystander.connection.fetchval("select 1") == 1
    assert await recover_all(ground) == 1
    assert await ground.journal(run) == []


async def test_who_recovers_is_never_terminated_by_another(ground: Ground) -> None:
    hand = await ground.worker()
    await hand.take(await ground.start())
    await ground.lease_over(hand, since=HOUR)
    first = await ground.more()
    transaction = first.connection.transaction()
    await transaction.start()
    assert (await work.recover(first)) is not None
    # To everybody else this worker has been dead for an hour, and somebody holds on to its lock.
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (0, False)
    await transaction.commit()
    assert await work.recover(ground.session) is None


async def test_recovery_goes_on_where_it_may_not_terminate(ground: Ground) -> None:
    stuck, dead = await ground.worker("stuck"), await ground.worker("dead")
    for hand in (stuck, dead):
        await hand.take(await ground.start())
    await stuck.session.connection.execute("begin")
    await stuck.flush()
    await ground.lease_over(stuck, since=HOUR)
    await ground.lease_over(dead)
    role = f"recoverer_{ground.db.get_server_pid()}"
    await ground.execute(f"create role {role}")
    try:
        await ground.execute(f"grant usage on schema holdfast to {role}")
        await ground.execute(f"grant select, update, delete, insert on all tables in schema holdfast to {role}")
        await ground.execute(f"set role {role}")
        found = await work.recover(ground.session)
        assert found is not None
        assert (found.name, found.runs, found.finished) == ("dead", 1, True)
        await ground.execute("reset role")
        assert await stuck.session.connection.fetchval("select 1") == 1
    finally:
        await ground.execute("reset role")
        await ground.execute(f"drop owned by {role}")
        await ground.execute(f"drop role {role}")


async def test_recoverers_at_the_same_time_take_each_run_once(ground: Ground) -> None:
    runs = await ground.start_many(40)
    hands = [await ground.worker() for _ in range(4)]
    for hand in hands:
        await hand.claim(10)
        await ground.lease_over(hand)
    sessions = [await ground.more() for _ in range(4)]
    recovered = 0
    while await ground.value("select count(*) from holdfast.bucket"):
        steps = await both(*[work.recover(session, limit=4) for session in sessions])
        recovered += sum(step.runs for step in steps if step is not None)
    assert recovered == len(runs)
    assert await ground.value("select array_agg(distinct epoch) from holdfast.worker") == [2]
    assert await ground.value("select array_agg(distinct epoch) from holdfast.fence") == [2]
    assert await ground.value("select array_agg(distinct crashes) from holdfast.task") == [1]


async def test_a_lease_that_is_renewed_meanwhile_is_not_over(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await ground.lease_over(hand)
    # Somebody has looked, and found it over; by the time the row is locked, it is not.
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.session.connection.execute(
        "update holdfast.worker set lease_until = clock_timestamp() + interval '1 hour'"
    )
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (0, False)
    await transaction.commit()
    assert await work.recover(ground.session) is None
    await hand.flush(hand.end(run))
