"""J8: each tick is decided about once, whatever the clock does; catch-up makes up for what it says, and no more."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.cadence import EPOCH, Cron, Every, Span, read_cadence
from holdfast.core.schedule import CatchUp, Decision, decide
from tests.core.walk import at

NOON = at("2024-06-03T12:00")
HOURLY = Every(timedelta(hours=1))


def decided(
    now: str, catch_up: CatchUp, *, limit: int = 100, not_before: str | None = None, end: str | None = None
) -> Decision:
    return decide(
        HOURLY,
        Span(end=None if end is None else at(end)),
        next_at=NOON,
        now=at(now),
        not_before=None if not_before is None else at(not_before),
        catch_up=catch_up,
        limit=limit,
    )


def hours(*hours: int) -> tuple[datetime, ...]:
    return tuple(NOON.replace(hour=hour) for hour in hours)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_tick_that_is_seen_to_in_time_makes_its_run_whatever_the_policy(catch_up: CatchUp) -> None:
    for now in ("2024-06-03T12:00", "2024-06-03T12:00:00.004", "2024-06-03T12:01"):
        assert decided(now, catch_up) == Decision(ticks=hours(12), missed=0, next_at=NOON + timedelta(hours=1))


def test_after_downtime_none_last_or_all_of_them_are_made_up_for() -> None:
    late = "2024-06-03T15:20"
    four = NOON + timedelta(hours=4)
    assert decided(late, CatchUp.NONE) == Decision(ticks=(), missed=4, next_at=four)
    assert decided(late, CatchUp.LAST) == Decision(ticks=hours(15), missed=3, next_at=four)
    assert decided(late, CatchUp.ALL) == Decision(ticks=hours(12, 13, 14, 15), missed=0, next_at=four)
    assert decided(late, CatchUp.ALL, limit=2) == Decision(ticks=hours(14, 15), missed=2, next_at=four)


def test_of_ticks_before_a_resume_none_counts() -> None:
    found = decided("2024-06-03T15:00:30", CatchUp.ALL, not_before="2024-06-03T14:10")
    assert found == Decision(ticks=hours(15), missed=0, next_at=NOON + timedelta(hours=4))


def test_at_the_end_there_is_no_next_one_and_the_end_itself_is_none() -> None:
    assert decided("2024-06-03T12:00", CatchUp.ALL, end="2024-06-03T13:00").next_at is None
    found = decided("2024-06-05T00:00", CatchUp.ALL, end="2024-06-03T14:00")
    assert found == Decision(ticks=hours(12, 13), missed=0, next_at=None)


def test_a_clock_that_is_set_back_brings_nothing_back() -> None:
    # Asked too early: nothing is due, and the next tick stays what it was.
    assert decided("2024-06-03T10:30", CatchUp.ALL) == Decision(ticks=(), missed=0, next_at=NOON)


def test_years_of_seconds_are_bounded() -> None:
    found = decide(
        Every(timedelta(seconds=1)),
        Span(),
        next_at=EPOCH,
        now=NOON,
        not_before=None,
        catch_up=CatchUp.ALL,
        limit=1000,
    )
    assert found.ticks == tuple(NOON - timedelta(seconds=n) for n in range(999, -1, -1))
    assert found.next_at == NOON + timedelta(seconds=1)


CADENCES = st.sampled_from(
    [
        HOURLY,
        Every(timedelta(minutes=7), NOON),
        read_cadence("*/20 * * * *", tz="Europe/Berlin"),
        read_cadence("30 2 * * *", tz="America/New_York"),
        Cron(("0,30 9-17 * * mon-fri", "0 18 * * mon-fri"), "Africa/Cairo"),
    ]
)


@given(CADENCES, st.lists(st.timedeltas(timedelta(hours=-5), timedelta(hours=20)), min_size=1, max_size=12))
def test_with_catch_up_all_every_tick_is_decided_about_once_wherever_the_clock_jumps(
    cadence: Cron | Every, jumps: list[timedelta]
) -> None:
    now = NOON
    first = cadence.after(now)
    assert first is not None
    next_at, latest = first, now
    made: list[datetime] = []
    for jump in jumps:
        now += jump
        latest = max(latest, now)
        if now < next_at:
            continue
        found = decide(cadence, Span(), next_at=next_at, now=now, not_before=None, catch_up=CatchUp.ALL, limit=1000)
        assert found.next_at is not None
        assert found.missed == 0
        made += found.ticks
        next_at = found.next_at
    expected: list[datetime] = []
    tick = cadence.after(NOON)
    while tick is not None and tick <= latest:
        expected.append(tick)
        tick = cadence.after(tick)
    assert made == expected
    assert all(low < high for low, high in pairwise(made))
