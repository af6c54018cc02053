"""Time zones: finding one by its name, and what its changes do to the times of a wall clock."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

_STEP = timedelta(days=3)
"""No zone changes its offset and changes it back within so short a time."""

_ZERO = timedelta(0)
_SECOND = timedelta(seconds=1)


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that name, as in ``Europe/Paris``.

    Raises:
        ValueError: there is none here; the message says which was perhaps meant.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError, TypeError):
        # ZoneInfo says each of these, for names that are unknown, that are folders, that lead out of its folder.
        pass
    known = available_timezones()
    if not known:
        raise ValueError(f"time zone {name!r}: this system has no time zones; pip install tzdata")
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(str(name).casefold(), list(folded), n=1, cutoff=0.6)
    meant = f"; did you mean {folded[near[0]]!r}?" if near else ", such as 'Europe/Paris'"
    raise ValueError(f"{name!r} is not a time zone{meant}")


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    """How far the wall clock is ahead of UTC at that moment."""
    return moment.astimezone(zone).utcoffset() or _ZERO


def wall_at(zone: ZoneInfo, moment: datetime) -> datetime:
    """What the wall clock says at that moment, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def first_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first moment in (after, until] at which the wall clock is changed."""
    low = after
    while low < until:
        high = min(low + _STEP, until)
        if offset_at(zone, low) != offset_at(zone, high):
            return _change_between(zone, low, high)
        low = high
    return None


def last_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The last moment in (after, until] at which the wall clock is changed."""
    high = until
    while high > after:
        low = max(high - _STEP, after)
        if offset_at(zone, low) != offset_at(zone, high):
            return _change_between(zone, low, high)
        high = low
    return None


def moment_of(zone: ZoneInfo, wall: datetime) -> datetime:
    """When the wall clock says so for the first time; of a time that it leaves out: the moment at which it jumps."""
    local = wall.replace(tzinfo=zone, fold=0)
    moment = local.astimezone(UTC)
    if wall_at(zone, moment) == wall:
        return moment
    # In the gap the first fold counts with the offset from before the jump, the second with that from after it.
    earlier = local.replace(fold=1).astimezone(UTC)
    return _change_between(zone, earlier - _SECOND, moment)


def _change_between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The moment of the change, in whole seconds, where the offsets at both ends differ."""
    before = offset_at(zone, low)
    low, high = low.replace(microsecond=0), high.replace(microsecond=0) + (_SECOND if high.microsecond else _ZERO)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if offset_at(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high
