"""The activities that one workflow run waits for, and the attempts at them that run here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from holdfast.store.writes import Beat
from holdfast.worker.alarms import FOREVER_AWARE
from holdfast.worker.attempt import Attempt, Outcome
from holdfast.worker.said import sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.core.seal import Seal
    from holdfast.store.work import Claimed
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.executor import Executor
    from holdfast.worker.writing_run import WritingRun
    from holdfast.workflow.instance import RunActivity


class Call:
    """One activity that the workflow waits for."""

    __slots__ = ("_made_at", "attempt", "beaten", "command", "details", "failed", "not_before", "unwritten")

    def __init__(self, command: RunActivity, made_at: datetime) -> None:
        self.command = command
        self._made_at = made_at
        self.failed = command.attempts
        self.not_before = command.not_before
        self.attempt: Attempt | None = None
        self.details = command.details
        """What its attempts have said last, as JSON text."""
        self.beaten = False
        """Whether something of that is in the database, beside the journal."""
        self.unwritten = False
        """Whether that is not in the journal yet."""

    def rest(self) -> None:
        """One more attempt has failed, and another follows: but not before its row is durable, and says when."""
        self.failed += 1
        self.not_before = FOREVER_AWARE
        self.unwritten = False

    def beat(self, details: str, seal: Seal) -> Sequence[Beat]:
        """What to write of what its attempt says."""
        self.beaten = True
        return (Beat(self.command.key, self.failed + 1, sealed(details, seal)),)

    def forgotten(self) -> Sequence[Beat]:
        """What to write when the attempt that said something is over: nothing, if it said nothing."""
        if not self.beaten:
            return ()
        self.beaten = False
        return (Beat(self.command.key, 0, None),)

    def listen(self, attempt: Attempt) -> None:
        """Takes note of what an attempt that is over, or abandoned, has said last."""
        if attempt.pulse is not None and attempt.pulse.details is not None:
            self.details, self.unwritten = attempt.pulse.details, True

    def left(self, now: datetime) -> float | None:
        """Seconds that are left of its total timeout; None without one."""
        total = self.command.activity.total_timeout
        if total is None:
            return None
        # A run that goes on from another one may have asked long before it was made: its time begins then.
        return (max(self.command.first_asked, self._made_at) + total - now).total_seconds()

    def is_due(self, now: datetime) -> bool:
        """Whether its next attempt could begin now."""
        return self.attempt is None and (self.not_before is None or self.not_before <= now)


class Calls:
    """The open calls of one run, by key."""

    __slots__ = ("_attempts", "_beat", "_calls", "_done", "_made_at", "_origin", "_run_id", "_said", "_workflow")

    def __init__(
        self,
        claimed: Claimed,
        identity: UUID,
        *,
        done: Callable[[Call, Outcome], None],
        beat: Callable[[Call, str], None],
    ) -> None:
        self._run_id = claimed.run_id
        self._origin = None if identity == claimed.run_id else identity
        self._workflow = claimed.name
        self._made_at = claimed.created_at
        self._done: Callable[[Call, Outcome], None] | None = done
        self._beat: Callable[[Call, str], None] | None = beat
        self._said: dict[str, tuple[int, str]] = {}
        self._calls: dict[str, Call] = {}
        self._attempts = 0

    def ask(self, command: RunActivity) -> None:
        """The workflow asks for it."""
        call = self._calls[command.key] = Call(command, self._made_at)
        if self._said:
            number, details = self._said.pop(command.key, (0, ""))
            if number > call.failed:
                call.details, call.beaten, call.unwritten = details, True, True

    def remember(self, said: Mapping[str, tuple[int, str]]) -> None:
        """What attempts whose worker has died said last: number and details by key."""
        self._said.update(said)

    def withdraw(self, key: str) -> None:
        """The workflow does not wait for it any more: what runs is abandoned."""
        call = self._calls.pop(key, None)
        if call is not None:
            self._drop(call)

    def conclude(self, call: Call) -> None:
        """Its outcome is about to be written."""
        del self._calls[call.command.key]

    def get(self, key: str) -> Call | None:
        """The call that is open under this key."""
        return self._calls.get(key)

    @property
    def running(self) -> bool:
        """Whether an attempt at one of them is under way, or in line to begin."""
        return self._attempts > 0

    @property
    def resting(self) -> bool:
        """Whether there is one at which no attempt is under way."""
        return len(self._calls) > self._attempts

    def attempts(self) -> Iterator[Attempt]:
        """The attempts that are under way, or in line to begin."""
        return (call.attempt for call in self._calls.values() if call.attempt is not None)

    def any_due(self, now: datetime) -> bool:
        """Whether an attempt could begin now."""
        return any(call.is_due(now) for call in self._calls.values())

    def retries(self) -> Iterator[datetime]:
        """When the back-offs end."""
        for call in self._calls.values():
            if call.attempt is None and call.not_before is not None:
                yield call.not_before

    def earliest_retry(self) -> Call | None:
        """The call whose back-off ends first; not one of which it is not known yet when."""
        resting = [call for call in self._calls.values() if call.attempt is None and call.not_before is not None]
        first = min(resting, key=lambda call: call.not_before or FOREVER_AWARE, default=None)
        return None if first is None or first.not_before == FOREVER_AWARE else first

    def start(self, executor: Executor, clock: DatabaseClock, run: WritingRun) -> None:
        """Begins an attempt at each that is due; ``run`` gives turns to those that commit by themselves."""
        if not self.resting:
            return
        for call in self._calls.values():
            if call.attempt is None and (call.not_before is None or call.not_before <= clock.now()):
                self._start(call, executor, clock, run)

    def _start(self, call: Call, executor: Executor, clock: DatabaseClock, run: WritingRun) -> None:
        command = call.command
        activity = command.activity
        timeout = None if activity.timeout is None else activity.timeout.total_seconds()
        if activity.total_timeout is not None:
            left = call.left(clock.now()) or 0.0
            timeout = left if timeout is None else min(timeout, left)
        call.attempt = Attempt(
            activity,
            command.input,
            run_id=self._run_id,
            key=command.key,
            number=call.failed + 1,
            workflow=self._workflow,
            timeout=timeout,
            owner=self,
            details=call.details,
            origin=self._origin,
            ask=None if activity.transactional is None else partial(run.ask_turn, call),
        )
        self._attempts += 1
        executor.start(call.attempt, limited=True)

    def attempt_done(self, attempt: Attempt, outcome: Outcome) -> None:
        """It has ended."""
        call = self._calls.get(attempt.key)
        if call is not None and call.attempt is attempt:
            call.attempt = None
            call.listen(attempt)
            self._attempts -= 1
            if self._done is not None:
                self._done(call, outcome)

    def attempt_beat(self, attempt: Attempt, details: str) -> None:
        """How far it is."""
        call = self._calls.get(attempt.key)
        if call is not None and call.attempt is attempt and self._beat is not None:
            self._beat(call, details)

    def drop_waiting(self) -> None:
        """Takes back what is in line and has not begun."""
        for call in self._calls.values():
            if call.attempt is not None and call.attempt.waiting:
                self._drop(call)

    def abandon(self) -> None:
        """Abandons every attempt; the calls stay open."""
        for call in self._calls.values():
            self._drop(call)

    def close(self) -> None:
        """Abandons every attempt, and lets go of who would be told."""
        self.abandon()
        self._calls.clear()
        self._done = None
        self._beat = None

    def _drop(self, call: Call) -> None:
        if call.attempt is not None:
            call.listen(call.attempt)
            call.attempt.abandon()
            call.attempt = None
            self._attempts -= 1
