"""Activities that are handed to whoever has room for them, or serves their lane: each as a run of its own.

The start of each is journaled in the commit that makes its run, under the key of its outcome, so that a replay knows
that it runs elsewhere; its outcome comes back as that of a child does. The runs of many are made in few commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.call_options import CallOptions
from holdfast.core.dispatched import Dispatched
from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.headers import options_with
from holdfast.core.journal import EntryKind, started_key
from holdfast.core.limit import noted
from holdfast.core.priority import Priority
from holdfast.core.states import RunKind
from holdfast.store.children import Child
from holdfast.worker.bucket import guest_lane
from holdfast.worker.said import sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from holdfast.store.writes import JournalWrite
    from holdfast.worker.calls import Call
    from holdfast.worker.children import MakeRow
    from holdfast.worker.desk import Desk
    from holdfast.worker.writing_run import WritingRun

_MOST = 2000
"""Runs in one unit."""
_MOST_BYTES = 4 * 1024 * 1024


class Batch(NamedTuple):
    """Rows of the journal, and the runs that are written in one commit with them."""

    rows: Sequence[JournalWrite]
    runs: Sequence[Child]
    kept: Sequence[Call]
    """What has to run here all the same, because its input is too large to be stored."""


def dispatch(
    calls: Sequence[tuple[Call, timedelta | None]], run: WritingRun, desk: Desk, row: MakeRow
) -> Iterator[Batch]:
    """What to write so that these calls are executed elsewhere, each within the time that it has left.

    Where an input cannot be stored, that is the outcome of the call if it has a lane of its own, or limits.
    """
    rows: list[JournalWrite] = []
    runs: list[Child] = []
    kept: list[Call] = []
    size = 0
    parent = run.info
    identity = None if parent.run_id == run.run_id else parent.run_id
    priority = Priority.of(parent.priority)
    for call, left in calls:
        command = call.command
        activity = command.activity
        here = activity.lane in (None, parent.lane)
        crowded = here and not activity.tickets
        try:
            text = desk.seal.close(command.input, what=f"the input of {activity.what}")
        except HoldfastError as refusal:
            if crowded:
                kept.append(call)
                continue
            error = desk.sealed(Failure.of(refusal))
            rows.append(row(EntryKind.ACTIVITY, command.key, digest=command.digest, error=error))
            continue
        asked = Dispatched(
            key=command.key,
            workflow=parent.name,
            identity=identity,
            failed=call.failed,
            details=None if call.details is None else sealed(call.details, desk.seal),
            options=CallOptions.of(activity.retry, activity.timeout, activity.heartbeat_timeout)
            if activity.varied
            else None,
        )
        child = desk.ids.next()
        runs.append(
            Child(
                child,
                RunKind.ACTIVITY,
                activity.name,
                guest_lane(parent.lane) if here else activity.lane or parent.lane,
                priority,
                text,
                left,
                None,
                noted(options_with(asked.to_json(), run.headers), activity, command.input, desk.seal),
                command.key,
                parent.root,
            )
        )
        rows.append(row(EntryKind.STARTED, started_key(command.key), digest=command.digest, output=f'"{child}"'))
        size += len(text)
        if len(runs) >= _MOST or size >= _MOST_BYTES:
            yield Batch(rows, runs, ())
            rows, runs, size = [], [], 0
    if rows or kept:
        yield Batch(rows, runs, kept)
