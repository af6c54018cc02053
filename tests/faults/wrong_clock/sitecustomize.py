"""Sets the wall clock of a Python process wrong: Python imports this by itself, from a folder on PYTHONPATH.

What counts time without saying what time it is (``time.monotonic``, the event loop) is left alone, as by a real clock
that is set wrong. The hours come from ``HOLDFAST_TEST_CLOCK``.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import Any, Self

_OFF = dt.timedelta(hours=float(os.environ.get("HOLDFAST_TEST_CLOCK", "0")))
_Right = dt.datetime
_time, _time_ns, _clock_gettime = time.time, time.time_ns, time.clock_gettime


class _Kind(type):
    """What C code makes is one of these too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Right)


class _Wrong(_Right, metaclass=_Kind):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return _Right.now(tz) + _OFF

    @classmethod
    def utcnow(cls) -> Any:
        return _Right.now(dt.UTC).replace(tzinfo=None) + _OFF

    @classmethod
    def today(cls) -> Any:
        return _Right.now() + _OFF

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        made: Any = _Right(*arguments, **options)
        return made  # type: ignore[no-any-return]


def _wrong_clock_gettime(clock: int) -> float:
    seconds = _clock_gettime(clock)
    return seconds + _OFF.total_seconds() if clock == time.CLOCK_REALTIME else seconds


def _set_wrong() -> None:
    module: Any = dt
    module.datetime = _Wrong
    clocks: Any = time
    clocks.time = lambda: _time() + _OFF.total_seconds()
    clocks.time_ns = lambda: _time_ns() + round(_OFF.total_seconds() * 1e9)
    clocks.clock_gettime = _wrong_clock_gettime


if _OFF:
    _set_wrong()
