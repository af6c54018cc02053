"""What follows from an attempt at an activity: its outcome, or another attempt; and the row that says so."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, attempt_key, handed_key
from holdfast.store.writes import JournalWrite
from holdfast.worker.said import sealed

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.core.seal import Seal
    from holdfast.worker.attempt import Outcome
    from holdfast.worker.calls import Call
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.desk import Desk


class Conclusion(NamedTuple):
    """The activity's outcome: a value as stored, or how it failed for good."""

    output: str | None
    failure: Failure | None


class Again(NamedTuple):
    """The attempt failed, and another follows after ``delay``."""

    failure: Failure
    delay: timedelta


class Handed(NamedTuple):
    """The outcome comes from outside, within this time."""

    left: timedelta | None


def judge(call: Call, outcome: Outcome, seal: Seal, clock: DatabaseClock) -> Conclusion | Again | Handed:
    """Decides it by the activity's policy."""
    activity = call.command.activity
    if outcome.later:
        return Handed(outcome.left)
    if outcome.error is None:
        try:
            return Conclusion(seal.close(outcome.output or "null", what=f"the result of {activity.what}"), None)
        except HoldfastError as refusal:
            return Conclusion(None, Failure.of(refusal))
    failure = outcome.as_failure(outcome.error)
    delay = activity.retry.decide(outcome.error, call.failed + 1, random.random())
    left = call.left(clock.now())
    if delay is None or (left is not None and delay.total_seconds() >= left):
        return Conclusion(None, failure)
    return Again(failure, delay)


def row_of(call: Call, verdict: Conclusion | Again | Handed, outcome: Outcome, desk: Desk, *, seq: int) -> JournalWrite:
    """The journal row for attempt ``call.failed + 1``."""
    command = call.command
    number = call.failed + 1
    if isinstance(verdict, Handed):
        return handed_row(command.key, number, outcome, seq=seq)
    if isinstance(verdict, Conclusion):
        error = None if verdict.failure is None else desk.sealed(verdict.failure)
        return JournalWrite(
            seq,
            EntryKind.ACTIVITY,
            command.key,
            command.digest,
            verdict.output,
            error,
            number,
            outcome.elapsed,
            None,
            None,
        )
    return JournalWrite(
        seq,
        EntryKind.ATTEMPT,
        attempt_key(command.key, number),
        command.digest,
        sealed(call.details, desk.seal) if call.unwritten else None,
        desk.sealed(verdict.failure),
        number,
        outcome.elapsed,
        None,
        verdict.delay,
    )


def handed_row(key: str, number: int, outcome: Outcome, *, seq: int) -> JournalWrite:
    """The journal row that says that this attempt was handed over."""
    kind, key = EntryKind.HANDED, handed_key(key, number)
    return JournalWrite(seq, kind, key, attempts=number, elapsed=outcome.elapsed, after=outcome.left)
