"""Runs that go on from others: what is read of the one, and the one statement that makes the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.journal import EntryKind
from holdfast.core.states import Continuation, Ending, RunKind
from holdfast.store.inbox import about

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Origin(NamedTuple):
    """A run that another one is to go on from. Texts are as they are stored."""

    id: UUID
    kind: RunKind
    name: str
    options: str | None
    created_at: datetime
    tags: str | None
    ending: Ending | None
    error: str | None
    open: bool
    paused: bool


async def read_origin(session: Session, run_id: UUID, *, exact: bool) -> Origin | None:
    """The run, or unless ``exact`` what it has become; None if there is no such run."""
    row = await session.row("run_origin", run=run_id, exact=exact)
    if row is None:
        return None
    found, kind, name, options, created_at, tags, status, *rest = row
    ending = None if status is None else Ending(status)
    return Origin(found, RunKind(kind), name, options, created_at, tags, ending, *rest)


class Outline(NamedTuple):
    """One row of a journal."""

    seq: int
    kind: EntryKind
    key: str
    started_at: datetime | None
    at: datetime
    error: str | None


async def read_outline(session: Session, run_id: UUID) -> list[Outline]:
    """The journal of a run, in order."""
    rows = await session.fetch("journal_outline", run=run_id)
    return [Outline(seq, EntryKind(kind), *rest) for seq, kind, *rest in rows]


async def continue_run(
    session: Session,
    run_id: UUID,
    new_id: UUID,
    how: Continuation,
    *,
    kept: Sequence[int],
    without: str | None,
    input: str | None,
    timeout: timedelta | None,
    options: str,
) -> str:
    """Makes the run ``new_id``; gives done, or what is in the way: open, held, child, continued."""
    with about(run_id):
        return str(
            await session.value(
                "continue_run",
                run=run_id,
                new=new_id,
                how=how,
                kept=list(kept),
                without=without,
                input=input,
                timeout=timeout,
                options=options,
            )
        )


async def read_newest(session: Session, run_id: UUID) -> UUID:
    """What the run has become by retries, rewinds and continue-as-new."""
    newest: UUID = await session.value("newest_run", run=run_id)
    return newest


async def read_replaced(session: Session, runs: Sequence[UUID]) -> set[UUID]:
    """Those of these runs that others have taken the place of."""
    return {row["run_id"] for row in await session.fetch("replaced_runs", runs=list(runs))}
