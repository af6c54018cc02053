"""Runs driven by hand: made, kept in hands, their steps asked for and recorded, given back, ended."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from holdfast.core.errors import ReceiptLost, RunPaused, StepEnded, UnknownWorkflow
from holdfast.core.queue import Receipt
from holdfast.store.inbox import Hint, about
from holdfast.store.starts import Started

if TYPE_CHECKING:
    from holdfast.core.journal import EntryKind
    from holdfast.core.states import Ending
    from holdfast.store.session import Session
    from holdfast.store.starts import Start

_RECEIPT_LOST = "HF021"
_UNKNOWN = "HF022"
_STEP_ENDED = "HF023"
_PAUSED = "HF024"


class Recorded(NamedTuple):
    """What the journal holds of a step: its outcome, if ``known``, and how many attempts have failed before."""

    known: bool
    output: str | None
    error: str | None
    attempts: int
    not_before: datetime | None
    """When the back-off after the last of them ends."""


async def create_workflow(session: Session, name: str) -> bool:
    """Makes a workflow whose runs are driven by hand; False where it was there."""
    return bool(await session.value("create_workflow", name=name))


async def read_workflows(session: Session, name: str | None = None) -> list[str]:
    """The names of the workflows that are driven by hand; or that one, if it is."""
    return [row["name"] for row in await session.fetch("driven_workflows", name=name)]


async def trigger_run(session: Session, start: Start, *, hint: bool) -> Started:
    """Makes the run, or finds that of its key.

    Raises:
        UnknownWorkflow: no workflow of that name is driven by hand.
    """
    manner = start.manner
    try:
        row = await session.row(
            "trigger_run",
            id=start.id,
            name=manner.name,
            lane=manner.lane,
            priority=manner.priority,
            input=start.input,
            due=manner.due,
            after=manner.after,
            timeout=manner.timeout,
            tags=manner.tags,
            options=start.options,
            key=start.key,
            digest=start.digest,
            window=start.terms.window,
            open=start.terms.while_open,
            taken=start.terms.taken,
            hint=hint,
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _UNKNOWN:
            raise UnknownWorkflow(manner.name) from None
        raise
    assert row is not None
    return Started(*row)


async def keep(session: Session, receipts: Sequence[Receipt], *, visibility: timedelta) -> set[Receipt]:
    """Keeps these runs in hand for another while; gives those that are not there any more."""
    runs, holds = [one.run_id for one in receipts], [one.hold for one in receipts]
    rows = await session.fetch("keep_driven", runs=runs, holds=holds, visibility=visibility)
    lost = {row["run_id"] for row in rows if not row["kept"]}
    return {one for one in receipts if one.run_id in lost}


async def read_step(session: Session, receipt: Receipt, key: str) -> Recorded:
    """What is recorded of a step, as long as the run is in these hands.

    Raises:
        ReceiptLost, RunEnded, RunNotFound: it is not.
        RunPaused: somebody has paused it.
    """
    with _about(receipt.run_id):
        row = await session.row("acquire_step", run=receipt.run_id, hold=receipt.hold, key=key)
    assert row is not None
    return Recorded(*row)


async def record_step(
    session: Session,
    receipt: Receipt,
    *,
    key: str,
    kind: EntryKind,
    output: str | None,
    error: str | None,
    attempt: int,
    elapsed: timedelta,
    after: timedelta | None,
    visibility: timedelta,
    again: bool,
    hint: Hint | None,
) -> None:
    """Records the outcome of a step; or a failed attempt, with which the run is given back for that while.

    Raises:
        StepEnded: it has an outcome.
        ReceiptLost, RunEnded, RunNotFound: the run is not in these hands any more.
    """
    await _call(
        session,
        "record_step",
        receipt,
        hint,
        key=key,
        kind=kind,
        output=output,
        error=error,
        attempt=attempt,
        elapsed=elapsed,
        after=after,
        visibility=visibility,
        again=again,
    )


async def give_back(
    session: Session, receipt: Receipt, *, after: timedelta | None, what: str | None, again: bool, hint: Hint | None
) -> None:
    """Gives the run back for that while; without one it is paused.

    Raises:
        ReceiptLost, RunEnded, RunNotFound: the run is not in these hands any more.
    """
    await _call(session, "give_back", receipt, hint, after=after, what=what, again=again)


async def end(
    session: Session,
    receipt: Receipt,
    ending: Ending,
    *,
    output: str | None,
    error: str | None,
    again: bool,
    hint: Hint | None,
) -> None:
    """Ends the run.

    Raises:
        ReceiptLost, RunEnded, RunNotFound: the run is not in these hands any more.
    """
    await _call(session, "end_driven", receipt, hint, status=ending, output=output, error=error, again=again)


async def _call(session: Session, statement: str, receipt: Receipt, hint: Hint | None, **values: object) -> None:
    with _about(receipt.run_id):
        if hint is None:
            await session.value(statement, run=receipt.run_id, hold=receipt.hold, **values)
            return
        row = await session.row(f"{statement}_quietly", run=receipt.run_id, hold=receipt.hold, **values)
    assert row is not None
    for payload in (row["hints"] or "").splitlines():
        hint(payload)


@contextmanager
def _about(run_id: UUID) -> Generator[None]:
    """The database's refusals leave this block as errors about that run."""
    try:
        with about(run_id):
            yield
    except asyncpg.PostgresError as error:
        match error.sqlstate:
            case code if code == _RECEIPT_LOST:
                # Other libraries do not hand down the detail.
                raise ReceiptLost({run_id: getattr(error, "detail", None) or "taken"}, str(error.args[0])) from None
            case code if code == _STEP_ENDED:
                raise StepEnded(run_id, str(error.args[0])) from None
            case code if code == _PAUSED:
                raise RunPaused(run_id) from None
            case _:
                raise
