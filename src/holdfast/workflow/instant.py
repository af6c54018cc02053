"""Times as a loop counts them: seconds since 1970, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = datetime.max.replace(tzinfo=UTC)


def seconds_of(at: datetime) -> float:
    """``at`` as seconds since 1970."""
    return (at - _EPOCH) / timedelta(seconds=1)


def deadline_at(when: float, now: datetime) -> datetime:
    """The first whole microsecond that is not before ``when`` and after ``now``; the end of the year 9999 at most."""
    if math.isnan(when):
        raise ValueError("a timer cannot be set to NaN")
    try:
        deadline = _EPOCH + round(when * 1e6) * _MICROSECOND
        if seconds_of(deadline) < when:
            deadline += _MICROSECOND
    except OverflowError:
        return _LATEST if when > 0 else now
    return max(deadline, now + _MICROSECOND)


def later(now: datetime, delay: timedelta) -> datetime:
    """``now + delay``; the end of the year 9999 at most."""
    try:
        return now + delay
    except OverflowError:
        return _LATEST if delay > timedelta(0) else now
