"""What is said for a transactional activity: as its transaction begins, before its commit, and after a doubt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from holdfast.store.work import Flushed

if TYPE_CHECKING:
    from holdfast.store.session import Session
    from holdfast.store.work import Identity
    from holdfast.store.writes import JournalWrite


async def begin_activity(session: Session, identity: Identity, *, name: str, mark: str, limit: float) -> int:
    """Marks the transaction as this worker's, and has the server end it after ``limit`` seconds; gives its pid."""
    return int(
        await session.value(
            "begin_activity",
            worker=identity.worker,
            name=name,
            epoch=identity.epoch,
            mark=mark,
            limit=min(round(limit * 1000), 2**31 - 1),
        )
    )


class Outcome(NamedTuple):
    """The outcome of an activity, as it is to be recorded with its effects; without a row it is that of a job."""

    run_id: UUID
    hold: int
    row: JournalWrite | None
    output: str


class Recorded(NamedTuple):
    """When it was recorded, by the database's clock, and the transaction that is yet to be committed."""

    at: datetime
    xid: str
    inbox: Sequence[int]
    """The buckets of parents that have something in their inboxes with it."""
    due: Sequence[str]
    """The lanes in which parents become due with it."""

    def as_flushed(self) -> Flushed:
        """The same in the words of the group commit."""
        return Flushed(self.at, frozenset(), frozenset(), self.inbox, self.due)


async def record(session: Session, identity: Identity, outcome: Outcome, *, mark: str) -> Recorded:
    """Writes the outcome and proves that the worker may: the last statement of the transaction."""
    row = outcome.row
    found = await session.row(
        "record",
        worker=identity.worker,
        epoch=identity.epoch,
        mark=mark,
        run=str(outcome.run_id),
        hold=outcome.hold,
        seq=None if row is None else row.seq,
        key=None if row is None else row.key,
        digest=None if row is None or row.digest is None else row.digest.hex(),
        output=outcome.output,
        attempts=0 if row is None else row.attempts,
        elapsed=0.0 if row is None or row.elapsed is None else row.elapsed.total_seconds(),
    )
    assert found is not None
    at, xid, inbox, due = found
    return Recorded(at, xid, inbox or (), due or ())


class Settled(NamedTuple):
    """What became of a commit."""

    verdict: Literal["committed", "never", "open"]
    at: datetime | None


async def settle(session: Session, outcome: Outcome, recorded: Recorded, *, end: bool) -> Settled:
    """Reads what became of a commit whose answer was lost; with ``end`` one that is open is ended first."""
    row = outcome.row
    found = await session.row(
        "settle",
        run=outcome.run_id,
        hold=outcome.hold,
        seq=None if row is None else row.seq,
        key=None if row is None else row.key,
        xid=recorded.xid,
        end=end,
    )
    assert found is not None
    return Settled(*found)


async def end_transactions(session: Session, identity: Identity, *, pid: int | None) -> int:
    """Ends the open transactions of a worker, or the one of this backend; says how many."""
    return int(await session.value("end_transactions", worker=identity.worker, pid=pid))
