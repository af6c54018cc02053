"""J7: a job is cancelled and rescheduled while it waits, while it stands in line in memory, and while it runs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast import (
    App,
    Effect,
    InvalidInput,
    OperationRefused,
    Retry,
    RunCancelled,
    RunHandle,
    RunNotFound,
    RunStatus,
    activity_info,
    complete_later,
)
from holdfast.app.hosted import WorkerOptions
from tests.house import House, eventually
from tests.scenarios.soon import SOON

pytestmark = pytest.mark.usefixtures("long_lines")

HOUR = timedelta(hours=1)
ONE_AT_A_TIME: WorkerOptions = {"parallelism_factor": 0.1}


class Story:
    """Jobs that note their beginnings; the first one lasts until it is released."""

    def __init__(self, app: App) -> None:
        self.begun: list[int] = []
        self.told: list[int] = []
        self.release = asyncio.Event()

        @app.activity(retry=Retry(max_attempts=3, initial=timedelta(hours=5), maximum=timedelta(hours=5)))
        async def job(n: int, *, fails: int = 0) -> str:
            self.begun.append(n)
            try:
                if n == 0:
                    await self.release.wait()
            except asyncio.CancelledError:
                self.told.append(n)
                raise
            if activity_info().attempt <= fails:
                raise LookupError(f"attempt {activity_info().attempt}")
            return f"{n} by attempt {activity_info().attempt}"

        self.job = job


async def in_line(house: House, app: App, story: Story, **options: Any) -> tuple[RunHandle[str], RunHandle[str]]:
    """A job that runs, and one that its worker holds behind it: in memory, not begun."""
    client = await house.client(app)
    first, second = await client.start_many([story.job.call(0), story.job.call(1)])
    await house.worker(app, **ONE_AT_A_TIME, **options)
    await house.held(first.id, second.id)
    await eventually(lambda: story.begun == [0], "the first one runs")
    return first, second


async def due_in(house: House, run: RunHandle[Any]) -> timedelta:
    span: timedelta = await house.value("select due_at - holdfast.now() from holdfast.task where run_id = $1", run.id)
    return span


def about(span: timedelta, expected: timedelta) -> bool:
    return abs(span - expected) < timedelta(minutes=1)


# ---- cancelled


async def test_j7_a_waiting_job_that_is_cancelled_has_ended(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app)
    later = await client.start(story.job, 1, after=HOUR)
    failing = await client.start(story.job.call(2, fails=1))
    await house.until("select count(*) = 1 from holdfast.journal")
    await house.parked(failing.id)
    for run in (later, failing):
        assert await run.cancel() == "cancelled"
        with pytest.raises(RunCancelled):
            await run.result(timeout=SOON)
        assert await run.cancel() == "ended"
    await house.advance(6 * HOUR)
    assert await (await client.start(story.job, 3)).result(timeout=SOON) == "3 by attempt 1"
    assert story.begun == [2, 3]
    await house.check_invariants()


async def test_j7_a_buffered_job_that_is_cancelled_does_not_begin(house: House) -> None:
    app = house.app()
    story = Story(app)
    first, second = await in_line(house, app, story)
    assert await second.cancel() == "requested"
    # While the slot is taken.
    with pytest.raises(RunCancelled):
        await second.result(timeout=SOON)
    story.release.set()
    assert await first.result(timeout=SOON) == "0 by attempt 1"
    assert story.begun == [0]
    await house.check_invariants()


async def test_j7_a_running_job_that_is_cancelled_is_told(house: House) -> None:
    app = house.app()
    story = Story(app)
    first, second = await in_line(house, app, story)
    assert await first.cancel() == "requested"
    with pytest.raises(RunCancelled):
        await first.result(timeout=SOON)
    assert story.told == [0]
    assert await second.result(timeout=SOON) == "1 by attempt 1"
    await house.check_invariants()


# ---- rescheduled


async def test_j7_a_waiting_job_is_moved_at_once(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app)
    later = await client.start(story.job, 1, after=HOUR)
    assert await later.reschedule(after=3 * HOUR) is Effect.DONE
    assert about(await due_in(house, later), 3 * HOUR)
    now = await house.value("select holdfast.now()")
    assert await later.reschedule(at=now + 2 * HOUR) is Effect.DONE
    assert await due_in(house, later) <= 2 * HOUR
    await house.advance(HOUR + timedelta(minutes=30))
    assert await later.status() is RunStatus.SCHEDULED
    await house.advance(timedelta(minutes=30))
    assert await later.result(timeout=SOON) == "1 by attempt 1"
    # What has passed is now; and the worker learns of it.
    soon = await client.start(story.job, 2, after=24 * HOUR)
    assert await soon.reschedule(at=datetime.fromisoformat("2001-01-01T00:00Z")) is Effect.DONE
    assert await soon.result(timeout=SOON) == "2 by attempt 1"
    assert await soon.reschedule(after=HOUR) is Effect.ENDED
    await house.check_invariants()


async def test_j7_a_waiting_job_changes_its_lane_and_its_priority(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app, lane="other", buckets=dict.fromkeys(("very-low", "low", "medium", "critical"), 0))
    # So far below the watermark of the other lane that no claim would look there.
    run = await client.start(story.job, 1)
    for n in range(3):
        await (await client.start(story.job, 10 + n, lane="other", priority="high")).result(timeout=SOON)
    assert await run.status() is RunStatus.READY
    assert await run.reschedule(lane="other") is Effect.DONE
    assert "serves priority medium" in str(await run.why())
    assert await run.reschedule(priority="high") is Effect.DONE
    assert await run.result(timeout=SOON) == "1 by attempt 1"
    moved = await client.start(story.job, 2)
    assert await moved.reschedule(lane="third", priority="low", after=HOUR) is Effect.DONE
    described = await moved.describe()
    assert (described.lane, described.priority, described.status) == ("third", "low", RunStatus.SCHEDULED)
    assert [one.id for one in await client.list(lane="third")] == [moved.id]
    assert [one.id for one in await client.list(lane="third", status="scheduled")] == [moved.id]
    assert moved.id not in [one.id for one in await client.list(lane="default")]
    await house.check_invariants()


async def test_j7_a_job_that_waits_for_its_next_attempt_makes_it_when_it_is_told_to(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(story.job.call(1, fails=1))
    await house.until("select count(*) = 1 from holdfast.journal")
    await house.parked(run.id)
    assert about(await due_in(house, run), 5 * HOUR) or await due_in(house, run) > 4 * HOUR
    assert await run.reschedule(after=timedelta(0)) is Effect.DONE
    assert await run.result(timeout=SOON) == "1 by attempt 2"
    await house.check_invariants()


async def test_j7_a_buffered_job_is_given_back_and_stands_where_it_was_sent(house: House) -> None:
    app = house.app()
    story = Story(app)
    first, second = await in_line(house, app, story)
    assert await second.reschedule(after=HOUR, lane="other", priority="high") is Effect.REQUESTED
    # While the slot is taken.
    await house.until("select bucket_id is null from holdfast.task where run_id = $1", second.id)
    assert about(await due_in(house, second), HOUR)
    assert await house.value("select lane || priority from holdfast.task where run_id = $1", second.id) == "other4"
    story.release.set()
    assert await first.result(timeout=SOON) == "0 by attempt 1"
    assert story.begun == [0]
    await house.worker(app, lane="other")
    await house.advance(HOUR)
    assert await second.result(timeout=SOON) == "1 by attempt 1"
    assert await house.value("select count(*) from holdfast.reschedule") == 0
    await house.check_invariants()


async def test_j7_a_running_job_is_let_run_and_its_next_attempt_is_where_it_was_sent(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(story.job.call(0, fails=1))
    await eventually(lambda: story.begun, "it runs")
    assert await run.reschedule(after=HOUR) is Effect.REQUESTED
    assert await run.reschedule(lane="other") is Effect.REQUESTED
    assert "it was rescheduled, which its worker obeys when it gives it back" in str(await run.why())
    story.release.set()
    await house.parked(run.id)
    # Not in five hours, as its policy would have it.
    assert about(await due_in(house, run), HOUR)
    await house.worker(app, lane="other")
    assert story.begun == [0]
    await house.advance(HOUR)
    assert await run.result(timeout=SOON) == "0 by attempt 2"
    await house.check_invariants()


async def test_j7_a_running_job_that_succeeds_has_ended_whatever_was_asked(house: House) -> None:
    app = house.app()
    story = Story(app)
    first, _ = await in_line(house, app, story)
    assert await first.reschedule(after=HOUR) is Effect.REQUESTED
    story.release.set()
    assert await first.result(timeout=SOON) == "0 by attempt 1"
    assert await house.value("select count(*) from holdfast.reschedule") == 0
    await house.check_invariants()


async def test_j7_what_was_acknowledged_holds_where_the_worker_dies(house: House) -> None:
    app = house.app()
    client = await house.client(app)
    process = await house.process("tests.apps.moved")
    run = await client.start_by_name("grind", job=True)
    await house.held(run.id)
    assert await run.reschedule(after=HOUR, lane="other", priority="low") is Effect.REQUESTED
    name = await process.name()
    await process.kill()
    await house.expire_lease(name)
    Story(app)
    await house.worker(app)
    await house.until("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    row = await house.db.fetchrow(
        "select lane, priority, due_at - holdfast.now() as left from holdfast.task where run_id = $1", run.id
    )
    assert row is not None
    assert (row["lane"], row["priority"], about(row["left"], HOUR)) == ("other", 2, True)
    await house.check_invariants()


async def test_j7_a_paused_job_is_due_then_when_it_is_resumed(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(story.job, 1, after=HOUR)
    await run.pause()
    assert await run.reschedule(after=2 * HOUR, priority="high") is Effect.DONE
    assert await run.status() is RunStatus.PAUSED
    await house.advance(3 * HOUR)
    assert await run.status() is RunStatus.PAUSED
    await run.resume()
    assert await run.result(timeout=SOON) == "1 by attempt 1"
    other = await client.start(story.job, 2, after=HOUR)
    await other.pause()
    await other.reschedule(after=2 * HOUR)
    await other.resume()
    assert about(await due_in(house, other), 2 * HOUR)
    await house.check_invariants()


async def test_j7_in_a_transaction_that_rolls_back_nothing_is_moved(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    run = await client.start(story.job, 1, after=HOUR)
    transaction = house.db.transaction()
    await transaction.start()
    assert await run.reschedule(after=5 * HOUR, lane="other", connection=house.db) is Effect.DONE
    await transaction.rollback()
    assert about(await due_in(house, run), HOUR)
    async with house.db.transaction():
        await run.reschedule(after=5 * HOUR, connection=house.db)
    assert about(await due_in(house, run), 5 * HOUR)


async def test_j7_jobs_that_are_moved_to_and_fro_while_workers_take_them_are_executed_once_each(house: House) -> None:
    app = house.app()
    executed: Counter[int] = Counter()

    @app.activity(retry=Retry(max_attempts=3, initial=timedelta(milliseconds=20)))
    async def job(n: int) -> int:
        if n % 5 == 0 and activity_info().attempt == 1:
            raise LookupError("once")
        executed[n] += 1
        return n

    client = await house.client(app)
    for lane in ("default", "default", "other"):
        await house.worker(app, lane=lane, parallelism_factor=0.2)
    runs = await client.start_many([job.call(n) for n in range(150)])
    chance = random.Random(7)
    effects: Counter[Effect] = Counter()

    async def move(some: list[RunHandle[int]]) -> None:
        for _ in range(3):
            for run in some:
                wish: dict[str, Any] = {"after": timedelta(milliseconds=chance.randrange(100))}
                if chance.random() < 0.5:
                    wish["lane"] = chance.choice(["default", "other"])
                if chance.random() < 0.5:
                    wish["priority"] = chance.choice(["low", "medium", "critical"])
                effects[await run.reschedule(**wish)] += 1

    await asyncio.gather(*(move(runs[n::4]) for n in range(4)))
    assert [await run.result(timeout=SOON) for run in runs] == list(range(150))
    assert set(executed.values()) == {1}
    assert effects[Effect.DONE]
    assert await house.value("select count(*) from holdfast.reschedule") == 0
    await house.check_invariants()


# ---- what has times of its own


async def test_a_workflow_is_moved_before_it_begins_and_has_its_own_times_after_that(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        await asyncio.sleep(7200)
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow, after=24 * HOUR)
    assert await run.reschedule(after=timedelta(0)) is Effect.DONE
    await house.parked(run.id)
    times: list[dict[str, Any]] = [{"at": await house.value("select holdfast.now()")}, {"after": HOUR}]
    for time in times:
        with pytest.raises(OperationRefused, match="has begun, and when it goes on is for its code to say"):
            await run.reschedule(**time)
    assert await run.reschedule(lane="other", priority="critical") is Effect.DONE
    assert about(await due_in(house, run), 2 * HOUR)
    await house.worker(app, lane="other")
    await house.advance(2 * HOUR)
    assert await run.result(timeout=SOON) == "done"
    await house.check_invariants()


async def test_who_says_when_a_job_goes_on_that_is_completed_from_outside_is_outside(house: House) -> None:
    app = house.app()
    tokens: list[str] = []

    @app.activity
    async def ask() -> str:
        tokens.append(activity_info().token)
        complete_later()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(ask)
    await eventually(lambda: tokens, "it has been handed over")
    await house.parked(run.id)
    with pytest.raises(OperationRefused, match="waits for somebody outside"):
        await run.reschedule(after=HOUR)
    assert await run.reschedule(priority="high") is Effect.DONE
    await client.complete(tokens[0], "yes", ask)
    assert await run.result(timeout=SOON) == "yes"
    await house.check_invariants()


# ---- many, and mistakes


async def test_many_are_moved_by_a_filter_and_those_that_cannot_be_are_named(house: House) -> None:
    app = house.app()
    story = Story(app)

    @app.workflow(name="flow")
    async def flow() -> None:
        await asyncio.sleep(86_400)

    client = await house.client(app)
    begun = await client.start(flow, tags={"batch": "7"})
    await house.worker(app)
    await house.parked(begun.id)
    runs = await client.start_many([story.job.call(n) for n in range(1, 250)], after=HOUR, tags={"batch": "7"})
    tried = await client.runs(tags={"batch": "7"}).reschedule(after=2 * HOUR, dry_run=True)
    assert (len(tried.runs), tried.effects) == (250, {})
    tally = await client.runs(tags={"batch": "7"}).reschedule(after=2 * HOUR)
    assert tally.effects == {Effect.DONE: 249}
    assert [one.run_id for one in tally.refused] == [begun.id]
    assert about(await due_in(house, runs[0]), 2 * HOUR)
    assert about(await due_in(house, runs[-1]), 2 * HOUR)


@pytest.mark.parametrize(
    ("wish", "mistake"),
    [
        ({}, "say at or after, priority or lane"),
        ({"at": datetime.fromisoformat("2030-01-01T00:00")}, "without a time zone"),
        ({"at": datetime.fromisoformat("2030-01-01T00:00Z"), "after": HOUR}, "at and after are both given"),
        ({"after": -HOUR}, "after is -1 day, 23:00:00: use zero or more"),
        ({"priority": "urgent"}, "urgent"),
        ({"lane": "a b"}, "lane is 'a b'"),
        ({"lane": ""}, "lane is ''"),
        ({"after": 5}, "after is 5: use a timedelta"),
    ],
)
async def test_a_wish_that_cannot_be_is_told(house: House, wish: dict[str, Any], mistake: str) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    run = await client.start(story.job, 1, after=HOUR)
    with pytest.raises(InvalidInput, match="cannot be rescheduled") as caught:
        await run.reschedule(**wish)
    assert mistake in str(caught.value)
    with pytest.raises(RunNotFound):
        await client.get("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90").reschedule(after=HOUR)
