"""Cron expressions by the wall clock of a time zone.

The calendar is cronsim's, asked in naive local time; what happens when the clock is changed is decided here, because
it has to be right for every zone: those that change at midnight, by half an hour, or by a day.

An expression whose minute and hour are both given names times of the day, and each is due once a day: one that the
clock leaves out is due at the moment of the jump, one that comes twice is due the first time. An expression whose
minute or hour begins with ``*`` goes by the clock as it runs: what is left out is not due, what comes twice is due
twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.core.cadence.zone import find_zone, first_change, last_change, moment_of, offset_at, wall_at
from holdfast.core.errors import InvalidSchedule

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

SEPARATOR = "; "
"""Stands between the expressions of a text that has several."""

_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L for the last, LW for the last weekday"),
    ("month", "1 to 12 or jan to dec"),
    (
        "day of the week",
        "0 to 7 (0 and 7 are Sunday) or sun to sat, mon#1 for the first Monday, 5L for the last Friday",
    ),
)

_SINGLE = re.compile(r"\b(\w+)-\1/\d+\b")
"""A range of one value with a step: cronsim takes ``5-5/2`` for ``5/2``, which goes on to the end."""

_LONGEST_SHIFT = timedelta(hours=26)
"""No change of a wall clock is as large."""

_SECOND = timedelta(seconds=1)
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - the calendar is asked in naive local time


@dataclass(frozen=True, slots=True)
class Cron:
    """One or more cron expressions of five fields, by the wall clock of ``zone``; due when any of them is."""

    lines: tuple[str, ...]
    zone: str = "UTC"

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than ``moment``; None: there is none in the next fifty years."""
        zone = find_zone(self.zone)
        ticks = [_first_after(line, zone, moment.astimezone(UTC)) for line in self.lines]
        return min((tick for tick in ticks if tick is not None), default=None)

    def until(self, moment: datetime) -> datetime | None:
        """The last tick that is not later than ``moment``; None: there was none in the fifty years before."""
        zone = find_zone(self.zone)
        ticks = [_last_until(line, zone, moment.astimezone(UTC)) for line in self.lines]
        return max((tick for tick in ticks if tick is not None), default=None)

    def __str__(self) -> str:
        return f"{SEPARATOR.join(self.lines)} in {self.zone}"


def read_cron(text: str, zone: str) -> Cron:
    """The value of cron expressions as people write them; several are separated by semicolons.

    Raises:
        InvalidSchedule: says which field is wrong, and where it stands.
    """
    lines: list[str] = []
    start = 0
    for part in text.split(";"):
        lines.append(_checked(text, start, part))
        start += len(part) + 1
    return Cron(tuple(dict.fromkeys(lines)), zone)


def _checked(text: str, start: int, part: str) -> str:
    """The expression in its plain form: lower case, one blank between fields."""
    fields = list(_words(part))
    macro = MACROS.get(fields[0][1].lower()) if len(fields) == 1 else None
    if macro is not None:
        return macro
    if len(fields) == 1 and fields[0][1].startswith("@"):
        raise InvalidSchedule(text, start + fields[0][0], f"unknown; use one of {', '.join(MACROS)}")
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, _ in _FIELDS)
        where = start + (fields[len(_FIELDS)][0] if len(fields) > len(_FIELDS) else len(part.rstrip()))
        raise InvalidSchedule(text, where, f"a cron expression has five fields ({names}), this has {len(fields)}")
    for number, (place, field) in enumerate(fields):
        _check_field(text, start + place, field, number)
    line = _SINGLE.sub(r"\1", " ".join(field.lower() for _, field in fields))
    try:
        next(CronSim(line, _SOME_DAY))
    except (CronSimError, StopIteration):
        day = start + fields[2][0]
        raise InvalidSchedule(text, day, "no year has such a day, so it would never be due") from None
    return line


def _words(text: str) -> Iterator[tuple[int, str]]:
    place = 0
    for word in text.split():
        place = text.index(word, place)
        yield place, word
        place += len(word)


def _check_field(text: str, place: int, field: str, number: int) -> None:
    name, values = _FIELDS[number]
    for term in field.split(","):
        alone = ["*"] * len(_FIELDS)
        alone[number] = term
        try:
            if not term.isascii():
                raise CronSimError
            CronSim(" ".join(alone), _SOME_DAY)
        except (CronSimError, ValueError, AssertionError, IndexError):
            raise InvalidSchedule(
                text,
                place,
                f"{term!r} is not a {name}: use {values}; lists (1,2), ascending ranges (1-5), steps (*/15) and *",
            ) from None
        place += len(term) + 1


# ---- the wall clock


def _is_fixed(line: str) -> bool:
    """Whether it names times of the day, as opposed to a rhythm."""
    minute, hour, *_ = line.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _first_after(line: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    if _is_fixed(line):
        for wall in _walls(line, wall_at(zone, moment)):
            tick = moment_of(zone, wall)
            # When the clock was put back, times come once more that have been due already.
            if tick > moment:
                return tick
        return None
    wall = wall_at(zone, moment)
    while True:
        # Within a stretch of constant offset the wall clock runs like any other.
        ahead = offset_at(zone, moment)
        found = next(_walls(line, wall), None)
        if found is None:
            return None
        tick = (found - ahead).replace(tzinfo=UTC)
        change = first_change(zone, moment, tick)
        if change is None:
            return tick
        moment = change
        # What the clock says at the change itself may be due.
        wall = wall_at(zone, change) - _SECOND


def _last_until(line: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    if _is_fixed(line):
        return _last_fixed(line, zone, moment)
    # Of the walls before this one: so the moment itself may be due.
    wall = wall_at(zone, moment) + (_SECOND if not moment.microsecond else timedelta(0))
    while True:
        ahead = offset_at(zone, moment)
        found = next(_walls(line, wall, reverse=True), None)
        if found is None:
            return None
        tick = (found - ahead).replace(tzinfo=UTC)
        change = last_change(zone, tick, moment)
        if change is None:
            return tick
        moment = change - _SECOND
        wall = (change + offset_at(zone, moment)).replace(tzinfo=None)


def _last_fixed(line: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    wall = wall_at(zone, moment) + _SECOND
    change = last_change(zone, moment - _LONGEST_SHIFT, moment)
    if change is not None:
        # What the clock said before it was put back may be later than what it says now.
        before = offset_at(zone, change - _SECOND)
        wall = max(wall, (change + before).replace(tzinfo=None))
    for found in _walls(line, wall, reverse=True):
        tick = moment_of(zone, found)
        if tick <= moment:
            return tick
    return None


def _walls(line: str, wall: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """The naive times that fit the expression, later than ``wall``; or earlier ones, the latest first."""
    try:
        yield from CronSim(line, wall, reverse=reverse)
    except (OverflowError, RuntimeError):
        # The calendar ends. (cronsim gives up after fifty years with StopIteration, as an iterator should.)
        return
