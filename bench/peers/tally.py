"""What a worker has executed, and when."""

from __future__ import annotations

import sys
import threading
import time

PARTS = 20
"""So many marks are set while what is expected is executed."""


class Tally:
    """Counts executions from any thread; sets a mark at each twentieth of what is expected.

    Args:
        expected: How many executions there will be; 0: nobody knows.
    """

    def __init__(self, expected: int) -> None:
        self.is_complete = threading.Event()
        self.marks: list[tuple[int, float]] = []
        self.delays: list[float] = []
        self.count = 0
        self._expected = expected
        self._next = 1
        self._lock = threading.Lock()

    def tick(self, sent: float | None = None) -> None:
        """One more has been executed; it was sent at this time, if that matters."""
        with self._lock:
            self.count += 1
            if sent is not None:
                self.delays.append((time.time() - sent) * 1000)
            if self._expected and self.count >= self._next:
                self.marks.append((self.count, time.time()))
                self._next = -(-self._expected * len(self.marks) // PARTS)
                if self.count >= self._expected:
                    self._next = sys.maxsize
                    self.is_complete.set()
