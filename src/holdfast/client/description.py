"""All that is known of one run, read in one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic_core import from_json

from holdfast.client.listing import RunSummary, summary
from holdfast.client.outcome import TIMED_OUT, read_failure
from holdfast.client.watching import by_key
from holdfast.core.errors import RunNotFound, Unreadable
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, attempt_key, handed_attempt, started_key, state_name
from holdfast.core.queue import queue_of
from holdfast.core.states import Continuation, RunKind, RunStatus
from holdfast.store.continuing import read_newest
from holdfast.store.runs import (
    Details,
    InboxRow,
    JournalRow,
    Listed,
    Reported,
    read_details,
    read_inbox,
    read_journal,
    read_reports,
)

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.progress import Progress
    from holdfast.core.seal import Seal
    from holdfast.store.session import Session

ContinuationWord = Literal["continue-as-new", "retry", "rewind", "fork"]
StepKind = Literal["activity", "timer", "signal", "cancel", "child", "patch", "state", "update", "reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Stands where there is no value to be read here, mostly because its codec is missing; ``reason`` says why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """A failed attempt: at ``next_at`` it was, or will be, followed by another one, if that is not None."""

    key: str
    """Of the step: ``charge#1``."""
    number: int
    started_at: datetime | None
    at: datetime
    next_at: datetime | None
    failure: Failure | Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of a workflow, in the order in which the run saw them; ``at`` is None while it is being retried."""

    key: str
    kind: StepKind
    attempts: int
    """How many attempts have ended, the last one included. 0 for what is not an activity."""
    started_at: datetime | None
    at: datetime | None
    output: object
    """Plain JSON."""
    failure: Failure | Sealed | None
    failed: Sequence[AttemptView]
    child: UUID | None = None
    """The run that it waits for, or did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterView:
    """What lies in the run's inbox and has not been seen by it."""

    number: int
    kind: StepKind
    name: str
    key: str | None
    payload: object
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDescription(RunSummary):
    """All that is known of one run. Payloads are plain JSON, or ``Sealed`` where they cannot be read here."""

    parent: UUID | None
    """The run that started it as its child."""
    root: UUID
    """The run at the top of its tree: itself, where it is nobody's child."""
    continued_from: UUID | None
    """The run that this one goes on for."""
    input: object
    output: object
    failure: Failure | Sealed | None
    deadline: datetime | None
    """When its timeout passes."""
    crashes: int
    """How many workers died while they held it, since it last got on."""
    cancel_requested: bool
    blocked_reason: str | None
    waits_for: Sequence[str]
    """In words, as far as the database knows: nothing is written when a timer starts or an activity is called."""
    since: datetime
    """Since when it has been where it is, as far as the database knows."""
    continuation: ContinuationWord | None
    """How: as a retry, a rewind or a fork of that one, or because that one continued as new."""
    state: Mapping[str, object]
    """What it has let everybody know: the newest value of each state."""
    progress: Mapping[str, Progress]
    """How far the attempts under way are, by the keys of their steps, as far as they report it."""
    attempts: Sequence[AttemptView]
    """Every failed attempt, in the order of their ends; of a job also the one that it has failed with."""
    journal: Sequence[StepView]
    inbox: Sequence[LetterView]


async def describe(context: Context, run_id: UUID, *, exact: bool) -> RunDescription:
    """What is known now of the run, or unless ``exact`` of what it has become.

    Raises:
        RunNotFound: there is no such run.
    """

    async def read(session: Session) -> tuple[Details | None, list[JournalRow], list[InboxRow], list[Reported]]:
        async with session.connection.transaction(isolation="repeatable_read", readonly=True):
            meant = run_id if exact else await read_newest(session, run_id)
            details = await read_details(session, meant)
            rows, letters = await read_journal(session, meant), await read_inbox(session, meant)
            return details, rows, letters, await read_reports(session, [meant])

    details, rows, letters, reports = await context.database.call(read)
    if details is None:
        raise RunNotFound(run_id)
    return _description(details, rows, letters, reports, context.seal)


def _description(
    details: Details,
    rows: Sequence[JournalRow],
    letters: Sequence[InboxRow],
    reports: Sequence[Reported],
    seal: Seal,
) -> RunDescription:
    short = summary(details.listed)
    steps = tuple(_steps(rows, seal))
    failure = _failure(details.error, seal) if short.status is RunStatus.FAILED else None
    return RunDescription(
        **{name: getattr(short, name) for name in RunSummary.__dataclass_fields__},
        parent=details.parent,
        root=details.root,
        continued_from=details.continued_from,
        input=_opened(details.input, seal),
        output=_opened(details.output, seal),
        failure=failure,
        deadline=details.deadline,
        crashes=details.crashes or 0,
        cancel_requested=details.cancel_requested,
        blocked_reason=details.blocked_reason,
        waits_for=tuple(_waits_for(details, steps, _handed(rows))),
        since=_since(details, rows),
        continuation=None if details.continuation is None else _CONTINUATIONS[details.continuation],
        state=_state(rows, seal),
        progress=by_key(reports, seal),
        attempts=tuple(_attempts(short, steps, failure)),
        journal=steps,
        inbox=tuple(
            LetterView(
                number=letter.number,
                kind=_step_kind(letter.kind),
                name=letter.name,
                key=letter.key,
                payload=_opened(letter.payload, seal),
                at=letter.at,
            )
            for letter in letters
        ),
    )


def _steps(rows: Sequence[JournalRow], seal: Seal) -> Iterator[StepView]:
    """The journal as steps: failed attempts stand with what they are attempts of, at the place of its outcome."""
    attempts: dict[str, list[AttemptView]] = {}
    begun: dict[str, JournalRow] = {}
    starts = {row.key: row for row in rows if row.kind is EntryKind.STARTED}
    outcomes = {row.key for row in rows if row.kind is not EntryKind.ATTEMPT}
    rows = [row for row in rows if row.kind not in _OUTSIDE]
    for row in rows:
        if row.kind is EntryKind.STARTED:
            if row.key[:-1] not in outcomes:
                yield _open_child(row)
            continue
        if row.kind is EntryKind.ATTEMPT:
            key = row.key.removesuffix(attempt_key("", row.attempts))
            attempts.setdefault(key, []).append(_attempt(key, row, seal))
            begun[key] = row
            continue
        start = starts.get(started_key(row.key))
        yield StepView(
            key=row.key,
            kind=_step_kind(row.kind) if start is None else _started_kind(start),
            attempts=row.attempts,
            started_at=row.started_at if start is None else start.at,
            at=row.at,
            output=_opened(row.output, seal),
            failure=_failure(row.error, seal) if row.error is not None else None,
            failed=tuple(attempts.get(row.key, ())),
            child=None if start is None else _child_id(start),
        )
    for key, row in begun.items():
        if key not in outcomes:
            failed = attempts[key]
            yield StepView(
                key=key,
                kind="activity",
                attempts=row.attempts,
                started_at=failed[0].started_at,
                at=None,
                output=None,
                failure=None,
                failed=tuple(failed),
            )


def _state(rows: Sequence[JournalRow], seal: Seal) -> Mapping[str, object]:
    newest = {state_name(row.key)[0]: row for row in rows if row.kind is EntryKind.STATE}
    return {
        name: _opened(row.output, seal) if row.error is None else Sealed(reason=_words(_failure(row.error, seal)))
        for name, row in sorted(newest.items())
    }


def _words(failure: Failure | Sealed) -> str:
    return failure.reason if isinstance(failure, Sealed) else failure.message


def _open_child(row: JournalRow) -> StepView:
    return StepView(
        key=row.key[:-1],
        kind=_started_kind(row),
        attempts=0,
        started_at=row.at,
        at=None,
        output=None,
        failure=None,
        failed=(),
        child=_child_id(row),
    )


def _started_kind(row: JournalRow) -> StepKind:
    """Of a dispatched activity it is that: where it runs makes no difference."""
    return "activity" if row.started == RunKind.ACTIVITY else "child"


def _child_id(row: JournalRow) -> UUID:
    return UUID(from_json(row.output or "null"))


def _attempts(run: RunSummary, steps: Sequence[StepView], failure: Failure | Sealed | None) -> Iterator[AttemptView]:
    """All that have failed. What a job has failed with is its result, and in no journal."""
    failed = sorted((one for step in steps for one in step.failed), key=lambda one: one.at)
    yield from failed
    if run.kind is not RunKind.ACTIVITY or failure is None or run.ended_at is None or run.first_claim_at is None:
        return
    if isinstance(failure, Failure) and (failure.reason == "crashes" or failure.type == TIMED_OUT):
        # No attempt has ended so: the run has.
        return
    last = failed[-1] if failed else None
    yield AttemptView(
        key=f"{run.name}#1" if last is None else last.key,
        number=1 if last is None else last.number + 1,
        started_at=None,
        at=run.ended_at,
        next_at=None,
        failure=failure,
    )


def _attempt(key: str, row: JournalRow, seal: Seal) -> AttemptView:
    return AttemptView(
        key=key,
        number=row.attempts,
        started_at=row.started_at,
        at=row.at,
        next_at=row.not_before,
        failure=_failure(row.error, seal),
    )


def _handed(rows: Sequence[JournalRow]) -> dict[str, JournalRow]:
    """What waits to be completed from outside, by the key of its step."""
    keys = {row.key for row in rows}
    found: dict[str, JournalRow] = {}
    for row in rows:
        if row.kind is EntryKind.HANDED:
            key, attempt = handed_attempt(row.key)
            if not keys & {key, attempt_key(key, attempt)}:
                found[key] = row
    return found


def _waits_for(details: Details, steps: Sequence[StepView], handed: Mapping[str, JournalRow]) -> Iterator[str]:
    run = details.listed
    if run.version is not None and not details.has_worker and run.status in _UNHELD:
        yield f"a worker of lane {run.lane!r} that carries version {run.version} of {run.name!r}: none is there"
        if run.status is RunStatus.READY:
            return
    match run.status:
        case RunStatus.SCHEDULED:
            yield f"its time, {_time(run.due_at)}"
        case RunStatus.READY | RunStatus.WAITING if run.kind in (RunKind.DRIVEN, RunKind.MESSAGE):
            yield from _for_a_consumer(run, steps)
        case RunStatus.READY:
            there = " to take it" if details.has_worker else f"; none that knows {run.name!r} is there"
            yield f"a worker of lane {run.lane!r}{there}"
        case RunStatus.BLOCKED:
            yield f"code that fits its journal; tried again at {_time(run.due_at)}"
        case RunStatus.WAITING:
            yield from _parked_for(details, steps, handed)
        case _:
            return


def _for_a_consumer(run: Listed, steps: Sequence[StepView]) -> Iterator[str]:
    if run.status is RunStatus.READY:
        yield f"a consumer of {queue_of(run.name)!r}"
        return
    if run.due_at is None:
        yield "somebody who redrives it: it is a dead letter"
        return
    retried = next((step for step in steps if step.at is None and step.failed), None)
    yield f"its time, {_time(run.due_at)}" if retried is None else f"retry of {retried.key} at {_time(run.due_at)}"


_UNHELD = frozenset({RunStatus.READY, RunStatus.WAITING, RunStatus.BLOCKED})


def _parked_for(details: Details, steps: Sequence[StepView], handed: Mapping[str, JournalRow]) -> Iterator[str]:
    due = details.listed.due_at
    for key, row in handed.items():
        until = "" if row.not_before is None else f" until {_time(row.not_before)}"
        yield f"the completion of {key} from outside{until}"
    retries = {
        step.key: step.failed[-1].next_at
        for step in steps
        if step.at is None and step.failed and step.failed[-1].next_at
    }
    for key, at in retries.items():
        yield f"retry of {key} at {_time(at)}"
    children = [step for step in steps if step.child is not None and step.at is None]
    for step in children[:_MOST_CHILDREN]:
        yield f"{step.kind} {step.key}, run {step.child}"
    if len(children) > _MOST_CHILDREN:
        more = "more children" if children[-1].kind == "child" else "more activities"
        yield f"{len(children) - _MOST_CHILDREN} {more}"
    if details.waits_inbox:
        lines = [line.partition(":") for line in (details.waits_for or "").split("\n")]
        named = [(kind, name) for kind, colon, name in lines if colon and kind in ("signal", "update")]
        yield from (f"{kind} {name!r}" for kind, name in named)
        if not named and not children and not handed:
            yield "a signal"
    # The earliest of all that has a time: where no retry accounts for it, it is a timer.
    known = {*retries.values(), *(row.not_before for row in handed.values())}
    if due is not None and due not in known:
        yield f"a timer until {_time(due)}"


def _since(details: Details, rows: Sequence[JournalRow]) -> datetime:
    run = details.listed
    last = max((row.at for row in rows), default=run.first_claim_at or run.created_at)
    match run.status:
        case RunStatus.SCHEDULED:
            return run.created_at
        case RunStatus.READY:
            return run.due_at or last
        case RunStatus.BLOCKED:
            return details.blocked_at or last
        case status if status.ended:
            return run.ended_at or last
        case _:
            return last


def _step_kind(kind: EntryKind) -> StepKind:
    return _STEP_KINDS[kind]


_CONTINUATIONS: Mapping[Continuation, ContinuationWord] = {
    Continuation.CONTINUE_AS_NEW: "continue-as-new",
    Continuation.RETRY: "retry",
    Continuation.REWIND: "rewind",
    Continuation.FORK: "fork",
}

_STEP_KINDS: Mapping[EntryKind, StepKind] = {
    EntryKind.ACTIVITY: "activity",
    EntryKind.ATTEMPT: "activity",
    EntryKind.TIMER: "timer",
    EntryKind.SIGNAL: "signal",
    EntryKind.CANCEL: "cancel",
    EntryKind.CHILD: "child",
    EntryKind.PATCH: "patch",
    EntryKind.STATE: "state",
    EntryKind.UPDATE: "update",
    EntryKind.REPLY: "reply",
    EntryKind.COMPLETED: "activity",
    EntryKind.FAILED: "activity",
}

_MOST_CHILDREN = 5
"""Of more, only how many there are is said."""

_OUTSIDE = frozenset({EntryKind.HANDED, EntryKind.COMPLETED, EntryKind.FAILED})
"""Rows about attempts that are completed from outside: what came of them is told with their step."""


def _opened(stored: str | None, seal: Seal) -> object:
    if stored is None:
        return None
    try:
        return from_json(seal.open(stored))
    except Unreadable as error:
        return Sealed(reason=str(error))


def _failure(stored: str | None, seal: Seal) -> Failure | Sealed:
    try:
        return read_failure(stored, seal)
    except Unreadable as error:
        return Sealed(reason=str(error))


def _time(at: datetime | None) -> str:
    return "any time" if at is None else at.isoformat(sep=" ", timespec="milliseconds")
