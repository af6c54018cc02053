"""J8: cron expressions are due when the wall clock says so, in every zone, at both changes of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.cadence import Cron, Span, next_ticks, read_cadence
from holdfast.core.cadence.zone import find_zone
from holdfast.core.errors import InvalidSchedule
from tests.core import walk
from tests.core.walk import at

CHANGES = [
    ("Europe/Berlin", "2024-03-31T01:00"),
    ("Europe/Berlin", "2024-10-27T01:00"),
    ("America/New_York", "2024-03-10T07:00"),
    ("America/New_York", "2024-11-03T06:00"),
    # By half an hour.
    ("Australia/Lord_Howe", "2024-10-05T15:30"),
    ("Australia/Lord_Howe", "2024-04-06T15:00"),
    # At midnight: the day begins at one o'clock, or its first hour comes after its second one began.
    ("Africa/Cairo", "2024-04-25T22:00"),
    ("Africa/Cairo", "2024-10-31T21:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    # By two hours.
    ("Antarctica/Troll", "2024-03-31T01:00"),
    ("Antarctica/Troll", "2024-10-27T01:00"),
    # Twice within a month.
    ("Africa/Casablanca", "2024-03-10T02:00"),
    ("Africa/Casablanca", "2024-04-14T02:00"),
    # A whole day was left out.
    ("Pacific/Apia", "2011-12-30T10:00"),
    # None at all, and a crooked offset.
    ("Asia/Kathmandu", "2024-03-31T01:00"),
    ("UTC", "2024-02-29T00:00"),
]


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A field that is no star: numbers, ranges and steps."""
    one = st.integers(low, high)
    ranges = st.tuples(one, one).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(ranges, st.integers(1, 20)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.lists(st.one_of(one.map(str), ranges, stepped), min_size=1, max_size=3).map(",".join)


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    stars = st.one_of(st.just("*"), st.integers(1, max(2, high // 2)).map(lambda step: f"*/{step}"))
    return st.one_of(stars, numbers(low, high))


MINUTES = st.one_of(fields(0, 59), st.sampled_from(["0", "30", "15,45", "*/15", "*"]))
HOURS = st.one_of(fields(0, 23), st.sampled_from(["0", "1", "2", "3", "0-4", "1,2", "*", "*/2"]))
DAYS = st.one_of(st.just("*"), st.just("*"), fields(1, 28))
WEEKS = st.one_of(st.just("*"), st.just("*"), fields(0, 7))
LINES = st.tuples(MINUTES, HOURS, DAYS, st.just("*"), WEEKS).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from(CHANGES), st.integers(-600, 600))
def test_it_is_due_at_the_minutes_that_a_walk_over_all_minutes_finds(
    line: str, change: tuple[str, str], shift: int
) -> None:
    zone, moment = change
    start = at(moment) + timedelta(minutes=shift - 900)
    end = start + timedelta(days=1)
    expected = walk.ticks(line, zone, start, end)
    cron = read_cadence(line, tz=zone)
    found = list(next_ticks(cron, start, Span(end=end + timedelta(seconds=1))))
    assert found == expected
    # Backwards they are the same.
    back: list[datetime] = []
    last = cron.until(end)
    while last is not None and last > start:
        back.append(last)
        last = cron.until(last - timedelta(microseconds=1))
    assert back[::-1] == expected


@settings(max_examples=200, deadline=None)
@given(
    LINES,
    st.sampled_from(sorted({zone for zone, _ in CHANGES})),
    st.integers(0, 15_000_000),
)
def test_ticks_only_go_forward_and_none_lies_between_two_of_them(line: str, zone: str, minute: int) -> None:
    moment = at("2005-01-01") + timedelta(minutes=minute)
    cron = read_cadence(line, tz=zone)
    found = [tick for tick, _ in zip(next_ticks(cron, moment), range(5), strict=False)]
    assert all(low < high for low, high in pairwise([moment, *found]))
    for low, high in pairwise(found):
        middle = low + (high - low) / 2
        assert cron.after(middle) == high
        assert cron.until(middle) == low
        assert cron.until(high) == high


def local(zone: str, *walls: str) -> list[datetime]:
    return [datetime.fromisoformat(wall).astimezone(ZoneInfo(zone)) for wall in walls]


@pytest.mark.parametrize(
    ("zone", "line", "since", "expected"),
    [
        # It does not exist: it is due at the jump.
        ("Europe/Berlin", "30 2 * * *", "2024-03-30T00:00Z", ["2024-03-30T02:30+01:00", "2024-03-31T03:00+02:00"]),
        ("America/New_York", "30 2 * * *", "2024-03-09T12:00Z", ["2024-03-10T03:00-04:00", "2024-03-11T02:30-04:00"]),
        ("Africa/Cairo", "0 0 * * *", "2024-04-25T12:00Z", ["2024-04-26T01:00+03:00", "2024-04-27T00:00+03:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2024-10-05T12:00Z", ["2024-10-06T02:30+11:00"]),
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T12:00Z", ["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00"]),
        # It exists twice: it is due the first time only.
        ("Europe/Berlin", "30 2 * * *", "2024-10-26T12:00Z", ["2024-10-27T02:30+02:00", "2024-10-28T02:30+01:00"]),
        ("America/New_York", "30 1 * * *", "2024-11-03T00:00Z", ["2024-11-03T01:30-04:00", "2024-11-04T01:30-05:00"]),
        # A rhythm goes by the clock as it runs.
        ("Europe/Berlin", "30 * * * *", "2024-03-31T00:00Z", ["2024-03-31T01:30+01:00", "2024-03-31T03:30+02:00"]),
        ("Europe/Berlin", "30 * * * *", "2024-10-27T00:00Z", ["2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00"]),
        # Two times that both fall into the gap are one moment.
        ("Europe/Berlin", "0,30 2 * * *", "2024-03-31T00:00Z", ["2024-03-31T03:00+02:00", "2024-04-01T02:00+02:00"]),
        # Leap days and the ends of months.
        ("UTC", "0 0 29 2 *", "2024-03-01T00:00Z", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
        ("UTC", "0 0 29 2 *", "2096-03-01T00:00Z", ["2104-02-29T00:00Z"]),
        ("UTC", "0 0 31 * *", "2024-03-31T00:00Z", ["2024-05-31T00:00Z", "2024-07-31T00:00Z"]),
        ("UTC", "0 0 L * *", "2024-01-31T00:00Z", ["2024-02-29T00:00Z", "2024-03-31T00:00Z", "2024-04-30T00:00Z"]),
        ("UTC", "0 0 LW * *", "2024-03-01T00:00Z", ["2024-03-29T00:00Z"]),
        ("UTC", "0 0 * * mon#1", "2024-03-05T00:00Z", ["2024-04-01T00:00Z"]),
        ("UTC", "0 0 * * 5L", "2024-03-05T00:00Z", ["2024-03-29T00:00Z", "2024-04-26T00:00Z"]),
        # Two days given: either will do.
        ("UTC", "0 0 13 * fri", "2024-09-01T00:00Z", ["2024-09-06T00:00Z", "2024-09-13T00:00Z", "2024-09-20T00:00Z"]),
    ],
)
def test_what_people_stumble_over(zone: str, line: str, since: str, expected: list[str]) -> None:
    cron = read_cadence(line, tz=zone)
    found = [tick for tick, _ in zip(next_ticks(cron, at(since)), expected, strict=False)]
    assert found == [at(one) for one in expected]


def test_several_expressions_are_due_when_any_of_them_is() -> None:
    cron = read_cadence("0 9 * * mon-fri; 0 11 * * sat ; 0 9 * * mon-fri", tz="Europe/Paris")
    assert cron == Cron(("0 9 * * mon-fri", "0 11 * * sat"), "Europe/Paris")
    friday = at("2024-06-14T12:00+02:00")
    assert [tick for tick, _ in zip(next_ticks(cron, friday), range(2), strict=False)] == local(
        "Europe/Paris", "2024-06-15T11:00+02:00", "2024-06-17T09:00+02:00"
    )
    assert cron.until(at("2024-06-16T00:00Z")) == at("2024-06-15T11:00+02:00")


def test_what_is_written_differently_and_means_the_same_is_the_same_value() -> None:
    assert read_cadence("  0  18 * * MON-FRI ", tz="UTC") == Cron(("0 18 * * mon-fri",))
    assert read_cadence("0 18 * * mon-fri in Europe/Paris") == Cron(("0 18 * * mon-fri",), "Europe/Paris")
    assert read_cadence("5-5/2 0 * * *") == Cron(("5 0 * * *",))
    assert read_cadence("@daily") == Cron(("0 0 * * *",))
    cron = read_cadence("0,30 9-17 * * mon-fri; 0 18 * * mon-fri", tz="Europe/Paris")
    assert read_cadence(str(cron)) == cron


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("61 * * * *", 0, "'61' is not a minute: use 0 to 59"),
        ("0 24 * * *", 2, "'24' is not a hour"),
        ("0 18 * * fri-mon", 9, "'fri-mon' is not a day of the week: use 0 to 7"),
        ("0 9,12,30 * * *", 7, "'30' is not a hour"),
        ("0 0 32 * *", 4, "'32' is not a day of the month"),
        ("0 0 * foo *", 6, "'foo' is not a month: use 1 to 12 or jan to dec"),
        ("*/0 * * * *", 0, r"'\*/0' is not a minute"),
        ("1- * * * *", 0, "'1-' is not a minute"),
        ("0 ١ * * *", 2, "is not a hour"),
        ("5 0 * *", 7, "five fields .* this has 4"),
        ("0 18 * * mon-fri Europe/Paris", 17, "five fields .* this has 6"),
        ("0 0 * * *; 0 0 * *", 18, "five fields"),
        ("0 0 * * *; 99 0 * * *", 11, "'99' is not a minute"),
        ("0 0 30 2 *", 4, "no year has such a day"),
        ("0 0 31 4,6 *", 4, "no year has such a day"),
        ("@reboot", 0, "use one of @hourly"),
        ("0 0 * * * in Europe/Pari", 13, "'Europe/Pari' is not a time zone; did you mean 'Europe/Paris'"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, position: int, said: str) -> None:
    with pytest.raises(InvalidSchedule, match=said) as caught:
        read_cadence(text) if "in" in text else read_cadence(text, tz="UTC")
    assert (caught.value.position, caught.value.text) == (position, text)
    assert f"at character {position + 1}: " in str(caught.value)


@pytest.mark.parametrize("name", ["Europe/Pari", "America", "../etc/passwd", "", "CEST", "/etc/localtime"])
def test_a_zone_that_is_none_is_refused_with_what_was_perhaps_meant(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        find_zone(name)
    with pytest.raises(InvalidSchedule, match="tz="):
        read_cadence("0 0 * * *", tz=name)


@pytest.mark.parametrize("text", ["0 0 1 1 *", "* * * * *", "every 3 hours"])
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59+00:00", "9998-12-31T23:59:00+00:00"])
def test_at_the_end_of_the_calendar_there_are_no_more(text: str, moment: str) -> None:
    cadence = read_cadence(text, tz=None if "hours" in text else "Pacific/Kiritimati")
    found = [tick for tick, _ in zip(next_ticks(cadence, at(moment)), range(3), strict=False)]
    assert all(tick > at(moment) for tick in found)


def test_two_zones_are_one_too_many() -> None:
    with pytest.raises(InvalidSchedule, match="the text says Europe/Paris, and tz= says UTC"):
        read_cadence("0 0 * * * in Europe/Paris", tz="UTC")
