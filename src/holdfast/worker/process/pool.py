"""The processes of one worker: so many at once, each for one attempt at a time.

An attempt that takes too long, or whose outcome nobody wants any more, is told so and has a moment to end; then its
process is killed. Another takes its place when it is needed. A process that ends by itself fails its attempt, which is
tried again like any other that failed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

from holdfast.core.errors import ActivityCrashed, HoldfastError
from holdfast.core.failure import Failure
from holdfast.worker.attempt import Attempt, Outcome
from holdfast.worker.lease_end import PAUSE, LeaseEnd
from holdfast.worker.process.host import Host
from holdfast.worker.raised import as_raised
from holdfast.workflow.log_context import of_run, worker_here
from holdfast.workflow.reference import Reference, main_of_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.core.seal import Seal
    from holdfast.worker.process.wire import Message

log = logging.getLogger("holdfast.worker")

MOMENT = 0.5
"""Seconds that an attempt which was told to end may take for it."""

START = 60.0
"""Seconds that a process may take to begin: it has to import the module of the activity."""


class _Seat:
    """One process, and the attempt that it is at."""

    __slots__ = ("attempt", "host", "limit", "verdict")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.attempt: Attempt | None = None
        self.limit: asyncio.TimerHandle | None = None
        self.verdict: Outcome | None = None
        """What its attempt comes to when it has ended, because it was told to."""


class ProcessPool:
    """Runs attempts in processes; those for which there is none wait in line."""

    def __init__(self, *, most: int, seal: Seal, freed: Callable[[], None], lease_end: LeaseEnd) -> None:
        self._loop = asyncio.get_running_loop()
        self._seal = seal
        self._most = most
        self._freed = freed
        self._lease_end = lease_end
        self._line: deque[Attempt] = deque()
        self._seats: dict[Host, _Seat] = {}
        self._idle: list[_Seat] = []
        self._closed = False
        self._empty: asyncio.Future[None] | None = None

    @property
    def crowded(self) -> bool:
        """Whether more is in line than can run at once."""
        return len(self._line) > self._most

    @property
    def is_full(self) -> bool:
        """Whether as many are in line as can run at once."""
        return len(self._line) >= self._most

    @property
    def has_place(self) -> bool:
        """Whether an attempt would begin at once."""
        return not self._line and (bool(self._idle) or len(self._seats) < self._most)

    @property
    def running(self) -> Iterator[Attempt]:
        """The attempts that have a process."""
        return (seat.attempt for seat in self._seats.values() if seat.attempt is not None)

    def start(self, attempt: Attempt) -> None:
        """Runs the attempt as soon as there is a process for it."""
        self._line.append(attempt)
        self._fill()

    def close(self) -> None:
        """Kills all of them at once."""
        self._closed = True
        self._line.clear()
        for seat in self._seats.values():
            if seat.attempt is not None:
                seat.attempt.interrupt = None
                seat.attempt.abandon()
            self._stop_clock(seat)
            seat.host.kill()

    async def settled(self, patience: float) -> None:
        """Returns when none is left after ``close``, or the patience has come to its end."""
        if self._seats:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=patience)

    # -- an attempt's way

    def _fill(self) -> None:
        while self._line and not self._closed:
            if not self._idle and len(self._seats) >= self._most:
                return
            if self._lease_end.has_come:
                self._loop.call_later(PAUSE, self._fill)
                return
            attempt = self._line.popleft()
            if attempt.abandoned:
                continue
            try:
                seat = self._idle.pop() if self._idle else self._new_seat()
            except OSError as error:
                attempt.started = time.monotonic()
                attempt.finish(Outcome(None, _crash(attempt, f"its process could not be started: {error}"), 0.0))
                continue
            self._begin(seat, attempt)

    def _new_seat(self) -> _Seat:
        host = Host(self._loop, said=self._said, gone=self._gone)
        seat = self._seats[host] = _Seat(host)
        host.send(
            {
                "do": "prepare",
                "level": logging.getLogger().getEffectiveLevel(),
                "main": main_of_script(),
                "worker": worker_here(),
            }
        )
        return seat

    def _begin(self, seat: _Seat, attempt: Attempt) -> None:
        activity = attempt.activity
        seat.attempt = attempt
        attempt.started = time.monotonic()
        attempt.interrupt = lambda verdict: self._end_soon(seat, verdict)
        seat.limit = self._loop.call_later(START, self._never_began, seat)
        seat.host.send(
            {
                "do": "run",
                "at": list(Reference.of(activity.fn, what=activity.what)),
                "name": activity.name,
                "input": attempt.input,
                "run_id": str(attempt.run_id),
                "home": None if attempt.home is None else str(attempt.home),
                "origin": None if attempt.origin is None else str(attempt.origin),
                "key": attempt.key,
                "number": attempt.number,
                "workflow": attempt.workflow,
                "details": attempt.details,
                "headers": dict(attempt.headers),
                "limit": self._seal.limit,
            }
        )

    def _said(self, host: Host, message: Message) -> None:
        seat = self._seats[host]
        match message["say"]:
            case "log":
                logger = logging.getLogger(message["record"]["name"])
                if logger.isEnabledFor(message["record"]["levelno"]):
                    logger.handle(logging.makeLogRecord(message["record"]))
            case "begun":
                self._began(seat)
            case "beat":
                if seat.attempt is not None and seat.verdict is None:
                    seat.attempt.beat(message["details"], message["progress"])
            case _:
                self._finish(seat, message)

    def _began(self, seat: _Seat) -> None:
        """Its code is entered: from now on it is on the clock."""
        attempt = seat.attempt
        if attempt is None or seat.verdict is not None or attempt.abandoned:
            return
        self._stop_clock(seat)
        attempt.started = time.monotonic()
        attempt.entered()
        if attempt.timeout is not None:
            seat.limit = self._loop.call_later(attempt.timeout, self._timed_out, seat)

    def _timed_out(self, seat: _Seat) -> None:
        attempt = seat.attempt
        if attempt is not None:
            self._end_soon(seat, attempt.timed_out(time.monotonic() - attempt.started))

    def _never_began(self, seat: _Seat) -> None:
        if seat.attempt is not None:
            seat.verdict = Outcome(None, _crash(seat.attempt, f"its process had not begun after {START:g} s"), START)
            seat.host.kill()

    def _end_soon(self, seat: _Seat, verdict: Outcome | None) -> None:
        self._stop_clock(seat)
        seat.verdict = verdict
        seat.host.send({"do": "end"})
        seat.limit = self._loop.call_later(MOMENT, seat.host.kill)

    def _finish(self, seat: _Seat, message: Message) -> None:
        attempt = self._leave(seat)
        if attempt is None:
            return
        self._idle.append(seat)
        verdict, seat.verdict = seat.verdict, None
        if message["details"] is not None and verdict is None:
            attempt.beat(message["details"])
        self._fill()
        self._freed()
        attempt.finish(verdict or _outcome(attempt, message))

    def _gone(self, host: Host, code: int) -> None:
        seat = self._seats.pop(host)
        if seat in self._idle:
            self._idle.remove(seat)
        attempt = self._leave(seat)
        if self._closed:
            if self._empty is not None and not self._seats and not self._empty.done():
                self._empty.set_result(None)
            return
        self._fill()
        self._freed()
        if attempt is None or attempt.abandoned:
            return
        elapsed = time.monotonic() - attempt.started
        if seat.verdict is None:
            log.warning(
                "the process %d of %s %s",
                host.pid,
                attempt.activity.what,
                _ending(code),
                extra=of_run(attempt.run_id, attempt.workflow or attempt.activity.name),
            )
        attempt.finish(seat.verdict or Outcome(None, _crash(attempt, f"its process {_ending(code)}"), elapsed))

    def _leave(self, seat: _Seat) -> Attempt | None:
        self._stop_clock(seat)
        attempt, seat.attempt = seat.attempt, None
        if attempt is not None:
            attempt.interrupt = None
        return attempt

    @staticmethod
    def _stop_clock(seat: _Seat) -> None:
        if seat.limit is not None:
            seat.limit.cancel()
            seat.limit = None


def _outcome(attempt: Attempt, message: Message) -> Outcome:
    if message["say"] == "value":
        return Outcome(message["output"], None, message["elapsed"])
    if message["say"] == "later":
        return attempt.handed_over(message["elapsed"])
    failure = Failure.from_json(message["failure"])
    error = as_raised(failure, message["bases"], message["retry_after"])
    return Outcome(None, error, message["elapsed"], failure=failure)


def _crash(attempt: Attempt, how: str) -> HoldfastError:
    return ActivityCrashed(attempt.activity.name, "ProcessDied", how)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
