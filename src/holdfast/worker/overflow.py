"""Overflow: what stands in line here, and others could begin earlier, goes back.

A claim brings no more than can be begun soon. But what was taken ahead falls due all at once, and work that was quick
becomes slow. Then a line stands here, perhaps while another worker has slots that are free.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from holdfast.worker.bucket import Bucket
    from holdfast.worker.held import HeldRun
    from holdfast.worker.herald import Herald
    from holdfast.worker.timekeeper import Timekeeper

_EVERY = 0.25
"""Seconds after which a line that is still there is looked at; so long it is seen how quickly it moves."""

DELAY = timedelta(milliseconds=50)
"""What goes back is due again after this, so that it does not come back to where it was not wanted."""


class Overflow:
    """Looks at the lines of one worker as long as something stands in them, and counts what goes back."""

    def __init__(
        self, held: Mapping[UUID, HeldRun], timekeeper: Timekeeper, herald: Herald, *, idle: Callable[[], bool]
    ) -> None:
        self._held = held
        self._timekeeper = timekeeper
        self._herald = herald
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._alarms: dict[int, asyncio.TimerHandle] = {}
        self.total = 0
        """Runs that went back so far."""
        self.untold = False
        """Whether others are to hear that there is something for them, once it is written."""

    def watch(self, bucket: Bucket) -> None:
        """A line has formed here."""
        if bucket.id not in self._alarms:
            self._alarms[bucket.id] = self._loop.call_later(_EVERY, self._look, bucket)

    def evict(self, bucket: Bucket, most: int) -> None:
        """What is due needs the room of so many that are not: those that are due last go back, for their time."""
        self._count(bucket, self._timekeeper.evict(bucket, most))

    def close(self) -> None:
        """Looks no more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _look(self, bucket: Bucket) -> None:
        del self._alarms[bucket.id]
        if self._idle():
            return
        bucket.measure()
        self._count(bucket, self._shorten(bucket, bucket.excess()))
        if bucket.ready:
            self.watch(bucket)

    def _shorten(self, bucket: Bucket, most: int) -> int:
        """Gives back the last in line; what was entered by a letter stays."""
        given = 0
        stays: list[HeldRun] = []
        for _ in range(most):
            run = bucket.ready.pop()
            if self._held.get(run.run_id) is not run:
                continue
            if run.give_back(after=DELAY):
                given += 1
            else:
                stays.append(run)
        bucket.ready.extend(reversed(stays))
        return given

    def _count(self, bucket: Bucket, runs: int) -> None:
        if not runs:
            return
        self.untold = True
        self.total += runs
        bucket.overflowed += runs
        if self._herald.overflowed:
            self._herald.tell_overflowed(bucket, runs)
