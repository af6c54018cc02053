"""Intervals: ticks at equal distances from an anchor, on the scale of real time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from holdfast.core.errors import InvalidSchedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The anchor of intervals that have no other: so every 15 minutes are the quarters of an hour, in UTC."""

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Every:
    """Every ``interval``, counted from ``anchor``: a tick is due when it is, however late the one before was made.

    Raises:
        InvalidSchedule: the interval is shorter than a second or longer than ten years.
    """

    interval: timedelta
    anchor: datetime = EPOCH

    def __post_init__(self) -> None:
        if not _is_span(self.interval):
            raise InvalidSchedule(
                f"every {self.interval}",
                6,
                f"use a timedelta from 1 second to {LONGEST.days} days, not {self.interval!r}",
            )

    @property
    def zone(self) -> str:
        """Intervals count real time."""
        return "UTC"

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than ``moment``; None: the calendar ends before."""
        try:
            return self.anchor + ((moment - self.anchor) // self.interval + 1) * self.interval
        except OverflowError:
            return None

    def until(self, moment: datetime) -> datetime | None:
        """The last tick that is not later than ``moment``."""
        try:
            return self.anchor + ((moment - self.anchor) // self.interval) * self.interval
        except OverflowError:
            return None

    def __str__(self) -> str:
        anchor = "" if self.anchor == EPOCH else f" from {self.anchor.isoformat()}"
        return f"every {_words(self.interval)}{anchor}"


def _is_span(value: object) -> bool:
    return isinstance(value, timedelta) and SHORTEST <= value <= LONGEST


def _words(span: timedelta) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count = span / timedelta(seconds=length)
        if count >= 1 and count == int(count):
            return unit if count == 1 else f"{int(count)} {unit}s"
    return f"{span.total_seconds():g} seconds"
