"""When a run in memory is to be woken: by its timers, by the end of a back-off, by its timeout."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.store.work import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.worker.calls import Calls
    from holdfast.worker.clock import DatabaseClock

FOREVER_AWARE = FOREVER.replace(tzinfo=UTC)
"""Later than every moment that the database knows."""

_LONGEST = 3600.0


class Alarms:
    """The open timers of one run and its deadline, and the one callback that rings for the first of them."""

    __slots__ = ("_handle", "_timers", "deadline")

    def __init__(self, deadline: datetime | None) -> None:
        self.deadline = deadline
        """When the run's timeout passes; None: never, or it has rung."""
        self._timers: dict[str, datetime] = {}
        self._handle: asyncio.TimerHandle | None = None

    def set(self, key: str, deadline: datetime) -> None:
        """The workflow waits for this timer."""
        self._timers[key] = deadline

    def withdraw(self, key: str) -> None:
        """It waits no more."""
        self._timers.pop(key, None)

    def next(self, calls: Calls) -> datetime | None:
        """The first moment at which something is to be done, back-offs included."""
        if not self._timers and self.deadline is None and not calls.resting:
            return None
        moments = [*self._timers.values(), *calls.retries()]
        if self.deadline is not None:
            moments.append(self.deadline)
        return min(moments, default=None)

    def arm(self, wake: datetime | None, clock: DatabaseClock, rang: Callable[[], None]) -> None:
        """Calls ``rang`` at ``wake``, and not at any earlier wish."""
        self.disarm()
        if wake is not None and wake < FOREVER_AWARE:
            self._handle = asyncio.get_running_loop().call_later(min(clock.until(wake), _LONGEST), rang)

    @property
    def armed(self) -> bool:
        """Whether something is to ring."""
        return self._handle is not None

    def disarm(self) -> None:
        """Nothing rings any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def expired(self, now: datetime) -> bool:
        """Whether the run's timeout has passed, asked once."""
        if self.deadline is None or self.deadline > now:
            return False
        self.deadline = None
        return True

    def fired(self, now: datetime) -> list[tuple[str, datetime]]:
        """The timers whose deadline has come, taken out in the order in which they were to ring.

        So two that ring together are delivered alike on every replay.
        """
        due = [(key, deadline) for key, deadline in self._timers.items() if deadline <= now]
        due.sort(key=_by_deadline)
        for key, _ in due:
            del self._timers[key]
        return due

    def take_earliest(self, calls: Calls) -> str | None:
        """The timer that would ring first, taken out; None where a back-off ends before it: that is over now."""
        timer = min(self._timers.items(), key=_by_deadline, default=None)
        retry = calls.earliest_retry()
        if retry is not None and retry.not_before is not None and (timer is None or retry.not_before < timer[1]):
            retry.not_before = None
            return None
        if timer is None:
            return None
        del self._timers[timer[0]]
        return timer[0]


def _by_deadline(item: tuple[str, datetime]) -> tuple[datetime, int, str]:
    key, deadline = item
    return deadline, len(key), key
