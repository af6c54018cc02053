"""When the lease of a worker ends: what is asked just before code of others is entered.

A process that was frozen goes on where it was, and does not know that its time is over: its heart finds out, which
takes a moment. What would begin in this moment waits for it; then it is called off, or the lease goes on after all.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

PAUSE = 0.02
"""Seconds between two looks."""


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeaseEnd:
    """The end of one lease, by boot time. The heart sets ``at``; everybody may look, from any thread."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = float("inf")

    @property
    def has_come(self) -> bool:
        """Whether others may have what this worker holds."""
        return time.clock_gettime(_CLOCK) >= self.at

    async def put_off(self) -> None:
        """Returns when the lease goes on. Mostly it does not, and who waits here is cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            if not self.has_come:
                return

    def put_off_here(self, called_off: Callable[[], bool]) -> bool:
        """In a thread: returns when the lease goes on, with True, or when what waits here is called off."""
        while self.has_come:
            if called_off():
                return False
            time.sleep(PAUSE)
        return True
