"""The heartbeat: renews the lease from a thread and a connection of its own.

So a handler that blocks the event loop loses nothing. It stops renewing when the loop, or the oldest flush, has stood
still for longer than a generous limit: then the worker is not slow but stuck, and others shall have its runs. And it
says that the worker is fenced before its lease can end in the database, counted on a clock that goes on while the
machine sleeps, from before the heartbeat was sent.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.core.errors import WorkerFenced
from holdfast.core.worker_state import Wish, WorkerState
from holdfast.store import work
from holdfast.store.connect import said
from holdfast.store.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.worker")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class Heartbeat:
    """Renews one lease until it is stopped; calls back, in the worker's loop, with commands and with the end."""

    def __init__(
        self,
        dsn: str,
        statements: Statements,
        identity: work.Identity,
        *,
        name: str,
        lease: timedelta,
        leased_at: float,
        transaction_timeout: timedelta | None,
        state: WorkerState,
        stalled: Callable[[], float],
        commanded: Callable[[str | None], None],
        renewed: Callable[[], None],
        fenced: Callable[[WorkerFenced], None],
    ) -> None:
        self._dsn = dsn
        self._statements = statements
        self._identity = identity
        self._name = name
        self._lease = lease.total_seconds()
        self._leased_at = leased_at
        self._transaction_timeout = transaction_timeout
        self._stalled = stalled
        self._commanded = commanded
        self._renewed = renewed
        self._fenced = fenced
        self._loop = asyncio.get_running_loop()
        self._state = state
        self._command = Wish.PAUSE.command if state is WorkerState.PAUSED else None
        self._leaving = False
        self._stopping = False
        self._wake = threading.Event()
        self._beat_at = time.monotonic()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="holdfast heartbeat", daemon=True
        )

    def start(self) -> None:
        """Begins to beat: every third of the lease."""
        self._thread.start()

    def hurry(self) -> None:
        """Beats now: somebody has asked something of this worker, and the answer says what."""
        self._wake.set()

    def report(self, state: WorkerState) -> None:
        """Says how the worker stands: now, and with each beat."""
        if state is not self._state:
            self._state = state
            self.hurry()

    def expect_end(self) -> None:
        """The worker is about to leave: that its lease is over then is no misfortune."""
        self._leaving = True

    async def stop(self) -> None:
        """Stops beating; the lease is left to be given back by ``leave``, or to end."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, 5.0)

    def _run(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        link = Link(
            self._dsn,
            self._statements,
            application=f"holdfast heartbeat {self._name}",
            transaction_timeout=self._transaction_timeout,
        )
        interval = self._lease / 3
        margin = self._lease / 6
        stall_limit = max(10 * self._lease, 300.0)
        due = time.monotonic() + interval
        try:
            while not await self._stopped(due - time.monotonic()):
                self._tell(self._note_beat)
                if self._still_for() > stall_limit:
                    self._give_up(f"its event loop or a flush has stood still for more than {stall_limit:.0f} s")
                    return
                sent = boot_time()
                left = self._leased_at + self._lease - margin - sent
                if left <= 0:
                    self._give_up(f"its lease could not be renewed for {self._lease:.0f} s")
                    return
                try:
                    async with asyncio.timeout(min(left, max(interval, 1.0))), link.session() as session:
                        beat = await work.heartbeat(session, self._identity, self._state)
                except Exception as error:
                    link.discard()
                    log.warning("heartbeat of %s failed: %s", self._name, said(error))
                    due = time.monotonic() + min(interval / 4, 0.5)
                    continue
                if not beat.alive:
                    if self._leaving:
                        return
                    self._give_up("the database says that its lease is over")
                    return
                self._leased_at = sent
                self._tell(self._renewed)
                due = time.monotonic() + interval
                # What is asked for holds until something else is: so an answer that is lost is no command that is lost.
                if beat.command != self._command:
                    self._command = beat.command
                    self._tell(self._commanded, beat.command)
        finally:
            await link.close()

    async def _stopped(self, seconds: float) -> bool:
        # A thread's event has no place in a loop; this thread has nothing else to do.
        self._wake.wait(max(0.0, seconds))
        # What is set from here on is seen after the next beat, which says all that was so before.
        self._wake.clear()
        return self._stopping

    def _note_beat(self) -> None:
        self._beat_at = time.monotonic()

    def _still_for(self) -> float:
        return max(time.monotonic() - self._beat_at, self._stalled())

    def _give_up(self, why: str) -> None:
        error = WorkerFenced(f"worker {self._name} has stopped itself: {why}; other workers have its runs")
        self._tell(self._fenced, error)

    def _tell(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("the worker's loop is closed")
