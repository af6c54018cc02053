"""A job in the memory of this worker: a run of a single activity."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.core.call_options import CallOptions
from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.headers import headers_of
from holdfast.core.journal import EntryKind, attempt_key, completion_key, handed_key
from holdfast.core.lineage import lineage_of
from holdfast.core.states import Ending, Flag
from holdfast.store.work import FOREVER
from holdfast.store.writes import Beat, End, JournalWrite, Move
from holdfast.worker.alarms import FOREVER_AWARE
from holdfast.worker.attempt import Attempt, Outcome
from holdfast.worker.gate import Turn
from holdfast.worker.held import Unit
from holdfast.worker.moves import given_back, outside_line
from holdfast.worker.outside import completed, out_of_time
from holdfast.worker.said import sealed
from holdfast.worker.verdict import handed_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from holdfast.core.dispatched import Dispatched
    from holdfast.core.journal import Entry
    from holdfast.core.retry import Retry
    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.desk import Desk
    from holdfast.workflow.activity import Activity


class JobRun:
    """Executes one attempt; then ends the run, or gives it back until its back-off is over."""

    __slots__ = (
        "_attempt",
        "_beaten",
        "_came",
        "_cancelled",
        "_claimed",
        "_desk",
        "_dispatched",
        "_failed",
        "_given",
        "_handed",
        "_last_error",
        "_marked",
        "_marking",
        "_options",
        "_over",
        "_overtaken",
        "_said",
        "_seen",
        "_seq",
        "_slots",
        "_turn",
        "activity",
        "bucket",
        "crashed",
        "hold",
        "key",
        "looked_at",
        "name",
        "run_id",
    )

    def __init__(
        self,
        desk: Desk,
        bucket: Bucket,
        activity: Activity[..., Any],
        claimed: Claimed,
        *,
        journal: Sequence[Entry],
        beats: Sequence[Beat],
        dispatched: Dispatched | None = None,
    ) -> None:
        self._desk = desk
        self.activity = activity
        self._options = CallOptions.of_job(claimed.options) if dispatched is None else dispatched.options
        """What was said for this call alone."""
        if (options := self._options) is not None:
            self.activity = activity.options(timeout=options.timeout, heartbeat_timeout=options.heartbeat_timeout)
        self._dispatched = dispatched
        """The call of a workflow that it is."""
        self.key = f"{activity.name}#1" if dispatched is None else dispatched.key
        """The key of its one step."""
        self._claimed = claimed
        self.bucket = bucket
        self.run_id: UUID = claimed.run_id
        self.name = claimed.name
        self.hold = claimed.hold
        self.crashed: int = claimed.crashes
        self.looked_at = 0.0
        attempts = [entry for entry in journal if entry.kind is EntryKind.ATTEMPT]
        self._failed = len(attempts) + (0 if dispatched is None else dispatched.failed)
        self._last_error = attempts[-1].error if attempts else None
        # What the attempts so far have said by heartbeats, as it is stored: of the last one, if its worker has died.
        told = [beat.details for beat in beats if beat.attempt > self._failed]
        before = None if dispatched is None else dispatched.details
        said = (*told, *(entry.output for entry in reversed(attempts)), before)
        self._said = next((text for text in said if text is not None), None)
        self._beaten = bool(beats)
        self._seq = max((entry.seq for entry in journal), default=0)
        handed = handed_key(self.key, self._failed + 1)
        self._handed = next((entry for entry in journal if entry.key == handed), None)
        """The row that says that the attempt was handed over."""
        self._came: Letter | None = None
        """What has come for it from outside."""
        self._given = self._handed is not None
        """Whether somebody has the token of the attempt."""
        self._overtaken = False
        """Whether it is known that something has come, and not what."""
        self._seen = claimed.inbox_count
        self._attempt: Attempt | None = None
        self._cancelled = bool(claimed.flags & Flag.CANCEL)
        self._over = False
        self._marked = False
        self._marking = False
        """Whether its mark is under way: it has its slot already."""
        self._slots = 0 if self.activity.is_batch else 1
        """What is executed in a batch waits for others: meanwhile it takes none."""
        self._turn: Turn | None = None

    def begin(self) -> None:
        """Takes a slot and starts the attempt."""
        if self._over:
            return
        if self.crashed and not self._marked:
            # A worker died with this run: say durably that its code is entered, so that the next crash can be told.
            self._marked = self._marking = True
            self.bucket.running += self._slots
            self._desk.write(Unit(self, begun=True))
            return
        desk = self._desk
        if self._cancelled:
            self._end(Ending.CANCELLED, None, None)
            return
        if self._came is not None or self._handed is not None:
            self._go_on_from_outside()
            return
        claimed = self._claimed
        activity = self.activity
        remaining = desk.remaining(claimed, activity)
        if remaining is not None and remaining <= 0:
            self._end_overdue()
            return
        try:
            text = desk.seal.open(claimed.input or "{}")
            details = None if self._said is None else desk.seal.open(self._said)
        except HoldfastError as error:
            self._end(Ending.FAILED, None, Failure.of(error))
            return
        timeout = None if activity.timeout is None else activity.timeout.total_seconds()
        if remaining is not None:
            timeout = remaining if timeout is None else min(timeout, remaining)
        asked = self._dispatched
        self._attempt = Attempt(
            activity,
            text,
            # To the code of a dispatched activity it is as if it were executed by the worker of its workflow.
            run_id=self.run_id if asked is None else claimed.parent or self.run_id,
            key=self.key,
            number=self._failed + 1,
            workflow=None if asked is None else asked.workflow,
            timeout=timeout,
            owner=self,
            details=details,
            origin=_origin(claimed) if asked is None else asked.identity,
            home=None if asked is None else self.run_id,
            headers=headers_of(claimed.options),
            ask=None if activity.transactional is None else self._ask_turn,
        )
        self.bucket.running += self._slots
        desk.executor.start(self._attempt, limited=self.bucket.guests)

    def step(self) -> None:
        """The mark is durable."""
        self._end_marking()
        self.begin()

    def _end_marking(self) -> None:
        if self._marking:
            self._marking = False
            self.bucket.running -= self._slots

    def rests_until(self, now: datetime, hangs: Callable[[Attempt], bool]) -> datetime | None:
        """For ever, while its one attempt hangs; None while something of it is under way."""
        attempt = self._attempt
        return None if self._over or attempt is None or not hangs(attempt) else FOREVER_AWARE

    def attempt_beat(self, attempt: Attempt, details: str | None, progress: str | None) -> None:
        """How far it is."""
        if not self._over:
            first, self._beaten = not self._beaten, True
            seal = self._desk.seal
            beat = Beat(self.key, attempt.number, sealed(details, seal), sealed(progress, seal))
            self._desk.write(Unit(self, beats=(beat,), beaten=first))

    def attempt_done(self, attempt: Attempt, outcome: Outcome) -> None:
        """It has ended: so does the run, or another attempt follows."""
        self._attempt = None
        self._given = attempt.given
        self.bucket.running -= self._slots
        self._desk.slot_freed(self.bucket)
        if self._over:
            return
        if outcome.recorded is not None:
            self._over = True
            self._desk.recorded(Unit(self, end=End(Ending.SUCCEEDED, outcome.output, None)))
            self._desk.let_go(self)
            return
        if attempt.pulse is not None and attempt.pulse.details is not None:
            self._said = sealed(attempt.pulse.details, self._desk.seal)
        if self._came is not None:
            # It was completed while its code was still running: that holds, whatever the code gives.
            self._go_on_from_outside()
        elif outcome.later:
            row = handed_row(self.key, attempt.number, outcome, seq=self._next_seq())
            due = None if outcome.left is not None else FOREVER
            self._park((row,), due=due, after=outcome.left, waits=True)
        else:
            self._conclude(outcome)

    def _go_on_from_outside(self) -> None:
        """The attempt was handed over: something has come for it, or its time is over, or it waits on."""
        handed, came, desk = self._handed, self._came, self._desk
        now = desk.clock.now()
        elapsed = 0.0 if handed is None else max(0.0, (now - handed.at).total_seconds())
        if came is not None:
            try:
                value, failure = (None if one is None else desk.seal.open(one) for one in (came.value, came.failure))
            except HoldfastError as error:
                self._end(Ending.FAILED, None, Failure.of(error))
                return
            self._conclude(completed(self.activity, value, failure, elapsed))
        elif handed is not None and handed.not_before is not None and handed.not_before <= now:
            self._conclude(out_of_time(self.activity, elapsed))
        else:
            due = FOREVER if handed is None or handed.not_before is None else handed.not_before
            self._park((), due=due, after=None, waits=True)

    def _conclude(self, outcome: Outcome) -> None:
        if outcome.error is None:
            try:
                output = self._desk.seal.close(outcome.output or "null", what=f"the result of {self.activity.what}")
            except HoldfastError as error:
                self._end(Ending.FAILED, None, Failure.of(error))
                return
            self._end(Ending.SUCCEEDED, output, None, quiet=self._quiet)
            return
        failure = outcome.as_failure(outcome.error)
        if self._cancelled:
            self._end(Ending.CANCELLED, None, None)
            return
        number = self._failed + 1
        delay = self._policy(outcome.error).decide(outcome.error, number, random.random())
        remaining = self._desk.remaining(self._claimed, self.activity)
        if delay is None or (remaining is not None and delay.total_seconds() >= remaining):
            self._end(Ending.FAILED, None, failure, quiet=self._quiet)
            return
        if self._desk.herald.retried:
            self._desk.herald.tell_retried(self.run_id, self.key, self.activity.name, number, delay)
        rows: list[JournalWrite] = []
        if self._came is not None:
            key = completion_key(self._came.name, self._came.number)
            rows.append(JournalWrite(self._next_seq(), self._came.kind, key, None, None, None, 0, None, None, None))
        row = JournalWrite(
            seq=self._next_seq(),
            kind=EntryKind.ATTEMPT,
            key=attempt_key(self.key, number),
            digest=None,
            output=self._said,
            error=self._desk.sealed(failure),
            attempts=number,
            elapsed=outcome.elapsed,
            at=None,
            after=delay,
        )
        self._park((*rows, row), due=None, after=delay, waits=False, quiet=self._quiet)

    def _policy(self, error: BaseException) -> Retry:
        return self.activity.retry if self._options is None else self._options.policy(error)

    @property
    def _quiet(self) -> str | None:
        """The name of the attempt, if it may have been completed from outside and nobody knows of it here."""
        return attempt_key(self.key, self._failed + 1) if self._given and self._came is None else None

    def _park(
        self,
        rows: Sequence[JournalWrite],
        *,
        due: datetime | None,
        after: timedelta | None,
        waits: bool,
        quiet: str | None = None,
    ) -> None:
        """Gives the run back until then; with ``waits`` a letter makes it due before."""
        self._over = True
        move = Move(
            due=due,
            after=after,
            seen=self._seen,
            waits=waits,
            set=0,
            # Between two attempts it holds no permit.
            clear=Flag.BEGUN | (self._claimed.flags & (Flag.BLOCKED | Flag.LIMITED)),
            progress=bool(rows),
            what=outside_line(self.key) if waits else None,
        )
        forgotten = (Beat(self.key, 0, None),) if self._beaten and not waits else ()
        seen = [self._came.number] if self._came is not None else []
        self._desk.write(Unit(self, journal=rows, move=move, beats=forgotten, seen=seen, quiet=quiet))

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _ask_turn(self, attempt: Attempt, outcome: Outcome) -> Turn:
        """It is transactional, and wants to commit: nothing else of a job is written, so it may at once."""
        self._turn = Turn(self, None, _ignore)
        self._turn.grant()
        return self._turn

    @property
    def _committing(self) -> bool:
        return self._turn is not None and self._turn.under_way

    def _end_overdue(self) -> None:
        """There is no time left for another attempt: the run ends with the error of the last one, if there was one."""
        deadline = self._claimed.deadline
        over = deadline is not None and deadline <= self._desk.clock.now()
        if self._last_error is None or (over and self._dispatched is None):
            self._end(Ending.FAILED, None, self._desk.out_of_time(self._claimed))
            return
        self._over = True
        self._desk.write(Unit(self, end=End(Ending.FAILED, None, self._last_error, self._claimed.parent)))

    def _end(self, ending: Ending, output: str | None, failure: Failure | None, *, quiet: str | None = None) -> None:
        self._over = True
        error = None if failure is None else self._desk.sealed(failure)
        self._desk.write(Unit(self, end=End(ending, output, error, self._claimed.parent), quiet=quiet))

    def letters(self, letters: Sequence[Letter]) -> None:
        """A job reads no signals; a request to cancel it is obeyed at once, and its completion noted."""
        self.receive(letters)
        if any(letter.kind is EntryKind.CANCEL for letter in letters):
            self._cancel()
        elif self._overtaken and self._came is not None and not self._over:
            self._overtaken = False
            self._go_on_from_outside()

    def receive(self, letters: Sequence[Letter]) -> None:
        """Notes the completion of the attempt that it is at."""
        for letter in letters:
            self._seen = max(self._seen, letter.number)
            if letter.name == attempt_key(self.key, self._failed + 1) and letter.kind in _COMPLETIONS:
                self._came = letter

    def looked(self, seen: Seen | None) -> bool:
        """A job that was ended or moved by somebody else is dropped; one that is to be cancelled is."""
        if self._over:
            return False
        if self._committing:
            # What is seen may be its own end.
            return False
        if seen is None or seen.hold != self.hold:
            self.lost()
        elif seen.flags & (Flag.CANCEL | Flag.TERMINATE) and not self._cancelled:
            self._cancel()
        elif seen.flags & Flag.PAUSED:
            if seen.flags & Flag.AT_ONCE:
                self._return()
            else:
                self.drain()
        elif seen.inbox_count > self._seen:
            return True
        elif seen.flags & Flag.RESCHEDULED:
            # What runs is let run: the request is obeyed when it comes back.
            self.drain()
        return False

    def _cancel(self) -> None:
        self._cancelled = True
        if self._committing:
            # It has succeeded, or has not: that decides.
            return
        self._let_slot_go()
        # Also where it stands in line: it need not wait for a slot to obey.
        if not self._over:
            self._end(Ending.CANCELLED, None, None)

    def committed(self, unit: Unit, at: datetime) -> None:
        """Its end, or its move, is durable: it is not held any more. Its mark is: now its code may be entered."""
        if unit.is_beat:
            return
        if unit.begun:
            self._desk.step_soon(self)
            return
        self._desk.let_go(self)

    def overtaken(self, unit: Unit) -> Unit | None:
        """It has not ended so: what has come from outside is read, and counts."""
        self._over = False
        self._overtaken = True
        self._desk.look()
        return None

    def lost(self) -> None:
        """Not this worker's any more."""
        self._drop()
        self._desk.let_go(self)

    def rejected(self, unit: Unit, error: BaseException) -> None:
        """The database refuses its result: that is how it ends."""
        self._end_marking()
        refusal = HoldfastError(f"the database refused the result of {self.activity.what}: {error}")
        if unit.end is not None and unit.end.status is Ending.FAILED and unit.end.output is None:
            failure = Failure(type="holdfast.core.errors:HoldfastError", message="the error could not be stored")
            self._end(Ending.FAILED, None, failure)
            return
        self._end(Ending.FAILED, None, Failure.of(refusal))

    def _drop(self) -> None:
        self._over = True
        self._let_slot_go()

    def _let_slot_go(self) -> None:
        attempt, self._attempt = self._attempt, None
        marking = self._marking
        self._end_marking()
        if attempt is not None:
            attempt.abandon()
            self.bucket.running -= self._slots
        if attempt is not None or marking:
            self._desk.slot_freed(self.bucket)

    def drain(self) -> None:
        """Running code goes on until the grace is over; one that has not begun is given back at once."""
        attempt = self._attempt
        if self._over or (attempt is not None and not attempt.waiting):
            return
        self._return()

    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool:
        """It has not begun, and is not to here: somebody else may have it."""
        if self._over or self._marked or self._attempt is not None:
            return False
        self._return(after, untouched=untouched)
        return True

    def _return(self, after: timedelta | None = None, *, untouched: bool = False) -> None:
        self._drop()
        if self._came is not None:
            # What it has waited for is there.
            after = timedelta(0)
        clear = Flag.BEGUN | (self._claimed.flags & Flag.LIMITED)
        move = given_back(self._seen, clear=clear, after=after, untouched=untouched)
        self._desk.write(Unit(self, move=move))

    def close(self) -> None:
        """The worker is fenced or gone: what runs is abandoned, nothing is written."""
        self._drop()


_COMPLETIONS = (EntryKind.COMPLETED, EntryKind.FAILED)


def _origin(claimed: Claimed) -> UUID | None:
    """The run that it is a retry of."""
    if claimed.options is None:
        return None
    identity = lineage_of(claimed.options, claimed.run_id, claimed.created_at).identity
    return None if identity == claimed.run_id else identity


def _ignore(_turn: Turn, _at: datetime | None) -> None:
    """The attempt's outcome says it all."""
