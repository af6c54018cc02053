"""How much a bucket takes: what fills its slots, and beyond that what it was seen to begin in half a second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from holdfast.core.priority import Priority
from holdfast.worker.ahead import Ahead
from holdfast.worker.bucket import Bucket
from holdfast.worker.clock import DatabaseClock
from holdfast.worker.pace import Pace

START = datetime(2030, 1, 1, tzinfo=UTC)
RUN: Any = object()


class Time:
    """What ``time.monotonic()`` gives."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("time.monotonic", time)
    return time


class Worker:
    """One bucket of four slots, and what a worker does to it."""

    def __init__(self, time: Time, *, buffer: int = 250) -> None:
        self.time = time
        self.bucket = Bucket(1, "default", Priority.MEDIUM, capacity=4, buffer_size=buffer, foresees=True)

    def claim(self, line: int) -> int:
        """A claim of so many that are in line; gives how many it took."""
        bucket = self.bucket
        bucket.measure()
        room = bucket.room()
        took = min(room, line)
        bucket.looked(at=START, last_due=START, full=took >= room)
        if took and not bucket.ready and not bucket.running:
            bucket.idles_no_more()
        bucket.ready.extend([RUN] * took)
        bucket.held += took
        self.begin()
        return took

    def begin(self) -> None:
        bucket = self.bucket
        while bucket.ready and bucket.running < bucket.capacity:
            bucket.ready.popleft()
            bucket.running += 1

    def end(self, count: int, *, after: float) -> None:
        """So many jobs are over, one after the other, in so much time."""
        for _ in range(count):
            self.time.now += after / count
            self.bucket.running -= 1
            self.bucket.held -= 1
            self.bucket.freed()
            self.begin()


def test_of_work_that_nobody_knows_it_takes_what_fills_its_slots(time: Time) -> None:
    worker = Worker(time)
    assert worker.claim(1_000) == 4
    assert worker.claim(1_000) == 0
    time.now += 60
    assert worker.claim(1_000) == 0, "nothing stands behind jobs that do not end"


@pytest.mark.parametrize(("each", "line"), [(1.0, 2), (0.1, 20), (0.01, 200), (0.001, 250)])
def test_beyond_that_it_takes_what_it_can_begin_in_half_a_second(time: Time, each: float, line: int) -> None:
    worker = Worker(time)
    worker.claim(1_000)
    for _ in range(100):
        worker.end(4, after=each)
        worker.claim(1_000)
        assert worker.bucket.held <= 4 + 250
    assert 0.6 * line <= len(worker.bucket.ready) <= 1.4 * line + 1


def test_a_line_of_more_than_a_second_is_halved_and_more(time: Time) -> None:
    worker = Worker(time)
    worker.claim(1_000)
    for _ in range(50):
        worker.end(4, after=0.02)
        worker.claim(1_000)
    line = len(worker.bucket.ready)
    assert line > 50
    assert worker.bucket.excess() == 0
    for _ in range(12):
        # Now one takes very long.
        time.now += 0.25
        worker.bucket.measure()
        for _ in range(worker.bucket.excess()):
            worker.bucket.ready.pop()
            worker.bucket.held -= 1
    assert len(worker.bucket.ready) <= 4


def test_a_trickle_does_not_make_it_greedy(time: Time) -> None:
    worker = Worker(time)
    for _ in range(100):
        time.now += 0.1
        worker.claim(1)
        worker.end(1, after=0.001)
    assert worker.claim(1_000) <= 8


def test_what_takes_no_slot_is_tried_twice_as_much_while_there_is_more(time: Time) -> None:
    worker = Worker(time)
    bucket = worker.bucket
    took: list[int] = []
    for _ in range(12):
        time.now += 0.02
        bucket.measure()
        took.append(bucket.room())
        bucket.looked(at=START, last_due=START, full=True)
        for _ in range(took[-1]):
            bucket.begun()
    assert took[0] == 4
    assert took[-1] == 254
    assert all(later <= 2 * max(one, 4) for one, later in pairwise(took))


def test_how_quick_it_was_is_forgotten(time: Time) -> None:
    worker = Worker(time)
    worker.claim(1_000)
    for _ in range(50):
        worker.end(4, after=0.002)
        worker.claim(1_000)
    worker.bucket.ready.clear()
    worker.bucket.held = worker.bucket.running = 0
    for _ in range(10):
        time.now += 1
        worker.bucket.measure()
    assert worker.bucket.room() == 4


def test_it_looks_ahead_only_where_nothing_that_is_due_waits(time: Time) -> None:
    worker = Worker(time, buffer=10)
    bucket = worker.bucket
    worker.claim(0)
    assert bucket.early_room() == 10
    worker.claim(3)
    assert bucket.early_room() == 10
    worker.claim(100)
    assert bucket.early_room() == 0
    bucket.more = False
    bucket.ready.append(RUN)
    assert bucket.early_room() == 0


def test_what_is_not_due_makes_room_for_what_is(time: Time) -> None:
    worker = Worker(time, buffer=10)
    bucket = worker.bucket
    for _ in range(10):
        run: Any = type("Run", (), {"run_id": uuid4()})()
        bucket.ahead.add(run, START, untouched=True)
        bucket.held += 1
    assert worker.claim(1_000) == 4
    worker.end(4, after=0.02)
    assert worker.claim(1_000) == 4
    worker.end(3, after=0.02)
    bucket.measure()
    pressed = bucket.pressed()
    assert 0 < pressed <= 10
    bucket.parting.update(uuid4() for _ in range(pressed))
    assert bucket.pressed() == 0, "what is on its way is not asked for again"


def test_the_order_of_what_is_not_due() -> None:
    ahead = Ahead()
    runs: list[Any] = [type("Run", (), {"run_id": uuid4()})() for _ in range(6)]
    moments = [START + timedelta(seconds=n) for n in (3, 1, 2, 2, 5, 4)]
    for run, moment in zip(runs, moments, strict=True):
        ahead.add(run, moment, untouched=False)
    assert [early.run for early in ahead.until(moments[0])] == [runs[1], runs[2], runs[3], runs[0]]
    assert ahead.first_due == moments[1]
    assert ahead.after(moments[2]) == moments[0]
    assert ahead.after(moments[4]) is None
    assert [early.run for early in ahead.last(2)] == [runs[4], runs[5]]
    ahead.discard(runs[1].run_id)
    ahead.discard(runs[1].run_id)
    assert runs[1].run_id not in ahead
    assert ahead.first_due == moments[2]
    ahead.add(runs[2], moments[4], untouched=True)
    assert len(ahead) == 5
    assert ahead[runs[2].run_id].untouched
    ahead.clear()
    assert not ahead
    assert ahead.first_due is None


def test_the_clock_is_never_ahead_and_believes_the_quickest_reply(time: Time) -> None:
    clock = DatabaseClock()

    def reply(true: float, *, took: float, said: float) -> float:
        """A reply to a question at this time of the database; gives how late the clock is then."""
        asked, time.now = 1000 + true, 1000 + true + took
        clock.observe(START + timedelta(seconds=true + said), asked)
        return true + took - (clock.now() - START).total_seconds()

    assert reply(0, took=0.05, said=0.0) == pytest.approx(0.05)
    assert reply(1, took=0.002, said=0.001) == pytest.approx(0.001)
    # A slow one says less than is known.
    assert reply(2, took=0.5, said=0.1) == pytest.approx(0.001)


def test_the_clock_follows_one_that_is_set_back(time: Time) -> None:
    clock = DatabaseClock()
    clock.observe(START + timedelta(hours=1), time.now)
    time.now += 10
    clock.observe(START, time.now - 0.01)
    assert clock.now() == START


def test_a_pace_depends_on_what_it_cost() -> None:
    pace = Pace(0.1, share=20)
    assert pace.is_due(1000.0)
    pace.made(1000.0, 1000.001)
    assert pace.due_in(1000.05) == pytest.approx(0.051)
    for _ in range(20):
        pace.made(1000.0, 1000.1)
    assert pace.due_in(1000.1) == pytest.approx(2.0)
    assert not pace.is_due(1000.1)
