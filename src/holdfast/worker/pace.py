"""How often something is done that may cost more at one time than at another."""

from __future__ import annotations


class Pace:
    """Not more often than every ``shortest`` seconds, and for at most one part in ``share`` of the time."""

    __slots__ = ("_at", "_cost", "_share", "_shortest")

    def __init__(self, shortest: float, *, share: int) -> None:
        self._shortest = shortest
        self._share = share
        self._at = 0.0
        self._cost = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it may be done."""
        return self.due_in(now) < 0

    def due_in(self, now: float) -> float:
        """Seconds until it may be done."""
        return self._at + max(self._shortest, self._cost * self._share) - now

    def made(self, began: float, now: float) -> None:
        """It was done. Its cost is believed by and by: one slow by chance shall not keep the next away for long."""
        self._at = now
        self._cost = min(now - began, 2 * self._cost + 0.005)
