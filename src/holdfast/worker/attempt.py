"""One attempt at an activity, and what it gave."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ActivityTimedOut
from holdfast.core.failure import Failure
from holdfast.workflow.activity import ActivityInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from uuid import UUID

    from holdfast.workflow.activity import Activity


class Outcome:
    """What one attempt gave: JSON text, or an error. ``elapsed`` is how long its code ran.

    Where the error was raised in another process, ``failure`` is what was noted there; ``error`` is then only of the
    class that was raised, or of the nearest one of its bases that is loaded here.
    """

    __slots__ = ("elapsed", "error", "failure", "output", "timed_out")

    def __init__(
        self,
        output: str | None,
        error: BaseException | None,
        elapsed: float,
        *,
        timed_out: bool = False,
        failure: Failure | None = None,
    ) -> None:
        self.output = output
        self.error = error
        self.failure = failure
        self.elapsed = timedelta(seconds=elapsed)
        self.timed_out = timed_out

    def as_failure(self, error: BaseException) -> Failure:
        """What is to be recorded of its error."""
        if self.failure is not None:
            return self.failure
        return Failure.of(error, reason="timeout" if self.timed_out else "error")


class Attempt:
    """One attempt at an activity: what to call, how long it may take, and who wants to know."""

    __slots__ = (
        "_done",
        "activity",
        "input",
        "interrupt",
        "key",
        "number",
        "origin",
        "run_id",
        "started",
        "task",
        "timeout",
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
        done: Callable[[Attempt, Outcome], None],
        origin: UUID | None = None,
    ) -> None:
        self.activity = activity
        self.input = input_text
        self.run_id = run_id
        self.origin = origin
        self.key = key
        self.number = number
        self.workflow = workflow
        self.timeout = timeout
        self._done: Callable[[Attempt, Outcome], None] | None = done
        self.task: asyncio.Task[Any] | None = None
        self.interrupt: Callable[[], object] | None = None
        """Ends its process, while it runs in one."""
        self.started = 0.0

    @property
    def waiting(self) -> bool:
        """Whether it is in line and has not begun."""
        return not self.started and not self.abandoned

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for its outcome any more."""
        return self._done is None

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
        )

    def finish(self, outcome: Outcome) -> None:
        """Hands the outcome over, once; one that comes after it was abandoned is discarded."""
        done, self._done = self._done, None
        if done is not None:
            done(self, outcome)

    def abandon(self) -> None:
        """Nobody wants its outcome: one on the loop is cancelled, one in a process killed, one in a thread told."""
        self._done = None
        if self.task is not None:
            self.task.cancel()
        elif self.interrupt is not None:
            self.interrupt()

    def timed_out(self, elapsed: float) -> Outcome:
        """The outcome of taking longer than it may."""
        error = ActivityTimedOut(
            self.activity.name, "TimeoutError", f"took longer than {self.timeout:g} s (timeout of one attempt)"
        )
        return Outcome(None, error, elapsed, timed_out=True)
