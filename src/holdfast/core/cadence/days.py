"""Days in readable text: ``weekdays``, ``monday and thursday``, ``the last friday of every month``, ``february 29``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.core.cadence.words import Word, Words

_WEEK = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
_NUMBERED = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")


def _by_words(names: tuple[str, ...], *, plural: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        for word in (name, name[:3], *([f"{name}s"] if plural else [])):
            found[word] = name[:3]
    return found


_WEEKDAYS = _by_words(_WEEK, plural=True)
_MONTH_WORDS = _by_words(_MONTHS, plural=False)
_GROUPS = {"weekday": "mon-fri", "weekdays": "mon-fri", "weekend": "sat,sun", "weekends": "sat,sun"}
_ORDER = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

DAY_WORDS = frozenset({*_GROUPS, *_WEEKDAYS, *_MONTH_WORDS})
"""The words that a list of days can begin with, after ``every``."""


@dataclass(frozen=True, slots=True)
class Days:
    """The last three fields of a cron expression; None stands for all."""

    day: str | None = None
    month: str | None = None
    week: str | None = None

    @property
    def is_weekdays(self) -> bool:
        """Whether it says days of the week, all of them."""
        return self.day is None and self.week is not None and "#" not in self.week and "L" not in self.week

    def __str__(self) -> str:
        return f"{self.day or '*'} {self.month or '*'} {self.week or '*'}"


def read_days(words: Words, before: Word) -> Days:
    """The days that the next words say."""
    word = words.need(before, "days: 'weekdays', 'monday', 'the 1st', 'january 1'")
    if word.text == "the":
        word = words.need(word, "a day of the month: 'the 1st', 'the last day', 'the first monday'")
    if word.text in _GROUPS or word.text in _WEEKDAYS:
        words.back()
        return Days(week=_read_week(words, before))
    if word.text in _MONTH_WORDS:
        return _read_month(words, word)
    return _read_month_days(words, word)


def _read_week(words: Words, before: Word) -> str:
    """A list of days of the week, in their order."""
    found: set[str] = set()
    while True:
        word = words.need(before, "a day of the week")
        if word.text in _GROUPS:
            found |= {"sat", "sun"} if word.text.startswith("weekend") else set(_ORDER[:5])
        elif (day := _WEEKDAYS.get(word.text)) is not None:
            found |= _range(words, word, day)
        else:
            raise words.wrong(word, f"{word.said!r} is not a day of the week")
        if not words.take("and", ","):
            break
        words.take("and")
    days = [day for day in _ORDER if day in found]
    if len(days) == len(_ORDER):
        return "*"
    first = _ORDER.index(days[0])
    if len(days) > 2 and tuple(days) == _ORDER[first : first + len(days)] and days[-1] != "sun":
        return f"{days[0]}-{days[-1]}"
    return ",".join(days)


def _range(words: Words, word: Word, first: str) -> set[str]:
    if not words.take("to", "-", "through"):
        return {first}
    last = words.need(word, "a day of the week")
    day = _WEEKDAYS.get(last.text)
    if day is None:
        raise words.wrong(last, f"{last.said!r} is not a day of the week")
    place, end = _ORDER.index(first), _ORDER.index(day)
    if end < place:
        end += len(_ORDER)
    return {_ORDER[one % len(_ORDER)] for one in range(place, end + 1)}


def _read_month(words: Words, word: Word) -> Days:
    """``february 29``, ``january on the 1st``, ``december 24 and 31``."""
    month = _MONTH_WORDS[word.text]
    words.take("on")
    words.take("the")
    day = words.need(word, "a day of that month: 'january 1'")
    return Days(day=_read_numbers(words, day), month=month)


def _read_month_days(words: Words, word: Word) -> Days:
    """``1st and 15th``, ``last day``, ``first monday``, with ``of every month`` or ``of january`` behind it."""
    if word.text == "last":
        what = words.need(word, "'day', 'weekday' or a day of the week")
        if what.text in {"day", "weekday"}:
            days = Days(day="L" if what.text == "day" else "LW")
        elif (last := _WEEKDAYS.get(what.text)) is not None:
            days = Days(week=f"{(_ORDER.index(last) + 1) % 7}L")
        else:
            raise words.wrong(what, f"{what.said!r} stands where 'day', 'weekday' or a day of the week has to be")
    elif word.text in _ORDINALS and words.peek() in _WEEKDAYS:
        name = words.need(word, "a day of the week")
        days = Days(week=f"{_WEEKDAYS[name.text]}#{_ORDINALS[word.text]}")
    elif word.text in _ORDINALS and words.take("day"):
        days = Days(day=str(_ORDINALS[word.text]))
    else:
        days = Days(day=_read_numbers(words, word))
    return _of_month(words, days)


def _of_month(words: Words, days: Days) -> Days:
    of = words.take("of")
    if of is None:
        if words.peek() in _MONTH_WORDS:
            month = words.next()
            assert month is not None
            return Days(day=days.day, month=_MONTH_WORDS[month.text], week=days.week)
        return days
    words.take("every", "each", "the")
    month = words.need(of, "'every month' or the name of a month")
    if month.text == "month":
        return days
    if month.text not in _MONTH_WORDS:
        raise words.wrong(month, f"{month.said!r} stands where 'every month' or the name of a month has to be")
    return Days(day=days.day, month=_MONTH_WORDS[month.text], week=days.week)


def _read_numbers(words: Words, word: Word) -> str:
    """Days of the month: ``1st``, ``1st and 15th``."""
    numbers: set[int] = set()
    while True:
        found = _NUMBERED.fullmatch(word.text)
        if found is None or not 1 <= int(found[1]) <= 31:
            raise words.wrong(word, f"{word.said!r} is not a day: write a weekday, '1st' to '31st', or 'last day'")
        numbers.add(int(found[1]))
        if not words.take("and", ","):
            break
        words.take("and")
        words.take("the")
        word = words.need(word, "a day of the month")
    return ",".join(map(str, sorted(numbers)))
