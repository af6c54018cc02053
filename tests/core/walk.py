"""A second opinion on cron expressions: walks every minute, and knows of no library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_NAMES = {
    **{name: n for n, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
    **{
        name: n
        for n, name in enumerate(
            ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
        )
    },
}
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MINUTE = timedelta(minutes=1)

Match = Callable[[datetime], bool]


def ticks(line: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Every tick in (start, end], minute by minute. ``start`` and ``end`` are whole minutes in UTC."""
    return list(_walk(line, ZoneInfo(zone), start, end))


def _walk(line: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    match = _match(line)
    minute, hour, *_ = line.split()
    fixed = not minute.startswith("*") and not hour.startswith("*")
    # From well before, to know what the clock has said already.
    moment = start - timedelta(hours=30)
    before = _wall(zone, moment)
    latest = before
    while moment < end:
        moment += _MINUTE
        wall = _wall(zone, moment)
        if fixed:
            # What the clock left out is due now; what it says again is not.
            left_out = [before + n * _MINUTE for n in range(1, (wall - before) // _MINUTE)]
            due = (wall > latest and match(wall)) or any(match(one) for one in left_out if one > latest)
        else:
            due = match(wall)
        if due and moment > start:
            yield moment
        before, latest = wall, max(latest, wall)


def _wall(zone: ZoneInfo, moment: datetime) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _match(line: str) -> Match:
    minute, hour, day, month, week = (
        _values(text, *limits) for text, limits in zip(line.split(), _LIMITS, strict=True)
    )
    _, _, day_text, _, week_text = line.split()
    both = day_text.startswith("*") or week_text.startswith("*")

    def fits(wall: datetime) -> bool:
        if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        week_fits = wall.isoweekday() in week or wall.isoweekday() % 7 in week
        return (wall.day in day and week_fits) if both else (wall.day in day or week_fits)

    return fits


def _values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            values = range(low, high + 1)
        elif dash:
            values = range(_number(first), _number(last) + 1)
        else:
            values = range(_number(first), high + 1) if step else range(_number(first), _number(first) + 1)
        found |= set(values[:: int(step or 1)])
    return found


def _number(text: str) -> int:
    return _NAMES[text] if text in _NAMES else int(text)


def at(text: str) -> datetime:
    """A time in UTC, or with the offset that it says."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
