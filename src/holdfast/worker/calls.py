"""The activities that one workflow run waits for, and the attempts at them that run here."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from holdfast.core.journal import EntryKind, attempt_key, handed_attempt
from holdfast.store.writes import Beat
from holdfast.worker.alarms import FOREVER_AWARE
from holdfast.worker.attempt import Attempt, Outcome
from holdfast.worker.outside import is_over, outcome_of
from holdfast.worker.said import sealed
from holdfast.workflow.outside import Outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.core.journal import Entry
    from holdfast.core.seal import Seal
    from holdfast.store.work import Claimed
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.executor import Executor
    from holdfast.worker.writing_run import WritingRun
    from holdfast.workflow.instance import RunActivity


ABOUT_ATTEMPTS = frozenset({EntryKind.ATTEMPT, EntryKind.HANDED, EntryKind.COMPLETED, EntryKind.FAILED})
"""Rows that say something of an attempt, and are no outcome."""


class Call:
    """One activity that the workflow waits for."""

    __slots__ = (
        "_made_at",
        "attempt",
        "beaten",
        "command",
        "details",
        "expected",
        "failed",
        "given",
        "not_before",
        "outside",
        "unwritten",
    )

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
        self.outside = command.outside
        """What is known of its attempt, if that was handed over."""
        self.given = False
        """Whether its attempt has given its token away."""
        self.expected = False
        """Whether something has come for its attempt, and is about to be journaled: until then it has no other end."""

    def rest(self) -> None:
        """One more attempt has failed, and another follows: but not before its row is durable, and says when."""
        self.failed += 1
        self.not_before = FOREVER_AWARE
        self.unwritten = False
        self.outside = None
        self.given = False

    def hand_over(self) -> None:
        """Its outcome comes from outside; how long that may take is known when its row is durable."""
        self.outside = (self.outside or Outside())._replace(until=None)

    def recorded(self, entry: Entry) -> None:
        """A row about one of its attempts is durable."""
        if entry.kind is EntryKind.ATTEMPT:
            self.not_before = entry.not_before
        elif entry.kind is EntryKind.HANDED:
            self.outside = (self.outside or Outside())._replace(handed_at=entry.at, until=entry.not_before)
        elif handed_attempt(entry.key)[1] == self.failed + 1:
            self.outside = (self.outside or Outside())._replace(came=entry)
            self.expected = False

    @property
    def quiet(self) -> str | None:
        """The name of its attempt, if that may have been completed from outside and nobody knows of it here."""
        known = self.outside is not None and self.outside.came is not None
        open_to_others = self.given or self.outside is not None
        return attempt_key(self.command.key, self.failed + 1) if open_to_others and not known else None

    def beat(self, details: str | None, progress: str | None, seal: Seal) -> Sequence[Beat]:
        """What to write of what its attempt says."""
        self.beaten = True
        return (Beat(self.command.key, self.failed + 1, sealed(details, seal), sealed(progress, seal)),)

    def forgotten(self) -> Sequence[Beat]:
        """What to write when the attempt that said something is over: nothing, if it said nothing."""
        if not self.beaten or self.outside is not None:
            return ()
        self.beaten = False
        return (Beat(self.command.key, 0, None),)

    def listen(self, attempt: Attempt) -> None:
        """Takes note of what an attempt that is over, or abandoned, has said last."""
        if attempt.pulse is not None and attempt.pulse.details is not None:
            self.details, self.unwritten = attempt.pulse.details, True

    @property
    def is_resting(self) -> bool:
        """Whether it waits for the end of a back-off."""
        return self.attempt is None and self.outside is None and self.not_before is not None

    def left(self, now: datetime) -> float | None:
        """Seconds that are left of its total timeout; None without one."""
        total = self.command.activity.total_timeout
        if total is None:
            return None
        # A run that goes on from another one may have asked long before it was made: its time begins then.
        return (max(self.command.first_asked, self._made_at) + total - now).total_seconds()

    def is_due(self, now: datetime) -> bool:
        """Whether its next attempt could begin now, or something has come of one that was handed over."""
        if self.outside is not None and (self.attempt is None or self.outside.came is not None):
            return self.outside.came is not None or (not self.expected and is_over(self.outside, now))
        return self.attempt is None and (self.not_before is None or self.not_before <= now)


class Calls:
    """The open calls of one run, by key."""

    __slots__ = (
        "_attempts",
        "_beat",
        "_calls",
        "_done",
        "_ended",
        "_lane",
        "_made_at",
        "_origin",
        "_run_id",
        "_said",
        "_workflow",
    )

    def __init__(
        self,
        claimed: Claimed,
        identity: UUID,
        *,
        done: Callable[[Call, Outcome], None],
        beat: Callable[[Call, str | None, str | None], None],
    ) -> None:
        self._run_id = claimed.run_id
        self._origin = None if identity == claimed.run_id else identity
        self._workflow = claimed.name
        self._lane = claimed.lane
        self._made_at = claimed.created_at
        self._done: Callable[[Call, Outcome], None] | None = done
        self._beat: Callable[[Call, str | None, str | None], None] | None = beat
        self._said: dict[str, tuple[int, str]] = {}
        self._calls: dict[str, Call] = {}
        self._attempts = 0
        self._ended: dict[str, tuple[Call, int, Outside | None]] = {}
        """Attempts whose ends are not durable, and may be overtaken by what comes from outside: how it was before."""

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
        call.outside = None
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
        """When the back-offs end, and the time of what was handed over."""
        for call in self._calls.values():
            if call.attempt is None:
                until = call.not_before if call.outside is None else call.outside.until
                if until is not None:
                    yield until

    def earliest_retry(self) -> Call | None:
        """The call whose back-off ends first; not one of which it is not known yet when."""
        resting = [call for call in self._calls.values() if call.is_resting]
        first = min(resting, key=lambda call: call.not_before or FOREVER_AWARE, default=None)
        return None if first is None or first.not_before == FOREVER_AWARE else first

    def start(
        self, executor: Executor, clock: DatabaseClock, run: WritingRun
    ) -> Sequence[tuple[Call, timedelta | None]]:
        """Begins an attempt at each that is due, and tells of what has come of those that were handed over.

        ``run`` gives turns to those that commit by themselves. Gives those that are to be dispatched, with the time
        that they have left: they have another lane, or limits, or there is no room for them here.
        """
        if not self.resting:
            return ()
        handed: list[Call] = []
        away: list[tuple[Call, timedelta | None]] = []
        for call in self._calls.values():
            if call.attempt is not None:
                continue
            if call.outside is not None:
                handed.append(call)
            elif call.not_before is None or call.not_before <= clock.now():
                activity = call.command.activity
                elsewhere = activity.lane is not None and activity.lane != self._lane
                if elsewhere or activity.tickets or executor.is_full(activity):
                    left = call.left(clock.now())
                    if left is None or left > 0:
                        away.append((call, None if left is None else timedelta(seconds=left)))
                        continue
                self._start(call, executor, clock, run)
        for call, _ in away:
            del self._calls[call.command.key]
        for call in handed:
            if call.outside is None or (call.expected and call.outside.came is None):
                continue
            outcome = outcome_of(call.outside, call.command.activity, clock.now())
            if outcome is not None and self._done is not None:
                self._done(call, outcome)
        return away

    def keep(self, call: Call, executor: Executor, clock: DatabaseClock, run: WritingRun) -> None:
        """Begins one here all the same, which was to be dispatched: where there is no room it waits in line."""
        self._calls[call.command.key] = call
        self._start(call, executor, clock, run)

    @property
    def handed_over(self) -> list[str]:
        """The keys of those whose outcome comes from outside."""
        return [call.command.key for call in self._calls.values() if call.outside is not None]

    def expect(self, attempt: str) -> None:
        """Something has come for this attempt from outside, and is about to be journaled."""
        key, _, number = attempt.rpartition("@")
        call = self._calls.get(key)
        if call is not None and call.failed + 1 == int(number):
            call.expected = True

    def note_end(self, call: Call) -> str | None:
        """Its attempt is about to end. Gives its name, if that may be overtaken by what comes from outside."""
        quiet = call.quiet
        if quiet is not None:
            self._ended[quiet] = (call, call.failed, call.outside)
        return quiet

    def end_noted(self, quiet: str) -> None:
        """The end of this attempt is durable."""
        self._ended.pop(quiet, None)

    def undo_end(self, quiet: str) -> None:
        """The attempt has not ended by itself: it was completed from outside before, and that is about to be read."""
        call, failed, outside = self._ended.pop(quiet)
        call.failed, call.outside, call.expected = failed, outside or Outside(), True
        call.not_before = None
        self._calls[call.command.key] = call

    def recorded(self, entry: Entry) -> None:
        """A row about an attempt is durable."""
        key = handed_attempt(entry.key)[0] if entry.kind is not EntryKind.ATTEMPT else entry.key.rpartition("@")[0]
        call = self._calls.get(key)
        if call is not None:
            call.recorded(entry)

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
            headers=run.headers,
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
            call.given = attempt.given
            if call.outside is not None and call.outside.came is not None:
                # It was completed while its code was still running: that holds, whatever the code gives.
                outcome = outcome_of(call.outside, attempt.activity, call.outside.came.at) or outcome
            self._attempts -= 1
            if call.expected:
                # It was completed from outside while its code was still running, and that is about to be durable.
                call.outside = call.outside or Outside()
            elif self._done is not None:
                self._done(call, outcome)

    def attempt_beat(self, attempt: Attempt, details: str | None, progress: str | None) -> None:
        """How far it is."""
        call = self._calls.get(attempt.key)
        if call is not None and call.attempt is attempt and self._beat is not None:
            self._beat(call, details, progress)

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
