"""Executing activities: async ones on the worker's loop, sync ones in threads or processes, within the worker's limits.

A thread cannot be cancelled: an activity that is abandoned in one keeps its place until it returns, is told through
``activity_info().cancelled``, and its outcome is discarded.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import GiveUp, HoldfastError
from holdfast.worker.attempt import NOT_FROM_OUTSIDE, Outcome
from holdfast.worker.lease_end import LeaseEnd
from holdfast.worker.process.pool import ProcessPool
from holdfast.worker.surroundings import Surroundings
from holdfast.worker.within import Within
from holdfast.workflow.attempted import CompletedLater, current_activity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.core.seal import Seal
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.post import Post
    from holdfast.worker.transactions import Transactions
    from holdfast.workflow.activity import Activity

log = logging.getLogger("holdfast.worker")


class Executor:
    """Runs attempts. Async attempts of workflows and all sync ones wait in line where the limits are reached."""

    def __init__(
        self,
        *,
        max_activities: int,
        max_threads: int,
        max_processes: int,
        transactions: Transactions,
        seal: Seal,
        relieved: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._seal = seal
        self._max_activities = max_activities
        self._max_threads = max_threads
        self._async_running = 0
        self._async_line: deque[Attempt] = deque()
        self._threads_running = 0
        self._threads_line: deque[Attempt] = deque()
        self._running_of: dict[str, int] = {}
        """Of activities that have a limit of their own, and of those in threads."""
        self._lines_of: dict[str, deque[tuple[Attempt, bool]]] = {}
        """Async attempts that wait for one of their activity to end; each with whether ``max_activities`` is for it."""
        self._transactions = transactions
        self._relieved = relieved
        self._pressed = False
        self._pool: ThreadPoolExecutor | None = None
        self.lease_end = LeaseEnd()
        """No code is entered after it."""
        self._processes = ProcessPool(most=max_processes, seal=seal, freed=self.relieve, lease_end=self.lease_end)
        self._running: set[Attempt] = set()
        self._closed = False
        self.surroundings = Surroundings()
        self._in_threads: set[Attempt] = set()
        """Inside of their middleware: whose code is in a thread now."""
        self.post: Post | None = None
        """What sends signals to children."""
        self._awaited: dict[str, Activity[..., Any]] = {}
        self.place_made: Callable[[], None] = _nothing
        """Called when one of the places is free that are waited for."""

    def is_full(self, activity: Activity[..., Any]) -> bool:
        """Whether as many attempts are in line before one at this activity as may run at once: others may have room.

        Not for a transactional one: what that waits for are connections, which the others want from the same database.
        """
        if activity.transactional is not None:
            return False
        if activity.isolation is not None:
            return self._processes.is_full
        if activity.is_async:
            most, own = activity.max_concurrency, self._lines_of.get(activity.name, ())
            return len(self._async_line) >= self._max_activities or (most is not None and len(own) >= most)
        return len(self._threads_line) >= self._max_threads and not self.has_place(activity)

    def has_place(self, activity: Activity[..., Any]) -> bool:
        """Whether an attempt at this activity would begin at once."""
        if activity.transactional is not None:
            return self._transactions.has_place
        if activity.isolation is not None:
            return self._processes.has_place
        most = activity.max_concurrency
        if most is not None and self._running_of.get(activity.name, 0) >= most:
            return False
        if activity.is_async:
            return self._async_running < self._max_activities
        # Where a thread is free, those in line are at the limits of their own.
        return self._threads_running < self._max_threads

    def await_place(self, activity: Activity[..., Any]) -> None:
        """Has ``place_made`` called, once, when there is a place for this activity."""
        self._awaited[activity.name] = activity

    @property
    def saturated(self) -> bool:
        """Whether more is in line than runs: then taking more work would only keep it from others.

        Once it was asked and answered yes, ``relieved`` is called when it is over.
        """
        self._pressed = self._too_much
        return self._pressed

    @property
    def _too_much(self) -> bool:
        return (
            len(self._async_line) > self._max_activities
            or len(self._threads_line) > self._max_threads
            or self._processes.crowded
            or self._transactions.crowded
        )

    def relieve(self) -> None:
        """Something has ended: perhaps there is room again."""
        if self._awaited and any(self.has_place(one) for one in self._awaited.values()):
            self._awaited.clear()
            self.place_made()
        if self._pressed and not self._too_much:
            self._pressed = False
            self._relieved()

    def start(self, attempt: Attempt, *, limited: bool) -> None:
        """Runs the attempt as soon as it may; ``limited`` attempts count towards ``max_activities``."""
        if self._closed:
            return
        attempt.executor = self
        if attempt.activity.transactional is not None:
            self._transactions.start(attempt)
        elif attempt.activity.isolation is not None:
            if self.surroundings.activities:
                self._start_surrounded(attempt, self._run_process(attempt))
            else:
                self._processes.start(attempt)
        elif not attempt.activity.is_async:
            self._threads_line.append(attempt)
            self._fill_threads()
        elif attempt.activity.max_concurrency is None or self._enter_limit(attempt, limited=limited):
            self._place_async(attempt, limited=limited)

    def measure(self, details: str) -> None:
        """Refuses details of a heartbeat that are too large to be stored; a codec may yet make them so.

        Raises:
            Unstorable: they are.
        """
        self._seal.measure(details, what="the details of a heartbeat")

    def flush_heartbeats(self) -> None:
        """Has all written that attempts have said and that waits for its turn: the worker is about to leave."""
        for attempt in (*self._running, *self._processes.running, *self._transactions.running):
            if attempt.pulse is not None:
                attempt.pulse.flush()

    def close(self) -> None:
        """Abandons all that runs. Processes are killed, threads that do not return are left behind."""
        self._closed = True
        self._async_line.clear()
        self._lines_of.clear()
        self._threads_line.clear()
        for attempt in list(self._running):
            attempt.abandon()
        self._processes.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def settled(self) -> None:
        """Returns when no async attempt is left, cancelled ones included, and no process."""
        tasks = [attempt.task for attempt in self._running if attempt.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        await self._processes.settled(patience=2.0)

    # -- async

    def _enter_limit(self, attempt: Attempt, *, limited: bool) -> bool:
        """Counts it among those of its activity; where these are as many as may be, it waits in a line of their own."""
        activity = attempt.activity
        running = self._running_of.get(activity.name, 0)
        if activity.max_concurrency is not None and running >= activity.max_concurrency:
            self._lines_of.setdefault(activity.name, deque()).append((attempt, limited))
            return False
        self._running_of[activity.name] = running + 1
        return True

    def _leave_limit(self, activity: Activity[..., Any]) -> None:
        """One of this activity is over: the next one has its place."""
        self._running_of[activity.name] -= 1
        line = self._lines_of.get(activity.name)
        while line and not self._closed:
            attempt, limited = line.popleft()
            if not attempt.abandoned:
                self._enter_limit(attempt, limited=limited)
                self._place_async(attempt, limited=limited)
                return

    def _place_async(self, attempt: Attempt, *, limited: bool) -> None:
        if not limited:
            self._start_async(attempt, limited=False)
        elif self._async_running < self._max_activities:
            self._async_running += 1
            self._start_async(attempt, limited=True)
        else:
            self._async_line.append(attempt)

    def _start_async(self, attempt: Attempt, *, limited: bool) -> None:
        self._running.add(attempt)
        attempt.started = time.monotonic()
        task = self.loop.create_task(self._run_async(attempt, attempt.activity.fn))
        attempt.task = task
        attempt.entered()
        task.add_done_callback(lambda task: self._async_done(attempt, task, limited=limited))

    async def _run_async(self, attempt: Attempt, code: Callable[..., Coroutine[Any, Any, Any]]) -> Outcome:
        activity = attempt.activity
        current_activity.set(attempt)
        scope: asyncio.Timeout | None = None
        try:
            args, kwargs = activity.parameters.decode(attempt.input)
            if self.lease_end.has_come:
                await self.lease_end.put_off()
            if attempt.timeout is None:
                value = await self.surroundings.call(attempt, code, args, kwargs)
            else:
                async with asyncio.timeout(attempt.timeout) as scope:
                    value = await self.surroundings.call(attempt, code, args, kwargs)
            output, _ = activity.returns.encode(value)
        except BaseException as error:
            if attempt.verdict is not None:
                return attempt.verdict
            return failed(attempt, error, timed_out=scope is not None and scope.expired())
        return Outcome(output, None, time.monotonic() - attempt.started)

    def _async_done(self, attempt: Attempt, task: asyncio.Task[Outcome], *, limited: bool) -> None:
        self._running.discard(attempt)
        attempt.task = None
        if limited:
            self._async_running -= 1
            self._fill_async()
        if attempt.activity.max_concurrency is not None:
            self._leave_limit(attempt.activity)
            self.relieve()
        elif limited:
            self.relieve()
        if task.cancelled():
            # Cancelled before its first step: nobody waits for it, or the worker goes down.
            return
        attempt.finish(task.result())

    def _fill_async(self) -> None:
        while self._async_line and self._async_running < self._max_activities:
            waiting = self._async_line.popleft()
            if not waiting.abandoned:
                self._async_running += 1
                self._start_async(waiting, limited=True)
            elif waiting.activity.max_concurrency is not None:
                self._leave_limit(waiting.activity)

    # -- threads

    def _fill_threads(self) -> None:
        line = self._threads_line
        for _ in range(len(line)):
            if self._threads_running >= self._max_threads:
                return
            attempt = line.popleft()
            if attempt.abandoned:
                continue
            most = attempt.activity.max_concurrency
            name = attempt.activity.name
            if most is not None and self._running_of.get(name, 0) >= most:
                line.append(attempt)
                continue
            self._start_thread(attempt)

    def _start_thread(self, attempt: Attempt) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._max_threads, thread_name_prefix="holdfast-activity")
        self._running.add(attempt)
        self._threads_running += 1
        name = attempt.activity.name
        self._running_of[name] = self._running_of.get(name, 0) + 1
        attempt.started = time.monotonic()
        if self.surroundings.activities:
            self._start_surrounded(attempt, self._run_async(attempt, partial(self._in_thread, attempt)))
            attempt.entered()
            return
        timer: asyncio.TimerHandle | None = None
        if attempt.timeout is not None:
            timer = self.loop.call_later(attempt.timeout, self._thread_timed_out, attempt)
        attempt.entered()
        context = contextvars.copy_context()
        context.run(current_activity.set, attempt)

        def run() -> None:
            outcome = context.run(_run_sync, attempt)
            try:
                self.loop.call_soon_threadsafe(self._thread_done, attempt, outcome, timer)
            except RuntimeError:
                # The loop is closed: the worker is gone, and nobody waits.
                log.debug("%s returned after its worker had gone", name)

        self._pool.submit(run)

    def _thread_timed_out(self, attempt: Attempt) -> None:
        elapsed = time.monotonic() - attempt.started
        attempt.finish(attempt.timed_out(elapsed))

    def _thread_done(self, attempt: Attempt, outcome: Outcome, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
        self._thread_free(attempt)
        attempt.finish(outcome)

    def _thread_free(self, attempt: Attempt) -> None:
        self._running.discard(attempt)
        self._threads_running -= 1
        self._running_of[attempt.activity.name] -= 1
        if not self._closed:
            self._fill_threads()
            self.relieve()

    # -- in threads and processes, inside of middleware, which runs on the loop

    def _start_surrounded(self, attempt: Attempt, run: Coroutine[Any, Any, Outcome]) -> None:
        self._running.add(attempt)
        attempt.started = time.monotonic()
        task = attempt.task = self.loop.create_task(run)
        task.add_done_callback(partial(self._surrounded_done, attempt))

    def _surrounded_done(self, attempt: Attempt, task: asyncio.Task[Outcome]) -> None:
        attempt.task = None
        if attempt.activity.isolation is not None:
            self._running.discard(attempt)
        elif attempt not in self._in_threads:
            self._thread_free(attempt)
        if not task.cancelled():
            attempt.finish(task.result())

    async def _in_thread(self, attempt: Attempt, *args: Any, **kwargs: Any) -> Any:
        assert self._pool is not None
        call, context = partial(attempt.activity.fn, *args, **kwargs), contextvars.copy_context()
        self._in_threads.add(attempt)
        thread = self._pool.submit(lambda: context.run(_caught, call))
        thread.add_done_callback(partial(self._left_thread, attempt))
        value, error = await asyncio.wrap_future(thread)
        if error is not None:
            raise error
        return value

    def _left_thread(self, attempt: Attempt, thread: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the worker is gone
            self.loop.call_soon_threadsafe(self._thread_returned, attempt)

    def _thread_returned(self, attempt: Attempt) -> None:
        self._in_threads.discard(attempt)
        if attempt.task is None:
            # Its middleware was through before it, because nobody waited for it any more.
            self._thread_free(attempt)

    async def _run_process(self, attempt: Attempt) -> Outcome:
        current_activity.set(attempt)
        within = Within(attempt, self._processes.start)
        try:
            value = await self.surroundings.call(attempt, within.call, (), {})
            return within.outcome_of(value)
        except BaseException as error:
            return within.outcome_of_error(error) or failed(attempt, error, timed_out=False)


def _caught(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    # Not every exception can be carried by a future.
    try:
        return call(), None
    except BaseException as error:
        return None, error


def _nothing() -> None:
    """Nobody waits for a place."""


def _run_sync(attempt: Attempt) -> Outcome:
    activity = attempt.activity
    try:
        args, kwargs = activity.parameters.decode(attempt.input)
        assert attempt.executor is not None
        if not attempt.executor.lease_end.put_off_here(lambda: attempt.abandoned):
            raise HoldfastError("the worker's lease is over")
        output, _ = activity.returns.encode(activity.fn(*args, **kwargs))
    except BaseException as error:
        return failed(attempt, error, timed_out=False)
    return Outcome(output, None, time.monotonic() - attempt.started)


def failed(attempt: Attempt, error: BaseException, *, timed_out: bool) -> Outcome:
    """The outcome of an attempt that raised, or took too long."""
    elapsed = time.monotonic() - attempt.started
    if timed_out:
        return attempt.timed_out(elapsed)
    if isinstance(error, CompletedLater):
        if not attempt.activity.transactional:
            return attempt.handed_over(elapsed)
        error = GiveUp(NOT_FROM_OUTSIDE)
    if isinstance(error, asyncio.CancelledError) and not attempt.abandoned:
        # The user's code raised it by itself: nobody has cancelled this attempt.
        error = HoldfastError(f"activity {attempt.activity.name!r} raised CancelledError without having been cancelled")
    return Outcome(None, error, elapsed)
