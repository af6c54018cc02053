"""Claims: who gets what, in which order, and what is passed over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast.store import work
from tests.store.ground import LONG_AGO, Ground, both, new_id

MINUTE = timedelta(minutes=1)


async def test_what_was_due_first_is_taken_first_and_equals_by_id(ground: Ground) -> None:
    runs = sorted(await ground.start_many(6))
    due = "update holdfast.task set due_at = holdfast.now() - $2::interval where run_id = any ($1::uuid[])"
    await ground.execute(due, [runs[5], runs[0]], timedelta(minutes=3))
    await ground.execute(due, [runs[1], runs[3], runs[2]], timedelta(minutes=2))
    await ground.execute(due, [runs[4]], timedelta(minutes=1))
    hand = await ground.worker()
    assert [run.run_id for run in (await hand.claim(3)).runs] == [runs[0], runs[5], runs[1]]
    assert [run.run_id for run in (await hand.claim(10)).runs] == [runs[2], runs[3], runs[4]]


async def test_a_claim_brings_what_is_needed_to_begin(ground: Ground) -> None:
    (run,) = await ground.start_many(1, name="job", kind=2, priority=4, input='{"a": "\\u0000"}')
    hand = await ground.worker(priorities=(5, 4))
    claim = await hand.claim()
    (claimed,) = claim.runs
    task = await ground.held(run)
    assert claimed == work.Claimed(
        run_id=run,
        bucket=hand.identity.buckets[1],
        due_at=task["due_at"],
        hold=1,
        kind=2,
        name="job",
        lane="default",
        priority=4,
        input='{"a": "\\u0000"}',
        inbox_count=0,
        crashes=0,
        flags=0,
        first_claim_at=claim.at,
        deadline=None,
        tags=None,
        options=None,
        parent=None,
        root=None,
        created_at=claimed.created_at,
        task_name="job",
    )
    assert task["bucket_id"] == claimed.bucket
    assert not task["waits_inbox"]


async def test_each_claim_counts_a_hold_and_the_time_of_the_first_is_kept(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    first = await hand.claim()
    await hand.flush(hand.park(run, due=None, waits=False))
    second = await hand.claim()
    assert [claim.runs[0].hold for claim in (first, second)] == [1, 2]
    assert second.at > first.at
    assert second.runs[0].first_claim_at == first.runs[0].first_claim_at == first.at
    await hand.flush(hand.end(run))
    result = await ground.result(run)
    assert result is not None
    assert result["first_claim_at"] == first.at


@pytest.mark.parametrize("change", ["lane = 'other'", "priority = 2", "due_at = holdfast.now() + interval '1 minute'"])
async def test_lanes_priorities_and_times_are_kept_apart(ground: Ground, change: str) -> None:
    run = await ground.start()
    await ground.execute(f"update holdfast.task set {change}")
    hand = await ground.worker()
    assert (await hand.claim()).runs == []
    await ground.execute("update holdfast.task set lane = 'default', priority = 3, due_at = holdfast.now()")
    await hand.take(run)


async def test_a_worker_takes_only_what_it_knows(ground: Ground) -> None:
    strange, known = await ground.start("strange"), await ground.start("flow")
    hand = await ground.worker()
    await hand.take(known)
    assert (await hand.claim()).runs == []
    assert [run.run_id for run in (await hand.claim(names=["strange"])).runs] == [strange]


async def test_a_held_run_is_nobody_elses(ground: Ground) -> None:
    run = await ground.start()
    one, two = await ground.worker(), await ground.worker()
    await one.take(run)
    assert (await two.claim()).runs == []


async def test_the_watermark_hides_what_lies_below_until_a_sweep(ground: Ground) -> None:
    late, run = await ground.start_many(2)
    await ground.execute("update holdfast.task set due_at = holdfast.now() - interval '1 hour' where run_id = $1", late)
    hand = await ground.worker()
    mark = (await ground.held(run))["due_at"]
    assert [one.run_id for one in (await hand.claim(sweep=False, lower=mark)).runs] == [run]
    assert (await hand.claim(sweep=False, lower=mark)).runs == []
    assert [one.run_id for one in (await hand.claim(sweep=True, lower=mark)).runs] == [late]


async def test_a_sweep_begins_at_the_floor(ground: Ground) -> None:
    low, high = await ground.start_many(2)
    await ground.execute("update holdfast.task set due_at = holdfast.now() - interval '1 hour' where run_id = $1", low)
    await ground.execute(
        "insert into holdfast.lane_floor (lane, priority, floor, at) "
        "values ('default', 3, holdfast.now() - interval '30 minutes', holdfast.now())"
    )
    hand = await ground.worker()
    assert [one.run_id for one in (await hand.claim(sweep=True)).runs] == [high]
    assert [one.run_id for one in (await hand.claim(sweep=False, lower=LONG_AGO)).runs] == [low]


async def test_a_bucket_without_room_gets_nothing(ground: Ground) -> None:
    await ground.start_many(3, priority=5)
    await ground.start_many(3, priority=1)
    hand = await ground.worker(priorities=(5, 1))
    claim = await hand.claim(0, 2)
    assert [run.priority for run in claim.runs] == [1, 1]
    assert set(claim.next_due) == set(hand.identity.buckets)


async def test_buckets_of_one_line_are_filled_one_after_the_other(ground: Ground) -> None:
    runs = await ground.start_many(10)
    hand = await ground.worker(priorities=(3, 3, 3))
    claim = await hand.claim(4, 3, 2)
    counts = [sum(run.bucket == bucket for run in claim.runs) for bucket in hand.identity.buckets]
    assert counts == [4, 3, 2]
    assert [run.run_id for run in claim.runs] == runs[:9]
    assert [run.run_id for run in (await hand.claim(4, 3, 2)).runs] == runs[9:]


async def test_a_claim_says_when_more_is_due_but_does_not_look_far(ground: Ground) -> None:
    soon = await ground.start(after=timedelta(seconds=1.5))
    await ground.start("strange", after=timedelta(seconds=0.5))
    await ground.start(priority=2, after=MINUTE)
    hand = await ground.worker(priorities=(3, 2))
    claim = await hand.claim()
    assert list(claim.next_due.values()) == [(await ground.held(soon))["due_at"], None]


async def test_rows_that_somebody_is_at_are_passed_over(ground: Ground) -> None:
    busy, free = await ground.start_many(2)
    hand = await ground.worker()
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", busy)
        await hand.take(free)
    await hand.take(busy)


async def test_claims_at_the_same_time_share_out_what_there_is(ground: Ground) -> None:
    runs = await ground.start_many(60)
    hands = [await ground.worker(priorities=(3, 3)) for _ in range(4)]
    taken: list[work.Claimed] = []
    while True:
        claims = await both(*[hand.claim(3, 4) for hand in hands])
        brought = [run for claim in claims for run in claim.runs]
        taken += brought
        if not brought:
            break
    assert sorted(run.run_id for run in taken) == sorted(runs)


async def test_a_registration_makes_blocked_runs_of_its_names_due(ground: Ground) -> None:
    mine, others, paused, busy = [await ground.start(name) for name in ("new", "old", "new", "new")]
    await ground.execute("update holdfast.task set flags = 2, due_at = 'infinity'")
    await ground.execute("update holdfast.task set flags = 3 where run_id = $1", paused)
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task where run_id = $1 for update", busy)
        # Nobody waits for a row that another is at: it is tried again at its own time.
        await ground.worker(names=["new"])
    assert [await ground.is_due(run) for run in (mine, others, paused, busy)] == [True, False, False, False]


async def test_a_registration_may_bring_no_buckets(ground: Ground) -> None:
    hand = await ground.worker(priorities=())
    assert hand.identity.buckets == ()


async def test_ids_made_by_the_database_are_in_the_order_of_time(ground: Ground) -> None:
    first, second = [await ground.value("select holdfast.uuid7()") for _ in range(2)]
    assert first.version == second.version == 7
    assert first.variant == new_id().variant
    now = await ground.value("select extract(epoch from clock_timestamp()) * 1000")
    assert abs((first.int >> 80) - float(now)) < 60_000
    assert first.int >> 80 <= second.int >> 80
