"""One attempt at an activity, and what it gave."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.core.errors import ActivityTimedOut, GiveUp
from holdfast.core.failure import Failure
from holdfast.core.headers import NONE
from holdfast.worker.pulse import Pulse
from holdfast.workflow.attempted import ActivityInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from uuid import UUID

    from holdfast.core.headers import Headers
    from holdfast.worker.executor import Executor
    from holdfast.worker.gate import Turn
    from holdfast.workflow.activity import Activity


NOT_FROM_OUTSIDE = "a transactional activity is not completed from outside: its effects and its outcome are one commit"


class Outcome:
    """What one attempt gave: JSON text, or an error. ``elapsed`` is how long its code ran.

    Where the error was raised in another process, ``failure`` is what was noted there; ``error`` is then only of the
    class that was raised, or of the nearest one of its bases that is loaded here. One that is ``recorded`` is durable
    already, since that time, and ``output`` is as it was stored.
    """

    __slots__ = ("elapsed", "error", "failure", "later", "left", "output", "recorded", "timed_out")

    def __init__(
        self,
        output: str | None,
        error: BaseException | None,
        elapsed: float,
        *,
        timed_out: bool = False,
        failure: Failure | None = None,
        recorded: datetime | None = None,
        later: bool = False,
        left: float | None = None,
    ) -> None:
        self.later = later
        """Whether it will come from outside."""
        self.left = None if left is None else timedelta(seconds=left)
        """How long it may take until then; None: as long as it likes."""
        self.output = output
        self.error = error
        self.failure = failure
        self.elapsed = timedelta(seconds=elapsed)
        self.timed_out = timed_out
        self.recorded = recorded

    def as_failure(self, error: BaseException) -> Failure:
        """What is to be recorded of its error."""
        if self.failure is not None:
            return self.failure
        return Failure.of(error, reason="timeout" if self.timed_out else "error")


class Attempt:
    """One attempt at an activity: what to call, how long it may take, and who wants to know."""

    __slots__ = (
        "_ask",
        "_owner",
        "activity",
        "details",
        "executor",
        "given",
        "headers",
        "home",
        "inner",
        "input",
        "interrupt",
        "is_inner",
        "key",
        "number",
        "origin",
        "pulse",
        "run_id",
        "started",
        "task",
        "timeout",
        "turn",
        "verdict",
        "workflow",
    )

    def __init__(
        self,
        activity: Activity[..., Any],
        input_text: str,
        *,
        run_id: UUID,
        key: str,
        number: int,
        workflow: str | None,
        timeout: float | None,
        owner: Owner,
        details: str | None = None,
        origin: UUID | None = None,
        headers: Headers = NONE,
        home: UUID | None = None,
        ask: Callable[[Attempt, Outcome], Turn] | None = None,
    ) -> None:
        self.activity = activity
        self.input = input_text
        self.run_id = run_id
        self.origin = origin
        self.headers = headers
        self.home = home
        """The run that it is made for, where its code shall not see that: of a dispatched activity."""
        self.key = key
        self.number = number
        self.workflow = workflow
        self.timeout = timeout
        self._owner: Owner | None = owner
        self.details = details
        """What an earlier attempt said last, as JSON text."""
        self.executor: Executor | None = None
        self.pulse: Pulse | None = None
        """Its heartbeats, if it has any or must have."""
        self.task: asyncio.Task[Any] | None = None
        self.interrupt: Callable[[Outcome | None], object] | None = None
        """Ends its process, while it runs in one; it then comes to this outcome."""
        self.given = activity.isolation is not None
        """Whether somebody may have its token, and complete it. Of a process that is not known."""
        self.verdict: Outcome | None = None
        """What it comes to when it has been cancelled, because it was silent."""
        self.started = 0.0
        self.inner: Attempt | None = None
        """What it comes down to inside of its middleware, in a process of its own."""
        self.is_inner = False
        self._ask = ask
        self.turn: Turn | None = None
        """When it commits, if it is transactional and has come so far."""

    @property
    def waiting(self) -> bool:
        """Whether it is in line and has not begun."""
        if self.inner is not None and not self.inner.started:
            return not self.abandoned
        return not self.started and not self.abandoned

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for its outcome any more."""
        return self._owner is None

    def info(self) -> ActivityInfo:
        """What ``activity_info()`` gives in its code."""
        return ActivityInfo(
            run_id=self.run_id,
            key=self.key,
            name=self.activity.name,
            attempt=self.number,
            workflow=self.workflow,
            is_cancelled=lambda: self.abandoned,
            origin=self.origin,
            home=self.home,
            details_text=self.details,
            give=self._give,
            headers=self.headers,
        )

    def _give(self) -> None:
        if self.activity.transactional is not None:
            raise GiveUp(NOT_FROM_OUTSIDE)
        self.given = True

    def entered(self) -> None:
        """Its code is entered: from now on it is to be heard of."""
        if self.activity.heartbeat_timeout is not None:
            self._pulse().begin()
        if self.executor is not None and self.executor.surroundings.herald.started:
            self.executor.surroundings.herald.tell_started(self)

    def beat(self, details: str | None, progress: str | None = None) -> bool:
        """It is alive, and this far, as JSON text; gives whether its outcome is still wanted. From any thread.

        ``details`` are for the next attempt, ``progress`` is for people.

        Raises:
            Unstorable: the details are too large.
        """
        if self.abandoned or self.executor is None:
            return False
        if details is not None:
            self.executor.measure(details)
        self._pulse().beat(details, progress)
        return not self.abandoned

    def say(self, details: str | None, progress: str | None) -> None:
        """This is to be written of what it has said."""
        if self._owner is not None:
            self._owner.attempt_beat(self, details, progress)

    async def send_signal(self, run_id: UUID, name: str, payload: str, key: str) -> None:
        """Sends a signal to a child of its run."""
        assert self.executor is not None
        assert self.executor.post is not None
        await self.executor.post.send(run_id, name, payload, key)

    def ask_turn(self, outcome: Outcome) -> Turn:
        """The turn in which it may commit this outcome, as it is to be stored, together with its effects."""
        assert self._ask is not None
        self.turn = self._ask(self, outcome)
        return self.turn

    def finish(self, outcome: Outcome) -> None:
        """Hands the outcome over, once; one that comes after it was abandoned is discarded."""
        owner, self._owner = self._owner, None
        if self.pulse is not None:
            self.pulse.close()
        if owner is not None:
            if self.executor is not None and self.executor.surroundings.herald.done and not self.is_inner:
                self.executor.surroundings.herald.tell_done(self, outcome)
            owner.attempt_done(self, outcome)

    def abandon(self) -> None:
        """Nobody wants its outcome: one on the loop is cancelled, one in a process killed, one in a thread told."""
        self._owner = None
        if self.pulse is not None:
            self.pulse.close()
        if self.turn is not None:
            self.turn.withdraw()
        if self.task is not None:
            self.task.cancel()
        elif self.interrupt is not None:
            self.interrupt(None)

    def handed_over(self, elapsed: float) -> Outcome:
        """The outcome of leaving it to others."""
        return Outcome(
            None, None, elapsed, later=True, left=None if self.timeout is None else max(0.0, self.timeout - elapsed)
        )

    def timed_out(self, elapsed: float) -> Outcome:
        """The outcome of taking longer than it may."""
        error = ActivityTimedOut(
            self.activity.name, "TimeoutError", f"took longer than {self.timeout:g} s (timeout of one attempt)"
        )
        return Outcome(None, error, elapsed, timed_out=True)

    def _pulse(self) -> Pulse:
        if self.pulse is None:
            assert self.executor is not None
            limit = self.activity.heartbeat_timeout
            with _MAKING:
                # The code of an activity may have threads of its own.
                if self.pulse is None:
                    self.pulse = Pulse(
                        self.executor.loop,
                        limit=None if limit is None else limit.total_seconds(),
                        write=self.say,
                        silent=self._silent,
                    )
        return self.pulse

    def _silent(self) -> None:
        """Nothing was heard of it for too long."""
        limit = self.activity.heartbeat_timeout
        assert limit is not None
        error = ActivityTimedOut(
            self.activity.name, "TimeoutError", f"no heartbeat for {limit.total_seconds():g} s (heartbeat_timeout)"
        )
        outcome = Outcome(None, error, time.monotonic() - self.started, timed_out=True)
        if self.task is not None:
            self.verdict = outcome
            self.task.cancel()
        elif self.interrupt is not None:
            self.interrupt(outcome)
        else:
            self.finish(outcome)


class Owner(Protocol):
    """Who has asked for an attempt."""

    def attempt_done(self, attempt: Attempt, outcome: Outcome) -> None:
        """It has ended."""
        ...

    def attempt_beat(self, attempt: Attempt, details: str | None, progress: str | None) -> None:
        """How far it is: to be written."""
        ...


_MAKING = threading.Lock()
