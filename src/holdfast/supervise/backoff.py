"""How long to wait before something is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds, doubling from ``first`` to ``most``, each spread by a quarter so that many do not meet."""

    def __init__(self, first: float = 0.05, most: float = 2.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self) -> float:
        """The next delay."""
        now, self._next = self._next, min(self._next * 2, self._most)
        return now * random.uniform(0.75, 1.25)

    def reset(self) -> None:
        """It worked: begin again with the first delay."""
        self._next = self._first
