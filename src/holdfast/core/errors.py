"""Every error that Holdfast raises, as one tree.

    HoldfastError
    ├── ConfigurationError       settings that cannot work, all mistakes at once
    ├── DefinitionError          a workflow, activity or signal that cannot be registered
    │   └── UnknownName          a name that the app does not know
    ├── UnknownWorkflow          no workflow of this name is driven by hand
    ├── InvalidInput             arguments or payload that do not fit the annotations
    ├── ScheduleError            about one schedule
    │   ├── InvalidSchedule      its times cannot be read, or never come; says at which place of the text
    │   ├── ScheduleNotFound     no schedule has this name
    │   └── ScheduleExists       the name belongs to another schedule
    ├── WorkerNotFound           no worker has this name, or serves this lane
    ├── Unstorable               a value that cannot be stored as JSON, or is too large
    ├── Unreadable               a stored value that this process cannot read: its codec is missing or another one
    ├── DatabaseError            the database said no
    │   ├── DatabaseUnavailable  it cannot be reached, or refuses connections
    │   ├── AccessDenied         wrong password, missing right, read-only
    │   └── SchemaMismatch       no schema, or one that this code does not run on
    ├── EmbeddedError            the embedded Postgres cannot be started or used
    │   └── BinariesNotFound     no Postgres programs to start it with
    ├── RunError                 about one run
    │   ├── RunNotFound          no run has this id
    │   ├── RunEnded             the run has ended: it takes no signals any more
    │   ├── CompletionRefused    an activity that is completed already, or whose attempt is over
    │   ├── UpdateRejected       the run, or its validator, has refused the update
    │   ├── ReplyTimeout         the update has not been answered yet (also a TimeoutError)
    │   ├── KeyConflict          the key belongs to a run with another input
    │   ├── KeyTaken             the key belongs to a run, and the start was to be refused then
    │   ├── ReceiptLost          the message or the run is not in these hands any more
    │   ├── RunPaused            somebody has paused the run: no step of it is to be begun
    │   ├── StepEnded            the step has an outcome already
    │   ├── StepNotDue           the step is to be tried again, but not yet
    │   ├── OperationRefused     what was asked of the run does not go with how it stands
    │   ├── ResultTimeout        the run has not ended yet (also a TimeoutError)
    │   ├── RunFailed            the run ended with an error
    │   │   └── RunTimedOut      because its timeout passed
    │   └── RunCancelled         the run was cancelled
    ├── ActivityFailed           what an activity raised, where its own class cannot be rebuilt
    │   ├── ActivityTimedOut     it took longer than its timeout
    │   └── ActivityCrashed      the process that it ran in died
    ├── ChildFailed              what a child raised, where its own class cannot be rebuilt
    │   ├── ChildTimedOut        its timeout has passed
    │   └── ChildCancelled       it was cancelled
    ├── CompensationFailed       a saga could not undo all that it has done (also an ExceptionGroup)
    ├── JournalFull              a run has recorded as much as a journal may hold; it fails
    ├── MissingClass             an exception to be raised again whose class this process has not loaded; blocks the run
    ├── NonDeterminismError      the code asks for something else than the journal holds; blocks the run
    ├── ForbiddenInWorkflow      I/O, threads or foreign futures in workflow code
    ├── ResourceClosed           a resource was asked for where no worker has it open
    ├── TransactionEnded         a transactional activity committed or rolled back by itself; it is not tried again
    └── WorkerFenced             the worker lost its lease; nothing of it is written any more

``GiveUp`` and ``RetryAfter`` are not errors of Holdfast but words that an activity can say by raising them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID


class HoldfastError(Exception):
    """The base of every error that Holdfast raises."""


class ConfigurationError(HoldfastError):
    """Settings that cannot work; ``mistakes`` lists every one of them."""

    def __init__(self, *mistakes: str) -> None:
        self.mistakes: tuple[str, ...] = mistakes
        super().__init__("; ".join(mistakes))


class DefinitionError(HoldfastError):
    """A workflow, activity or signal that cannot be registered as it is written."""


class UnknownName(DefinitionError):
    """A name that the app does not know, with those that it does."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.kind = kind
        self.name = name
        self.known: tuple[str, ...] = tuple(sorted(known))
        listed = ", ".join(self.known) if self.known else "none"
        super().__init__(f"no {kind} is registered under the name {name!r}; registered: {listed}")


class UnknownWorkflow(HoldfastError):
    """No workflow of this name is driven by hand in this database and schema."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"there is no workflow {name!r} that is driven by hand in this database and schema; create it first: "
            f"client.driven.create_workflow({name!r})"
        )


class WorkerNotFound(HoldfastError):
    """No worker that is there has this name, or serves this lane."""

    def __init__(self, name: str | None, lane: str | None) -> None:
        self.name = name
        self.lane = lane
        called = "" if name is None else f" called {name!r}"
        serving = "" if lane is None else f" in lane {lane!r}"
        super().__init__(f"there is no worker{called}{serving}; `holdfast worker list` shows those there are")


class InvalidInput(HoldfastError):
    """Arguments or a payload that do not fit the annotations, with the path of each offending field."""


class ScheduleError(HoldfastError):
    """What was asked of a schedule cannot be done."""


class InvalidSchedule(ScheduleError):
    """The times of a schedule cannot be read, or never come. ``position`` is where in ``text``, counted from 0."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.text = text
        self.position = position
        self.problem = problem
        super().__init__(f"the schedule {text!r} cannot be used: at character {position + 1}: {problem}")


class ScheduleNotFound(ScheduleError):
    """No schedule has this name in this database and schema."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"there is no schedule {name!r} in this database and schema; `holdfast schedule list` shows those there are"
        )


class ScheduleExists(ScheduleError):
    """The name belongs to another schedule."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a schedule {name!r} already: choose another name, or change that one with update")


class Unstorable(HoldfastError):
    """A value that cannot be stored as JSON, or that is larger than the payload limit."""


class Unreadable(HoldfastError):
    """A stored value that this process cannot read: it was written with a codec that is not configured here."""


class DatabaseError(HoldfastError):
    """The database refused; the message says what to do about it."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or takes no connections now."""


class AccessDenied(DatabaseError):
    """The database can be reached, but not with these rights."""


class SchemaMismatch(DatabaseError):
    """The schema is missing, or of a version that this code does not run on."""


class EmbeddedError(HoldfastError):
    """The embedded Postgres cannot be started or used; the message says why and where its log is."""


class BinariesNotFound(EmbeddedError):
    """There are no Postgres programs to start an embedded server with."""


class RunError(HoldfastError):
    """An error about one run."""

    def __init__(self, run_id: UUID, message: str) -> None:
        self.run_id = run_id
        super().__init__(message)


class RunNotFound(RunError):
    """No run has this id in this database and schema."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(run_id, f"there is no run {run_id} in this database and schema")


class RunEnded(RunError):
    """The run has ended, so nothing can be sent to it any more, and what it has not answered will not be answered."""

    def __init__(self, run_id: UUID, message: str | None = None) -> None:
        super().__init__(run_id, message or f"run {run_id} has ended: nothing can be sent to it any more")


class UpdateRejected(RunError):
    """The update was refused: by the workflow, or by the validator. The cause is what was raised, where it is known."""

    def __init__(self, run_id: UUID, update: str, type_name: str, message: str) -> None:
        self.update = update
        self.type_name = type_name
        self.message = message
        super().__init__(run_id, f"run {run_id} has refused update {update!r}: {message}")


class ReplyTimeout(RunError, TimeoutError):
    """The update has not been answered within the time given to wait for it; it stays with the run."""

    def __init__(self, run_id: UUID, update: str, waited: timedelta) -> None:
        self.update = update
        self.waited = waited
        super().__init__(
            run_id,
            f"run {run_id} has not answered update {update!r} after {waited.total_seconds():g} s; it may still do so: "
            "send it again with the same key= to wait for that answer",
        )


class CompletionRefused(RunError):
    """An activity was to be completed from outside that is completed already, or whose attempt is over."""


class KeyConflict(RunError):
    """The idempotency key already belongs to a run that was started with another input."""

    def __init__(self, run_id: UUID, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(
            run_id,
            f"key {key!r} of {name!r} belongs to run {run_id}, which was started with another input; "
            "use another key, or get that run by its id",
        )


class KeyTaken(RunError):
    """The key belongs to a run, and the start has asked to be refused then: ``Key(..., taken="reject")``."""

    def __init__(self, run_id: UUID, name: str, key: str) -> None:
        self.name = name
        self.key = key
        super().__init__(
            run_id,
            f"key {key!r} of {name!r} is taken by run {run_id}: nothing was started; "
            "wait until it is free, or start with taken='return_existing' or taken='replace'",
        )


class RunPaused(RunError):
    """Somebody has paused the run, so no step of it is to be begun; what runs may be recorded."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(run_id, f"run {run_id} is paused: release it; it can be taken again when it is resumed")


class StepEnded(RunError):
    """The step has an outcome already: what was recorded first counts."""


class StepNotDue(RunError):
    """The step is to be tried again, but not before ``until``."""

    def __init__(self, run_id: UUID, key: str, until: datetime) -> None:
        self.key = key
        self.until = until
        super().__init__(run_id, f"{key} of run {run_id} is to be tried again at {until.isoformat()}, and not before")


class ReceiptLost(RunError):
    """Messages, or a run that is driven by hand, are not in these hands any more; ``lost`` says of each by its id why.

    ``gone``: acknowledged by who received it later, purged or cancelled; ``taken``: taken by somebody else since its
    visibility has passed; ``released``: given back; ``dead``: a dead letter. Nothing was done to them.
    """

    def __init__(self, lost: Mapping[UUID, str], message: str | None = None, *, queue: str | None = None) -> None:
        self.queue = queue
        """The name of the queue, of messages."""
        self.lost = dict(lost)
        run_id, why = next(iter(self.lost.items()))
        others = f", and {len(self.lost) - 1} more of these messages likewise" if len(self.lost) > 1 else ""
        super().__init__(run_id, message or f"message {run_id} of queue {queue!r} {_LOST[why]}{others}")


_LOST = {
    "gone": "is gone: whoever received it after its visibility timeout has settled it, or it was purged or cancelled",
    "taken": (
        "has been received by somebody else since its visibility timeout passed: what you have done with it may be "
        "done twice; receive it with a longer visibility=, or extend() it in time"
    ),
    "released": "was given back before, and is not in your hands",
    "dead": "is a dead letter by now: it may be redriven",
}


class OperationRefused(RunError):
    """What was asked of the run does not go with how it stands; the message says why, and what does."""

    def __init__(self, run_id: UUID, reason: str) -> None:
        self.reason = reason
        super().__init__(run_id, f"run {run_id} {reason}")


class ResultTimeout(RunError, TimeoutError):
    """The run has not ended within the time given to wait for it; it goes on."""

    def __init__(self, run_id: UUID, waited: timedelta) -> None:
        self.waited = waited
        super().__init__(run_id, f"run {run_id} has not ended after {waited.total_seconds():g} s; it goes on")


class RunFailed(RunError):
    """The run ended with an error: its class name, message and traceback where it was raised."""

    def __init__(self, run_id: UUID, type_name: str, message: str, traceback: str | None = None) -> None:
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        super().__init__(run_id, f"run {run_id} failed: {type_name}: {message}")


class RunTimedOut(RunFailed):
    """The run did not end within its timeout."""


class RunCancelled(RunError):
    """The run was cancelled; ``reason`` says why where that was not somebody's request, as with a throttle."""

    def __init__(self, run_id: UUID, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__(run_id, f"run {run_id} was cancelled{f': {reason}' if reason else ''}")


class ActivityFailed(HoldfastError):
    """What an activity raised, where its own class cannot be rebuilt: class name, message, traceback, cause."""

    def __init__(
        self, activity: str, type_name: str, message: str, traceback: str | None = None, cause: str | None = None
    ) -> None:
        self.activity = activity
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.cause = cause
        super().__init__(f"activity {activity!r} failed: {type_name}: {message}")


class ActivityTimedOut(ActivityFailed):
    """An activity took longer than its timeout."""


class ActivityCrashed(ActivityFailed):
    """The process that an activity ran in died, or was killed: by a signal, for lack of memory, by ``os._exit``.

    It counts as a failed attempt, and the next one runs in another process; the worker and its runs are not touched.
    """


class ChildFailed(HoldfastError):
    """What a child of this run raised, where its own class cannot be rebuilt: class name, message, traceback, cause."""

    def __init__(
        self, workflow: str, type_name: str, message: str, traceback: str | None = None, cause: str | None = None
    ) -> None:
        self.workflow = workflow
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.cause = cause
        super().__init__(f"child {workflow!r} failed: {type_name}: {message}")


class ChildTimedOut(ChildFailed):
    """A child of this run did not end within its timeout."""


class ChildCancelled(ChildFailed):
    """A child of this run was cancelled, by this run or by anybody else."""


class CompensationFailed(HoldfastError, ExceptionGroup[Exception]):
    """A saga has failed, and so have some of its undos: ``exceptions`` has the error of each of these.

    The cause is what the saga has failed with; ``undone`` has the names of the undos that were done.
    """

    undone: tuple[str, ...]

    def __new__(cls, message: str, exceptions: Sequence[Exception], *, undone: Sequence[str] = ()) -> Self:
        self = super().__new__(cls, message, exceptions)
        self.undone = tuple(undone)
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], *, undone: Sequence[str] = ()) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception], /) -> CompensationFailed:  # type: ignore[override]
        return CompensationFailed(self.message, excs, undone=self.undone)


class JournalFull(HoldfastError):
    """A run wants to record more than its journal may hold. It fails with this."""

    def __init__(self, workflow: str, rows: int, bytes: int, max_rows: int, max_bytes: int) -> None:
        self.workflow = workflow
        self.rows = rows
        self.bytes = bytes
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        super().__init__(
            f"the journal of this run would have {rows:,} rows and {bytes:,} bytes; at most {max_rows:,} and "
            f"{max_bytes:,} are allowed (the worker's journal_max_rows and journal_max_bytes): let workflow "
            f"{workflow!r} go on as a new run with continue_as_new() in time, or give parts of its work to children"
        )


class MissingClass(HoldfastError):
    """An activity or a child raised a class that this process cannot make again. It blocks the run, it never fails it.

    Anything else would send the run down another branch than the one that it takes where the class is loaded.
    """

    def __init__(self, type_name: str, problem: str) -> None:
        self.type_name = type_name
        self.problem = problem
        super().__init__(
            f"an activity or a child raised {type_name}, which {problem}; import it in the module of the app, "
            "or deploy the version of the code that has it"
        )


class NonDeterminismError(HoldfastError):
    """The workflow's code asks for something else than its journal holds. It blocks the run, it never fails it."""

    def __init__(self, asked: str, recorded: str, advice: str) -> None:
        self.asked = asked
        self.recorded = recorded
        self.advice = advice
        super().__init__(f"the code asks for {asked}, the journal holds {recorded}; {advice}")

    def __reduce__(self) -> tuple[type[NonDeterminismError], tuple[str, str, str]]:
        """A copy is made from its parts: its message is not one of them."""
        return type(self), (self.asked, self.recorded, self.advice)


class ForbiddenInWorkflow(HoldfastError):
    """Workflow code did what cannot be replayed; the message says what to use instead."""


class ResourceClosed(HoldfastError):
    """A resource was asked for where no worker has it open."""


class TransactionEnded(HoldfastError):
    """A transactional activity ended the transaction that it was given by itself. It is not tried again.

    What it committed stays: then its effects and its outcome are no longer one commit.
    """


class WorkerFenced(HoldfastError):
    """The worker has lost its lease; others have its runs, and nothing that it writes is accepted any more."""


class GiveUp(Exception):
    """Raised by an activity: this failure is permanent, do not retry it."""


class RetryAfter(Exception):
    """Raised by an activity: try again after this delay, whatever the back-off says. It counts as an attempt."""

    def __init__(self, delay: timedelta, message: str = "") -> None:
        if not _is_duration(delay):
            raise ValueError(f"RetryAfter takes a timedelta of zero or more, not {delay!r}")
        self.delay = delay
        self.message = message
        super().__init__(message or f"retry after {delay.total_seconds():g} s")


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)
