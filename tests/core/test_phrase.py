"""J8: readable text means what it says, and is the same value as the cron expression or interval that says the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.cadence import EPOCH, Cron, Every, jitter_of, read_cadence
from holdfast.core.errors import InvalidSchedule
from tests.core.walk import at


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("every weekday at 18:00 in America/New_York", "0 18 * * mon-fri in America/New_York"),
        ("in America/New_York on weekdays at 6pm", "0 18 * * mon-fri in America/New_York"),
        (
            "every 30 minutes between 09:00 and 18:00 on weekdays in Europe/Paris",
            "0,30 9-17 * * mon-fri; 0 18 * * mon-fri in Europe/Paris",
        ),
        ("every 45 minutes from 9am to 11:15am", "0,45 9 * * *; 30 10 * * *; 15 11 * * *"),
        ("every hour between 9:00 and 17:00 on saturday", "0 9-17 * * sat"),
        ("every 20 minutes between 22:00 and 01:00", "0,20,40 0,22,23 * * *; 0 1 * * *"),
        ("every 15 minutes on weekdays", "*/15 * * * mon-fri"),
        ("every minute in Europe/Paris", "* * * * * in Europe/Paris"),
        ("every 2 hours in Asia/Tokyo", "0 */2 * * * in Asia/Tokyo"),
        ("hourly on sunday", "0 * * * sun"),
        ("daily at noon", "0 12 * * *"),
        ("every day at 07:00, 12:30 and 19:00", "0 7,19 * * *; 30 12 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("at 12am and 12:15 pm on weekends", "0 0 * * sat,sun; 15 12 * * sat,sun"),
        ("every monday and thursday at 9:30", "30 9 * * mon,thu"),
        ("every Tue, Wed, Thu at 9:30", "30 9 * * tue-thu"),
        ("every friday to monday at 08:00", "0 8 * * mon,fri,sat,sun"),
        ("weekly on sunday at 6:15 am", "15 6 * * sun"),
        ("every month on the 1st and 15th at 06:00", "0 6 1,15 * *"),
        ("monthly on the last day at 23:30", "30 23 L * *"),
        ("on the last weekday of every month at 17:00", "0 17 LW * *"),
        ("on the first monday of the month at 09:00", "0 9 * * mon#1"),
        ("on the last friday of every month at 16:00", "0 16 * * 5L"),
        ("on the second tuesday of march at 02:00", "0 2 * mar tue#2"),
        ("every year on february 29 at 12:00", "0 12 29 feb *"),
        ("yearly on the 1st of january at 00:00", "0 0 1 jan *"),
        ("every december 24 and 31 at 10:00", "0 10 24,31 dec *"),
        ("on 24 december at 10:00", "0 10 24 dec *"),
    ],
)
def test_a_text_is_the_same_value_as_the_cron_expression(text: str, same: str) -> None:
    assert read_cadence(text) == read_cadence(same)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("every 90 seconds", timedelta(seconds=90)),
        ("every second", timedelta(seconds=1)),
        ("every 45 minutes", timedelta(minutes=45)),
        ("every hour", timedelta(hours=1)),
        ("hourly", timedelta(hours=1)),
        ("every 36 hours", timedelta(hours=36)),
    ],
)
def test_a_bare_rhythm_is_the_same_value_as_the_interval(text: str, interval: timedelta) -> None:
    assert read_cadence(text) == read_cadence(every=interval) == Every(interval)


def test_the_zone_may_stand_in_the_text_or_beside_it() -> None:
    assert read_cadence("every day at 09:00", tz="Europe/Paris") == read_cadence("every day at 09:00 in Europe/Paris")
    assert read_cadence("every day at 09:00 in Europe/Paris", tz="Europe/Paris") == Cron(("0 9 * * *",), "Europe/Paris")


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("every 30 minuts", 9, "'minuts' is neither a unit .* nor a day"),
        ("every", 5, "after 'every' there has to be how often"),
        ("every 30", 8, "there has to be a unit"),
        ("every 0 minutes", 6, "use a number from 1"),
        ("sometimes", 0, "'sometimes' is not understood here"),
        ("every day at 25:00", 13, "00:00 to 23:59"),
        ("every day at 9", 13, "write 09:00, 9am"),
        ("every day at 13pm", 13, "the hour is 1 to 12"),
        ("every day at 09:00 and", 22, "a time of the day"),
        ("every day", 9, "Add 'at 09:00'"),
        ("on monday", 9, "Add 'at 09:00'"),
        ("every day at 9:00 at 10:00", 18, "was said before"),
        ("every monday on friday at 9:00", 13, "was said before"),
        ("every 30 minutes between 09:00 to 18:00", 31, "'to' stands where 'and' has to be"),
        ("every 30 minutes between 09:00", 30, "after 'between'"),
        ("every 3 hours between 09:00 and 10:00", 14, "say 'at' instead"),
        ("every 30 minutes between 22:00 and 02:00 on monday", 17, "past midnight"),
        ("every day between 09:00 and 18:00", 10, "'between' needs a rhythm"),
        ("every 30 minutes at 09:00", 17, "exclude each other"),
        ("every 7 minutes on weekdays", 8, "7 minutes do not divide an hour"),
        ("every 5 hours in Europe/Paris", 8, "5 hours do not divide a day"),
        ("every 10 seconds on monday", 9, "seconds go by real time"),
        ("every 2 days at 09:00", 8, r"use every=timedelta\(...\) with a start"),
        ("every week at 09:00", 19, "Add 'on monday'"),
        ("every month on monday at 09:00", 12, "Add 'on the 1st'"),
        ("every year on the 1st at 09:00", 11, "Add 'on january 1'"),
        ("every month on the 32nd at 09:00", 19, "'32nd' is not a day"),
        ("every month on the last hour at 09:00", 24, "'hour' stands where"),
        ("on the 30th of february at 09:00", 0, "no year has such a day"),
        ("on the 1st of spring at 09:00", 14, "'spring' stands where"),
        ("every monday to noon at 09:00", 16, "'noon' is not a day of the week"),
        ("every day at 09:00 in Europe/Pariss", 22, "did you mean 'Europe/Paris'"),
        ("every day at 09:00 in", 21, "a time zone"),
        ("", 0, "say when"),
        ("   ", 0, "say when"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, position: int, said: str) -> None:
    with pytest.raises(InvalidSchedule, match=said) as caught:
        read_cadence(text)
    assert (caught.value.position, caught.value.text) == (position, text)


@given(st.text(alphabet="every day at on in 0123456789:,-/*#Lmonfritue@;\x00é", max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        cadence = read_cadence(text)
    except InvalidSchedule:
        return
    assert cadence.after(EPOCH) is not None


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "say when"),
    ({"when": 5}, "say when"),
    ({"when": "every day at 09:00", "every": timedelta(hours=1)}, "not both"),
    ({"every": timedelta(hours=1), "tz": "Europe/Paris"}, "drop it"),
    ({"every": timedelta(0)}, "use a timedelta from 1 second"),
    ({"every": timedelta(days=9999)}, "use a timedelta from 1 second"),
    ({"every": 60}, "use a timedelta"),
    ({"when": "every day at 09:00 in Europe/Paris", "tz": "UTC"}, "give one of them"),
]


@pytest.mark.parametrize(("given_", "said"), WRONG, ids=str)
def test_what_contradicts_itself_is_refused(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSchedule, match=said):
        read_cadence(**given_)


# ---- intervals


@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    st.datetimes(timezones=st.just(EPOCH.tzinfo)),
    st.integers(0, 10_000),
)
def test_an_interval_counts_from_its_anchor_and_never_drifts(interval: timedelta, anchor: Any, number: int) -> None:
    every = Every(interval, anchor)
    try:
        tick = anchor + number * interval
        after = tick + interval
    except OverflowError:
        return
    assert every.until(tick) == tick
    assert every.after(tick) == after
    assert every.after(tick + interval / 3) == after
    assert every.until(tick + interval / 3) == tick


def test_an_interval_counts_from_the_start_where_one_is_given() -> None:
    start = at("2024-03-31T01:30+01:00")
    every = read_cadence(every=timedelta(days=1), start=start)
    # Real time: over a change of the clock a day has its 24 hours.
    assert every.after(start) == at("2024-04-01T02:30+02:00")
    assert read_cadence("every 7 hours", start=start) == Every(timedelta(hours=7), start)


def test_jitter_is_spread_over_all_of_its_time_and_the_same_for_everybody() -> None:
    schedule, half = UUID(int=7), timedelta(minutes=30)
    late = [jitter_of(schedule, EPOCH + number * timedelta(hours=1), half) for number in range(1000)]
    assert late == [jitter_of(schedule, EPOCH + number * timedelta(hours=1), half) for number in range(1000)]
    assert all(timedelta(0) <= one < half for one in late)
    tenths = {one // (half / 10) for one in late}
    assert tenths == set(range(10))
    assert jitter_of(schedule, EPOCH, timedelta(0)) == timedelta(0)
