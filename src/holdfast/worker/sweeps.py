"""When to look below the watermarks: for what became visible late, and for what a hint has told of."""

from __future__ import annotations

_EVERY = 0.04
_SHARE = 20  # a sweep may cost a twentieth of the time


class Sweeps:
    """A sweep is a claim like any other, but it may have to walk the dead: how often depends on what the last cost."""

    __slots__ = ("_at", "_cost", "owed")

    def __init__(self) -> None:
        self._at = 0.0
        self._cost = 0.0
        self.owed = False
        """Something was told of that may lie below the watermarks."""

    def is_due(self, now: float) -> bool:
        """Whether one may be made."""
        return now - self._at > self._pace

    def made(self, began: float, now: float) -> None:
        """One was made. Its cost is believed by and by: one slow by chance shall not keep the next away for long."""
        self._at = now
        self._cost = min(now - began, 2 * self._cost + 0.005)

    def due_in(self, now: float) -> float:
        """Seconds until one may be made."""
        return self._at + self._pace - now

    @property
    def _pace(self) -> float:
        return max(_EVERY, self._cost * _SHARE)
