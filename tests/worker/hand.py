"""A worker played by hand: what one says to the database, statement by statement."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.connect import connect
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.store.writes import End, JournalWrite, Move, Writes
from tests.house import House

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Hand:
    """One connection, and a worker that is registered over it."""

    def __init__(self, session: Session, identity: work.Identity) -> None:
        self.session = session
        self.identity = identity
        self.connection: Any = session.connection

    async def claim(self, *, room: int = 10, name: str = "flow") -> list[work.Claimed]:
        (bucket,) = self.identity.buckets
        wanted = [work.Wanted(bucket, "default", 3, room, LONG_AGO)]
        claim = await work.claim(
            self.session, self.identity, wanted, names=[name], sweep=True, ahead=timedelta(seconds=2)
        )
        return claim.runs

    async def flush(self, *writes: Writes, wait: bool = False, again: bool = False) -> work.Flushed:
        return await work.flush(self.session, self.identity, writes, wait=wait, again=again)

    async def expire(self) -> None:
        """Its lease is over, as if it had not renewed it."""
        await self.connection.execute(
            "update holdfast.worker set lease_until = clock_timestamp() - interval '1 ms' where id = $1",
            self.identity.worker,
        )


@asynccontextmanager
async def hand(house: House, name: str = "hand", *, lease: timedelta = timedelta(seconds=60)) -> AsyncGenerator[Hand]:
    """A worker for workflows named ``flow``, with one bucket for medium priority."""
    connection = await connect(house.dsn, application=name)
    try:
        session = Session(connection, Statements())
        identity = await work.register(
            session, name=name, host="here", pid=1, lane="default", names=["flow"], lease=lease, slots=[("default", 3)]
        )
        yield Hand(session, identity)
    finally:
        connection.terminate()


@asynccontextmanager
async def session(house: House) -> AsyncGenerator[Session]:
    """Another session, which is no worker."""
    connection = await connect(house.dsn, application="other")
    try:
        yield Session(connection, Statements())
    finally:
        connection.terminate()


async def start(house: House) -> UUID:
    """A run for a hand to claim."""
    run: UUID = await house.value("select holdfast.start('flow')")
    return run


def outcome(seq: int, key: str, output: str = "1") -> JournalWrite:
    return JournalWrite(seq, EntryKind.ACTIVITY, key, b"digest", output, None, 1, timedelta(0), None, None)


def park(*, seen: int = 0, waits: bool = True, due: datetime | None = work.FOREVER) -> Move:
    return Move(due=due, after=None, seen=seen, waits=waits, set=0, clear=0, progress=True)


def end(output: str = '"done"') -> End:
    return End(Ending.SUCCEEDED, output, None)
