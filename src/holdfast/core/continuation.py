"""Which rows of a journal are kept by a run that goes on from it.

A journal that ends anywhere is a state in which the run once was, so the rows up to any seq can always be kept. Beyond
that, what was asked for before some outcome was recorded cannot depend on it: it may be kept where that outcome is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending


class Recorded(NamedTuple):
    """A journal row, without what came of it; ``failure`` is set where it failed."""

    seq: int
    kind: EntryKind
    key: str
    started_at: datetime | None
    at: datetime
    failure: Failure | None


_ABOUT = frozenset({EntryKind.ATTEMPT, EntryKind.STARTED})
"""Rows about a step that are no outcome: kept where its outcome is."""

_NOTES = _ABOUT | {EntryKind.STATE, EntryKind.REPLY, EntryKind.PATCH}
"""What is no outcome, so that one cannot go back to it."""
_OUTSIDE = frozenset({EntryKind.HANDED, EntryKind.COMPLETED, EntryKind.FAILED})
"""Rows about attempts that were handed over: never kept, since the token is of the run that gave it away."""

_STEPS = frozenset({EntryKind.ACTIVITY, EntryKind.CHILD, EntryKind.TIMER})
"""Outcomes of what the code has asked for by itself."""

_TRIED = frozenset({EntryKind.ACTIVITY, EntryKind.CHILD})
"""Outcomes that may be failures."""


class Kept(NamedTuple):
    """What of a journal is kept: the seqs, and that of the last step among them."""

    seqs: list[int]
    last_step: int | None


def kept_before(rows: Sequence[Recorded], key: str) -> Kept | None:
    """What is kept of everything before the outcome ``key``; None where there is no such outcome."""
    rows = _of_this_run(rows)
    cut = next((row.seq for row in rows if row.key == key and row.kind not in _NOTES), None)
    return None if cut is None else _with_attempts(rows, (row for row in rows if row.seq < cut))


def kept_for_retry(rows: Sequence[Recorded], ending: Ending, failure: Failure | None) -> Kept:
    """What is kept when a failed or cancelled run is tried again: all but what led to its end.

    What led to it is a request to cancel, or the outcome whose error ended the run. What was recorded before it is
    kept, failures that the code has handled too; of what was recorded after it, the successes of activities that had
    begun before, and so cannot depend on it. Where nothing recorded led to the end, all is kept.
    """
    rows = _of_this_run(rows)
    began = _beginnings(rows)
    fault = _fault(rows, began, ending, failure)
    if fault is None:
        return _with_attempts(rows, rows)
    return _with_attempts(
        rows,
        (row for row in rows if row.seq < fault.seq or (_has_succeeded(row) and began[row.key] < fault.at)),
    )


def _has_succeeded(row: Recorded) -> bool:
    return row.kind in _TRIED and row.failure is None


def outcomes(rows: Iterable[Recorded]) -> list[str]:
    """The keys that one can go back to."""
    return [row.key for row in rows if row.kind not in _NOTES | _OUTSIDE]


def _of_this_run(rows: Iterable[Recorded]) -> list[Recorded]:
    return [row for row in rows if row.kind not in _OUTSIDE]


def _fault(
    rows: Sequence[Recorded], began: dict[str, datetime], ending: Ending, failure: Failure | None
) -> Recorded | None:
    """The first row that led to the end."""
    if ending is Ending.CANCELLED or (failure is not None and failure.type.endswith(":RunTimedOut")):
        return next((row for row in rows if row.kind is EntryKind.CANCEL), None)
    failed = [row for row in rows if row.kind in _TRIED and row.failure is not None]
    if not failed or failure is None:
        return None
    named = [row for row in failed if row.failure is not None and _ended_by(failure, row.failure)]
    if not named:
        # The code has raised an error of its own. If it did so right after a failed step, that is why.
        last = max((row for row in rows if row.kind not in _NOTES), key=lambda row: row.seq)
        return last if last is failed[-1] else None
    if "ExceptionGroup" in failure.type:
        return named[0]
    # The same error may have been handled before. What failed beside it, unseen, has led to the end as well.
    fault = named[-1]
    for row in reversed(named[:-1]):
        if began[fault.key] < row.at:
            fault = row
    return fault


def _ended_by(end: Failure, step: Failure) -> bool:
    """Whether the error of this step is the one that ended the run, or caused it, or is one of its group."""
    cause: Failure | None = end
    while cause is not None:
        if (cause.type, cause.message) == (step.type, step.message):
            return True
        # What could not be made again came out of the await as an error of ours, which names it.
        if step.message and cause.message.endswith(f"{step.type}: {step.message}"):
            return True
        if "ExceptionGroup" in cause.type and f"{step.type.rpartition(':')[2]}: {step.message}" in cause.message:
            return True
        cause = cause.cause
    return False


def _beginnings(rows: Iterable[Recorded]) -> dict[str, datetime]:
    """When the first attempt at each step began."""
    began: dict[str, datetime] = {}
    for row in rows:
        began.setdefault(_step(row), row.started_at or row.at)
    return began


def _with_attempts(rows: Iterable[Recorded], kept: Iterable[Recorded]) -> Kept:
    """Adds to the outcomes what is recorded about them, and takes out what is about others: those start afresh."""
    seqs: set[int] = set()
    keys: set[str] = set()
    last: int | None = None
    for row in kept:
        if row.kind not in _ABOUT:
            seqs.add(row.seq)
            keys.add(row.key)
            last = row.seq if row.kind in _STEPS else last
    return Kept(sorted(seqs | {row.seq for row in _about(rows) if _step(row) in keys}), last)


def _about(rows: Iterable[Recorded]) -> Iterator[Recorded]:
    return (row for row in rows if row.kind in _ABOUT)


def _step(row: Recorded) -> str:
    """The key of the outcome that it is, or is about."""
    if row.kind is EntryKind.STARTED:
        return row.key[:-1]
    return row.key.rpartition("@")[0] if row.kind is EntryKind.ATTEMPT else row.key
