"""An attempt in a process of its own, inside of its middleware: the process is a call that is awaited."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from holdfast.worker.attempt import Attempt, Outcome
from holdfast.workflow.attempted import CompletedLater

if TYPE_CHECKING:
    from collections.abc import Callable


class Within:
    """The innermost of the chain around ``attempt``: an attempt of its own, for the processes."""

    def __init__(self, attempt: Attempt, start: Callable[[Attempt], None]) -> None:
        self._attempt = attempt
        self._start = start
        self._done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._outcome: Outcome | None = None
        self._value: Any = None

    async def call(self) -> Any:
        """The value that it gives there.

        Raises:
            CompletedLater: its outcome comes from outside.
            What it has raised, as far as its class is loaded here; ActivityTimedOut; ActivityCrashed.
        """
        outer = self._attempt
        inner = Attempt(
            outer.activity,
            outer.input,
            run_id=outer.run_id,
            key=outer.key,
            number=outer.number,
            workflow=outer.workflow,
            timeout=outer.timeout,
            owner=self,
            details=outer.details,
            origin=outer.origin,
            home=outer.home,
            headers=outer.headers,
        )
        inner.executor, inner.is_inner = outer.executor, True
        outer.inner = inner
        self._start(inner)
        try:
            outcome = await self._done
        except asyncio.CancelledError:
            inner.abandon()
            raise
        self._outcome = outcome
        if outcome.later:
            raise CompletedLater
        if outcome.error is not None:
            raise outcome.error
        self._value = outer.activity.returns.decode(outcome.output or "null")
        return self._value

    def attempt_done(self, attempt: Attempt, outcome: Outcome) -> None:
        """It has ended there."""
        self._attempt.pulse = attempt.pulse
        if not self._done.done():
            self._done.set_result(outcome)

    def attempt_beat(self, attempt: Attempt, details: str | None, progress: str | None) -> None:
        """How far it is."""
        self._attempt.pulse = attempt.pulse
        self._attempt.say(details, progress)

    def outcome_of(self, value: Any) -> Outcome:
        """What the attempt comes to, when its middleware gives this value."""
        if self._outcome is not None and self._outcome.error is None and value is self._value:
            return self._outcome
        output, _ = self._attempt.activity.returns.encode(value)
        return Outcome(output, None, time.monotonic() - self._attempt.started)

    def outcome_of_error(self, error: BaseException) -> Outcome | None:
        """The process's own, where the middleware has let its error through."""
        outcome = self._outcome
        if outcome is None or (
            outcome.error is not error and not (outcome.later and isinstance(error, CompletedLater))
        ):
            return None
        return outcome
