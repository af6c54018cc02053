"""Readable text: ``every 30 minutes between 09:00 and 18:00 on weekdays in Europe/Paris``.

A text is made of clauses, each at most once and in any order: how often (``every …``, ``hourly``, ``daily``), at which
times (``at …``, ``between … and …``), on which days (``on …``), in which zone (``in …``). It is read into the same
value as the cron expression, or the interval, that says the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.core.cadence.cron import Cron, read_cron
from holdfast.core.cadence.days import DAY_WORDS, Days, read_days
from holdfast.core.cadence.every import Every
from holdfast.core.cadence.words import Word, Words
from holdfast.core.cadence.zone import find_zone
from holdfast.core.errors import InvalidSchedule

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 0, "year": 0}
_ALONE = {
    "minutely": "minute",
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "yearly": "year",
}
_CLAUSES = ("every", "at", "between", "from", "on", "in", *_ALONE)
_DAY = 24 * 60
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(am|pm)?")


@dataclass(slots=True)
class _Said:
    """What the clauses have said so far."""

    count: int = 1
    unit: str | None = None
    unit_at: Word | None = None
    times: list[int] = field(default_factory=list[int])
    """In minutes of the day."""
    window: tuple[int, int] | None = None
    days: Days | None = None
    zone: str | None = None
    clauses: dict[str, Word] = field(default_factory=dict[str, Word])


def read_phrase(text: str, tz: str | None, anchor: datetime) -> Cron | Every:
    """The value of readable text; ``tz`` holds where the text names no zone.

    Raises:
        InvalidSchedule: says what could not be understood, and where it stands.
    """
    words = Words(text)
    said = _Said()
    while (word := words.next()) is not None:
        _read_clause(words, word, said)
    if said.zone is not None and tz is not None and said.zone != tz:
        raise words.wrong(said.clauses["in"], f"the text says {said.zone}, and tz= says {tz}: give one of them")
    return _made(words, said, tz, anchor)


def _read_clause(words: Words, word: Word, said: _Said) -> None:
    kind = "every" if word.text in _ALONE else "between" if word.text == "from" else word.text
    if kind not in _CLAUSES:
        raise words.wrong(
            word,
            f"{word.said!r} is not understood here; a schedule is made of 'every …', 'at …', 'between … and …', 'on …' "
            "and 'in …', or is a cron expression",
        )
    if kind in said.clauses:
        raise words.wrong(word, f"{word.said!r}: that was said before")
    said.clauses[kind] = word
    match kind:
        case "every":
            _read_every(words, word, said)
        case "at":
            said.times = _read_times(words, word)
        case "between":
            low = _read_time(words, word)
            words.expect(("and",) if word.text == "between" else ("to", "until"), after=word)
            said.window = low, _read_time(words, word)
        case "on":
            _take_days(words, word, said)
        case _:
            zone = words.need(word, "a time zone, such as Europe/Paris")
            try:
                find_zone(zone.said)
            except ValueError as error:
                raise words.wrong(zone, str(error)) from None
            said.zone = zone.said


def _read_every(words: Words, word: Word, said: _Said) -> None:
    if word.text in _ALONE:
        said.unit, said.unit_at = _ALONE[word.text], word
        return
    first = words.need(word, "how often: '30 minutes', 'day', 'weekday', 'monday'")
    if first.text.isdecimal() and first.text.isascii():
        said.count = int(first.text)
        if not 1 <= said.count <= 100_000:
            raise words.wrong(first, f"{first.said!r}: use a number from 1 to 100000")
        first = words.need(first, "a unit: seconds, minutes or hours")
    unit = first.text.removesuffix("s")
    if unit in _UNITS:
        said.unit, said.unit_at = unit, first
    elif first.text in DAY_WORDS and said.count == 1:
        words.back()
        said.unit, said.unit_at = "day", first
        said.clauses["on"] = first
        _take_days(words, word, said)
    else:
        units = ", ".join(f"{one}s" for one in _UNITS)
        raise words.wrong(first, f"{first.said!r} is neither a unit ({units}) nor a day (weekday, monday, …)")


def _take_days(words: Words, word: Word, said: _Said) -> None:
    said.days = read_days(words, word)


# ---- times of the day


def _read_times(words: Words, word: Word) -> list[int]:
    times = [_read_time(words, word)]
    while words.take("and", ","):
        words.take("and")
        times.append(_read_time(words, word))
    return times


def _read_time(words: Words, before: Word) -> int:
    """Minutes since midnight."""
    word = words.need(before, "a time of the day: 09:00, 9am, noon")
    if word.text in {"noon", "midnight"}:
        return 12 * 60 if word.text == "noon" else 0
    text = word.text
    if text[-1:].isdecimal() and (half := words.take("am", "pm")) is not None:
        text += half.text
    found = _CLOCK.fullmatch(text)
    if found is None or (found[2] is None and found[3] is None):
        raise words.wrong(word, f"{word.said!r} is not a time of the day: write 09:00, 9am, 6:30pm, noon or midnight")
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3] is not None:
        if not 1 <= hour <= 12:
            raise words.wrong(word, f"{word.said!r}: with am and pm the hour is 1 to 12")
        hour = hour % 12 + (12 if found[3] == "pm" else 0)
    if hour > 23 or minute > 59:
        raise words.wrong(word, f"{word.said!r} is not a time of the day: 00:00 to 23:59")
    return hour * 60 + minute


# ---- the value


def _made(words: Words, said: _Said, tz: str | None, anchor: datetime) -> Cron | Every:
    zone = said.zone or tz
    if said.unit in {"second", "minute", "hour"}:
        if said.times:
            raise words.wrong(
                said.clauses["at"], f"'every {said.unit}' and 'at' exclude each other; say 'every day at …'"
            )
        if said.window is None and said.days is None and zone is None:
            return Every(timedelta(seconds=said.count * _UNITS[said.unit]), anchor)
        return _rhythm(words, said, zone or "UTC")
    if said.window is not None:
        raise words.wrong(
            said.clauses["between"], "'between' needs a rhythm: 'every 30 minutes between 09:00 and 18:00'"
        )
    days = _days_of(words, said)
    if not said.times:
        raise words.wrong(None, "at which time of the day? Add 'at 09:00'")
    return _cron(words, said, sorted(set(said.times)), days, zone or "UTC")


def _days_of(words: Words, said: _Said) -> Days:
    """The days of a schedule that has times of the day."""
    days = said.days
    if said.count != 1:
        raise words.wrong(
            said.unit_at,
            f"every {said.count} {said.unit}s is no rhythm of the calendar: use every=timedelta(...) with a start",
        )
    needed = {
        "week": (days is not None and days.week is not None and days.month is None, "on which day? Add 'on monday'"),
        "month": (days is not None and days.month is None and not days.is_weekdays, "on which day? Add 'on the 1st'"),
        "year": (days is not None and days.month is not None, "on which day? Add 'on january 1'"),
    }
    fits, problem = needed.get(said.unit or "", (True, ""))
    if not fits:
        raise words.wrong(said.clauses["on"] if days is not None else None, problem)
    if said.unit is None and days is None and "every" not in said.clauses and not said.times:
        raise words.wrong(None, "how often? Begin with 'every'")
    return days or Days()


def _rhythm(words: Words, said: _Said, zone: str) -> Cron:
    """Every so many minutes or hours by the wall clock."""
    days = said.days or Days()
    unit = said.unit_at
    if said.unit == "second":
        raise words.wrong(unit, "seconds go by real time: leave days, times and zone out, or use minutes")
    step = said.count * (60 if said.unit == "hour" else 1)
    if said.window is not None:
        return _cron(words, said, _window(words, said, step), days, zone)
    whole, most = (24, "a day") if said.unit == "hour" else (60, "an hour")
    if whole % said.count:
        raise words.wrong(
            unit,
            f"{said.count} {said.unit}s do not divide {most}, so by the wall clock they have no beginning: add "
            "'between 00:00 and 23:59', or leave days and zone out for real time",
        )
    star = "*" if said.count == 1 else f"*/{said.count}"
    clock = f"0 {star}" if said.unit == "hour" else f"{star} *"
    return Cron((f"{clock} {days}",), zone)


def _window(words: Words, said: _Said, step: int) -> list[int]:
    assert said.window is not None
    low, high = said.window
    if high < low:
        if said.days is not None:
            raise words.wrong(
                said.clauses["between"], "it goes past midnight, so 'on' could mean either day: use two schedules"
            )
        high += _DAY
    times = range(low, high + 1, step)
    if len(times) == 1:
        raise words.wrong(said.clauses["between"], "there is room for one time only: say 'at' instead")
    return sorted({time % _DAY for time in times})


def _cron(words: Words, said: _Said, times: list[int], days: Days, zone: str) -> Cron:
    """The fewest expressions for these times: hours that have the same minutes share one."""
    minutes: dict[int, list[int]] = {}
    for time in times:
        minutes.setdefault(time // 60, []).append(time % 60)
    hours: dict[tuple[int, ...], list[int]] = {}
    for hour, some in minutes.items():
        hours.setdefault(tuple(some), []).append(hour)
    lines = [f"{_listed(list(some))} {_listed(those)} {days}" for some, those in hours.items()]
    try:
        return read_cron("; ".join(lines), zone)
    except InvalidSchedule as error:
        raise words.wrong(said.clauses.get("on"), error.problem) from None


def _listed(numbers: list[int]) -> str:
    """``9-17``, or ``0,30``: runs of three and more as a range."""
    parts: list[str] = []
    place = 0
    while place < len(numbers):
        end = place
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        if end - place >= 2:
            parts.append(f"{numbers[place]}-{numbers[end]}")
            place = end + 1
        else:
            parts.append(str(numbers[place]))
            place += 1
    return ",".join(parts)
