"""What the store's tests stand on: connections, workers that have no code, and runs by the handful."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import asyncpg

from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.connect import connect
from holdfast.store.session import Session
from holdfast.store.statements import Statements, in_schema
from holdfast.store.writes import End, JournalWrite, Move, Writes
from tests.house import until

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
Row = dict[str, Any]

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)

_ids = itertools.count(1)
_pids = itertools.count(1)


class Ground:
    """One database with Holdfast's schema, and everything that a test does in it."""

    def __init__(self, dsn: str, db: Connection, schema: str = "holdfast") -> None:
        self.dsn = dsn
        self.db = db
        self.statements = Statements(schema)
        self.session = Session(db, self.statements)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # -- connections

    async def connect(self) -> Connection:
        """One more connection; gone with the test."""
        connection = await connect(self.dsn, application="tests")
        self._stack.callback(connection.terminate)
        return connection

    async def more(self) -> Session:
        """One more connection, as a session."""
        return Session(await self.connect(), self.statements)

    async def waits(self, session: Session) -> None:
        """Returns when what the session says waits for somebody's lock."""
        await self.until(
            "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1", session.connection.get_server_pid()
        )

    async def until(self, query: str, *arguments: object) -> Any:
        """Waits until the query's first value is true, and gives it."""
        look = await self.connect()
        return await until(lambda: look.fetchval(self.sql(query), *arguments), query)

    def sql(self, query: str) -> str:
        """The query, for the schema of this ground."""
        return in_schema(query, self.statements.schema)

    async def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return await self.db.fetchval(self.sql(query), *arguments)

    async def execute(self, query: str, *arguments: object) -> None:
        """Executes one statement."""
        await self.db.execute(self.sql(query), *arguments)

    # -- runs

    async def start(self, name: str = "flow", *, run_id: UUID | None = None, **options: Any) -> UUID:
        """Starts one run, and gives its id."""
        (run,) = await self.start_many(1, name=name, ids=None if run_id is None else [run_id], **options)
        return run

    async def start_many(
        self,
        count: int,
        *,
        name: str = "flow",
        kind: int = 1,
        lane: str = "default",
        priority: int = 3,
        after: timedelta | None = None,
        due: datetime | None = None,
        ids: Sequence[UUID] | None = None,
        input: str = "{}",
    ) -> list[UUID]:
        """Starts runs, in the order of their ids."""
        runs = list(ids) if ids else [new_id() for _ in range(count)]
        await self.db.execute(
            self.sql(
                "select holdfast.start_many($1, array_fill($2::smallint, $3), array_fill($4::text, $3), "
                "array_fill($5::text, $3), array_fill($6::smallint, $3), array_fill($7::json, $3), "
                "array_fill($8::timestamptz, $3), array_fill($9::interval, $3), "
                "'{}', '{}', '{}', '{}', '{}', false)"
            ),
            *(runs, kind, [len(runs)], name, lane, priority, input, due, after),
        )
        return runs

    async def task(self, run: UUID) -> Row | None:
        """The run's task, if it has one."""
        return await self._row("select * from holdfast.task where run_id = $1", run)

    async def held(self, run: UUID) -> Row:
        """The run's task, which must be there."""
        task = await self.task(run)
        assert task is not None, f"run {run} has no task"
        return task

    async def result(self, run: UUID) -> Row | None:
        """How the run ended, if it has."""
        return await self._row("select * from holdfast.result where run_id = $1", run)

    async def journal(self, run: UUID) -> list[Row]:
        """The run's journal, in order."""
        return await self._rows("select * from holdfast.journal where run_id = $1 order by seq", run)

    async def inbox(self, run: UUID) -> list[Row]:
        """All that lies in the run's inbox, in order."""
        return await self._rows("select * from holdfast.inbox where run_id = $1 order by number", run)

    async def status(self, run: UUID) -> str | None:
        """What people see."""
        status: str | None = await self.db.fetchval(self.sql("select status from holdfast.runs where id = $1"), run)
        return status

    async def is_due(self, run: UUID) -> bool:
        """Whether a claim would find the run now."""
        return bool(
            await self.value(
                "select due_at <= holdfast.now() and bucket_id is null from holdfast.task where run_id = $1", run
            )
        )

    async def everything(self) -> dict[str, list[Row]]:
        """All rows that runs have, to be compared."""
        return {
            table: await self._rows(f"select * from holdfast.{table} order by 1, 2")
            for table in ("run", "task", "journal", "result", "inbox", "blockage", "start_key")
        }

    async def _row(self, query: str, *arguments: object) -> Row | None:
        row = await self.db.fetchrow(self.sql(query), *arguments)
        return None if row is None else dict(row)

    async def _rows(self, query: str, *arguments: object) -> list[Row]:
        return [dict(row) for row in await self.db.fetch(self.sql(query), *arguments)]

    # -- workers

    async def worker(
        self,
        name: str = "worker",
        *,
        lane: str = "default",
        names: Sequence[str] = ("flow", "job"),
        lease: timedelta = LEASE,
        priorities: Sequence[int] = (3,),
    ) -> Hand:
        """A worker with a lease and a bucket for each of the priorities."""
        session = await self.more()
        slots = [(lane, priority) for priority in priorities]
        identity = await work.register(
            session, name=name, host="host", pid=next(_pids), lane=lane, names=names, lease=lease, slots=slots
        )
        return Hand(self, session, identity, slots=slots, names=list(names))

    async def lease_over(self, hand: Hand, *, since: timedelta = timedelta()) -> None:
        """Ends the worker's lease, or says that it has been over for so long."""
        await self.execute(
            "update holdfast.worker set lease_until = clock_timestamp() - $2::interval where id = $1",
            *(hand.identity.worker, since),
        )


@dataclass(slots=True)
class Hand:
    """A worker that does what it is told, and nothing by itself."""

    ground: Ground
    session: Session
    identity: work.Identity
    slots: Sequence[tuple[str, int]]
    names: list[str]
    holds: dict[UUID, int] = field(default_factory=dict[UUID, int])

    async def claim(
        self,
        *rooms: int,
        names: Sequence[str] | None = None,
        sweep: bool = True,
        lower: datetime = LONG_AGO,
        session: Session | None = None,
        early: int = 0,
        lead: timedelta | None = None,
    ) -> work.Claim:
        """Claims so many runs into each of its buckets; ten, if nothing is said. ``early`` more are not due yet."""
        wanted = [
            work.Wanted(bucket, lane, priority, room, lower, early)
            for bucket, (lane, priority), room in zip(
                self.identity.buckets, self.slots, rooms or [10] * len(self.slots), strict=True
            )
        ]
        claim = await work.claim(
            session or self.session,
            self.identity,
            wanted,
            names=self.names if names is None else names,
            sweep=sweep,
            ahead=timedelta(seconds=2),
            lead=lead,
        )
        self.holds |= {run.run_id: run.hold for run in claim.runs}
        return claim

    async def take(self, *runs: UUID) -> None:
        """Claims, and insists that these runs are what it gets."""
        claimed = {run.run_id for run in (await self.claim(*[len(runs)] * len(self.slots))).runs}
        assert claimed == set(runs)

    async def flush(
        self, *writes: Writes, wait: bool = False, again: bool = False, session: Session | None = None
    ) -> work.Flushed:
        """Writes it."""
        return await work.flush(session or self.session, self.identity, writes, wait=wait, again=again)

    def writes(self, run: UUID, *, hold: int | None = None, **what: Any) -> Writes:
        """Writes of a run that this worker holds."""
        return Writes(run, self.holds[run] if hold is None else hold, **what)

    def end(self, run: UUID, *, output: str | None = "1", hold: int | None = None) -> Writes:
        """The end of a run."""
        return self.writes(run, hold=hold, end=End(Ending.SUCCEEDED, output, None))

    def park(self, run: UUID, *, seen: int = 0, waits: bool = True, **what: Any) -> Writes:
        """The run goes back until something comes, or as told."""
        return self.writes(run, move=move(seen=seen, waits=waits, **what))

    async def parked(self, *runs: UUID, **what: Any) -> None:
        """Claims these runs and parks them."""
        await self.take(*runs)
        await self.flush(*[self.park(run, **what) for run in runs])


def move(
    *,
    due: datetime | None = work.FOREVER,
    after: timedelta | None = None,
    seen: int = 0,
    waits: bool = True,
    set: int = 0,
    clear: int = 0,
    progress: bool = False,
    wake: int | None = None,
) -> Move:
    """A park, for ever if nothing else is said."""
    return Move(due=due, after=after, seen=seen, waits=waits, set=set, clear=clear, progress=progress, wake=wake)


def step(seq: int, key: str | None = None, **what: Any) -> JournalWrite:
    """The journal row of an activity's outcome."""
    row: dict[str, Any] = {
        "seq": seq,
        "kind": EntryKind.ACTIVITY,
        "key": key or f"charge#{seq}",
        "digest": b"digest",
        "output": f'"{seq}"',
        "error": None,
        "attempts": 1,
        "elapsed": timedelta(milliseconds=5),
        "at": None,
        "after": None,
    }
    return JournalWrite(**(row | what))


def new_id() -> UUID:
    """An id that is higher than all that were made before."""
    return UUID(int=(next(_ids) << 80) | (7 << 76) | (2 << 62) | random.getrandbits(60))


async def both(*waits: Any) -> list[Any]:
    """What these give, errors included."""
    return await asyncio.gather(*waits, return_exceptions=True)
