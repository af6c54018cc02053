"""The heartbeat of one worker: whether its lease may be renewed, what it says of itself, what it is told.

It is not renewed when the loop, or the oldest flush, has stood still for longer than a generous limit: then the worker
is not slow but stuck, and others shall have its runs. And it says that the worker is fenced before its lease can end in
the database, counted on a clock that goes on while the machine sleeps, from before the heartbeat was sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from holdfast.core.errors import WorkerFenced
from holdfast.core.worker_state import Wish, WorkerState
from holdfast.worker.lease_end import boot_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from holdfast.store import work
    from holdfast.worker.heart import Heart
    from holdfast.worker.lease_end import LeaseEnd

log = logging.getLogger("holdfast.worker")


class Heartbeat:
    """One lease, renewed by the heart of its process; calls back, in the worker's loop, with commands and with the end.

    What is below the line is called in the thread of the heart.
    """

    def __init__(
        self,
        heart: Heart,
        identity: work.Identity,
        *,
        name: str,
        lease: timedelta,
        leased_at: float,
        end: LeaseEnd,
        state: WorkerState,
        stalled: Callable[[], float],
        overflowed: Callable[[], Mapping[int, int]],
        commanded: Callable[[str | None], None],
        renewed: Callable[[], None],
        fenced: Callable[[WorkerFenced], None],
    ) -> None:
        self.name = name
        self.identity = identity
        self.state = state
        self.patience = 0.0
        """Seconds for which an answer to the beat that is under way is good."""
        self._heart = heart
        self._lease = lease.total_seconds()
        self._interval = self._lease / 3
        self._leased_at = leased_at
        self._end = end
        end.at = leased_at + self._lease
        self._stalled = stalled
        self._overflowed = overflowed
        self._overflow_told: Mapping[int, int] = {}
        self._commanded = commanded
        self._renewed = renewed
        self._fenced = fenced
        self._loop = asyncio.get_running_loop()
        self._command = Wish.PAUSE.command if state is WorkerState.PAUSED else None
        self._leaving = False
        self._over = False
        self._hurried = False
        self._due_at = float("inf")
        self._sent_at = 0.0
        self._beat_at = time.monotonic()

    def start(self) -> None:
        """Begins to beat: every third of the lease."""
        self._due_at = time.monotonic() + self._interval
        self._heart.join(self)

    def hurry(self) -> None:
        """Beats now: somebody has asked something of this worker, and the answer says what."""
        self._hurried = True
        self._heart.wake()

    def report(self, state: WorkerState) -> None:
        """Says how the worker stands: now, and with each beat."""
        if state is not self.state:
            self.state = state
            self.hurry()

    def expect_end(self) -> None:
        """The worker is about to leave: that its lease is over then is no misfortune."""
        self._leaving = True

    @property
    def was_cut_off(self) -> bool:
        """Whether its lease has run out although all was done in time to renew it: so the reason lies outside.

        A process that was frozen, or in which code has kept all threads from running, cannot say that of itself.
        """
        ran_out = boot_time() - self._leased_at >= self._lease - self._lease / 6
        return ran_out and self._heart.late_since(self._leased_at) < self._interval

    async def stop(self) -> None:
        """Stops beating; the lease is left to be given back by ``leave``, or to end."""
        self._over = True
        await self._heart.leave(self)

    # ------------------------------------------------------------------------------------------------------------------

    def due_in(self, now: float) -> float:
        """In how many seconds it is to be renewed; 0 or less: now."""
        if self._over:
            return float("inf")
        return 0.0 if self._hurried else self._due_at - now

    def may_go_along(self, now: float) -> bool:
        """Whether it is near enough to its time to be renewed together with another."""
        return self.due_in(now) <= self._interval / 4

    def begin(self) -> bool:
        """It is about to be renewed; gives whether it may be."""
        # What is asked for from here on is seen after this beat, which says all that was so before.
        self._hurried = False
        self._tell(self._note_beat)
        stall_limit = max(10 * self._lease, 300.0)
        if self._still_for() > stall_limit:
            self._give_up(f"its event loop or a flush has stood still for more than {stall_limit:.0f} s")
            return False
        self._sent_at = boot_time()
        left = self._leased_at + self._lease - self._lease / 6 - self._sent_at
        if left <= 0:
            self._give_up(f"its lease could not be renewed for {self._lease:.0f} s")
            return False
        self.patience = min(left, max(self._interval, 1.0))
        return True

    def failed(self) -> None:
        """It could not be sent, or its answer was lost."""
        self._due_at = time.monotonic() + min(self._interval / 4, 0.5)

    def answered(self, beat: work.Renewed) -> None:
        """What the database says to it."""
        if not beat.alive:
            if self._leaving:
                self._over = True
            else:
                self._give_up("the database says that its lease is over")
            return
        self._leased_at = self._sent_at
        self._end.at = self._leased_at + self._lease
        self._tell(self._renewed)
        self._due_at = time.monotonic() + self._interval
        # What is asked for holds until something else is: so an answer that is lost is no command that is lost.
        if beat.command != self._command:
            self._command = beat.command
            self._tell(self._commanded, beat.command)

    def overflow(self) -> Mapping[int, int]:
        """The buckets that have given back more than was told of them, and how much it is in all."""
        return {
            bucket: count for bucket, count in self._overflowed().items() if self._overflow_told.get(bucket) != count
        }

    def overflow_told(self, counts: Mapping[int, int]) -> None:
        """These are known now."""
        self._overflow_told = {**self._overflow_told, **counts}

    def _note_beat(self) -> None:
        self._beat_at = time.monotonic()

    def _still_for(self) -> float:
        return max(time.monotonic() - self._beat_at, self._stalled())

    def _give_up(self, why: str) -> None:
        self._over = True
        error = WorkerFenced(f"worker {self.name} has stopped itself: {why}; other workers have its runs")
        self._tell(self._fenced, error)

    def _tell(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("the worker's loop is closed")
