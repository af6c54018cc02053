"""One scratch database, and what is looked up in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from bench.failure import BenchFailed
from bench.meter import Meter
from bench.workload import app
from holdfast import Client

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_FOLDER = Path(__file__).parent
_WINDOW = {table: (_FOLDER / f"{table}_window.sql").read_text(encoding="utf-8") for table in ("result", "journal")}
_PARKED = (_FOLDER / "parked.sql").read_text(encoding="utf-8")
_FINISHED = (_FOLDER / "finished.sql").read_text(encoding="utf-8")
_SIZES = (_FOLDER / "sizes.sql").read_text(encoding="utf-8")
_CONNECTIONS = (_FOLDER / "connections.sql").read_text(encoding="utf-8")
_STORED = (_FOLDER / "stored.sql").read_text(encoding="utf-8")
_SOME_PARKED = "select run_id from holdfast.task where due_at = 'infinity' limit $1"
_PARKED_COUNT = "select count(*) from holdfast.task where due_at = 'infinity' and bucket_id is null"
_WORKERS = "select count(*) from holdfast.worker where state = 'active'"
_WAKES = "select coalesce(max(hold), 1) - 1 from holdfast.journal where run_id = $1"
_LAST_BEGUN = "select max((output #>> '{}')::float8) from holdfast.result"
_CHUNK = 500_000
_DELAYS = (_FOLDER / "delays.sql").read_text(encoding="utf-8")
_STATEMENTS = (_FOLDER / "statements_by_time.sql").read_text(encoding="utf-8")
_COUNTS = (_FOLDER / "counts.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was written between two moments, by the times that the database gave it."""

    seconds: float
    count: int
    first_tenth: int
    last_tenth: int

    @property
    def per_second(self) -> float:
        """The pace within the window."""
        return self.count / self.seconds if self.seconds > 0 else 0.0

    @property
    def decline(self) -> float:
        """The pace in the last tenth, as a part of that in the first."""
        return self.last_tenth / self.first_tenth if self.first_tenth else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """How often something was said to the server, and how many ms that took in all."""

    text: str
    calls: int
    took: float


class Database:
    """A database of one repetition."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self._connection = connection

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        """A client of this database, in this process."""
        app.override(origin="bench", database_url=self.url)
        async with app.client() as client:
            yield client

    async def settle(self, *, analyze: bool = False) -> None:
        """Writes out what there is, so that no checkpoint of old work falls into the measurement."""
        if analyze:
            await self._connection.execute("vacuum analyze")
        with suppress(asyncpg.InsufficientPrivilegeError):
            await self._connection.execute("checkpoint")

    async def has_ended(self, run: UUID) -> bool:
        """Whether this run has a result: one look into an index."""
        found = await self._connection.fetchval("select exists (select from holdfast.result where run_id = $1)", run)
        return bool(found)

    async def has_results(self) -> bool:
        """Whether a run has ended."""
        return bool(await self._connection.fetchval("select exists (select from holdfast.result)"))

    async def workers(self) -> int:
        """How many workers have a lease."""
        found = await self._connection.fetchval(_WORKERS)
        return int(found)

    async def wakes(self, run: UUID) -> int:
        """How often a run that has ended was claimed again, having been parked: each claim has written something."""
        found = await self._connection.fetchval(_WAKES, run)
        return int(found)

    async def delays(self) -> tuple[float, float]:
        """By how many milliseconds jobs began after they were due, the half and 99 of 100 of them at most."""
        row = await self._connection.fetchrow(_DELAYS)
        assert row is not None
        return float(row["p50"]), float(row["p99"])

    async def last_begun(self) -> float:
        """When the last of these jobs began, in seconds since 1970."""
        return float(await self._connection.fetchval(_LAST_BEGUN))

    async def is_drained(self) -> bool:
        """Whether nothing is left to do."""
        return not await self._connection.fetchval("select exists (select from holdfast.task)")

    async def results(self, *, warm_up: float = 0.0, cool_down: float = 0.0) -> Window:
        """The results from so many seconds after the first until so many seconds before the last."""
        return await self._window("result", warm_up, cool_down)

    async def steps(self, *, warm_up: float = 0.0, cool_down: float = 0.0) -> Window:
        """The same for the steps of workflows."""
        return await self._window("journal", warm_up, cool_down)

    async def park(self, count: int) -> None:
        """Puts so many runs into the tables that wait for a signal which never comes."""
        for done in range(0, count, _CHUNK):
            await self._connection.execute(_PARKED, min(_CHUNK, count - done))

    async def meter(self, worker: int) -> Meter:
        """What counts the costs here, and those of the worker with this process id."""
        meter = Meter(self._connection, worker)
        await meter.prepare()
        return meter

    async def release(self, lane: str) -> None:
        """Puts what was started in this lane into the one that is served, all at once."""
        await self._connection.execute("update holdfast.task set lane = 'default' where lane = $1", lane)
        await self._connection.execute("select holdfast.hint('due default')")

    async def connections(self) -> float:
        """How many connections workers have."""
        return float(await self._connection.fetchval(_CONNECTIONS))

    async def stored(self) -> float:
        """Bytes of all tables, with their indexes."""
        return float(await self._connection.fetchval(_STORED))

    async def statements(self) -> Mapping[int, Statement] | None:
        """What was said here until now; None where nothing counts it."""
        if "pg_stat_statements" not in str(await self._connection.fetchval("show shared_preload_libraries")):
            return None
        await self._connection.execute("create extension if not exists pg_stat_statements")
        rows = await self._connection.fetch(_STATEMENTS)
        return {row["queryid"]: Statement(text=row["text"], calls=row["calls"], took=row["took"]) for row in rows}

    @asynccontextmanager
    async def pinned(self) -> AsyncGenerator[None]:
        """For as long as the block lasts nothing that dies is removed: a transaction of somebody else's is open."""
        pin = await asyncpg.connect(self.url)
        try:
            await pin.execute("begin isolation level repeatable read")
            await pin.execute("create temp table pin (i int); insert into pin values (1)")
            yield
        finally:
            await pin.close()

    async def has_parked(self, count: int) -> bool:
        """Whether so many runs wait for a signal."""
        return bool(await self._connection.fetchval(_PARKED_COUNT) >= count)

    async def finish(self, count: int) -> None:
        """Puts so many runs into the tables that have ended."""
        for done in range(0, count, _CHUNK):
            await self._connection.execute(_FINISHED, min(_CHUNK, count - done))

    async def some_parked(self, count: int) -> Sequence[UUID]:
        """So many runs that wait for a signal."""
        return [row["run_id"] for row in await self._connection.fetch(_SOME_PARKED, count)]

    async def sizes(self) -> dict[str, float]:
        """The tables that must not grow, with their indexes, in MB."""
        rows = await self._connection.fetch(_SIZES)
        return {row["name"]: row["bytes"] / 1e6 for row in rows}

    async def check(
        self,
        *,
        started: int,
        steps: int = 0,
        executed: bool = True,
        parked: int = 0,
        parked_steps: int = 0,
        finished: int = 0,
    ) -> None:
        """Every start is there once and, if it was to be executed, has succeeded with all of its steps.

        Raises:
            BenchFailed: it is not so.
        """
        found = await self._connection.fetchrow(_COUNTS)
        assert found is not None
        expected = {
            "runs": started + parked + finished,
            "tasks": parked if executed else started,
            "results": finished + (started if executed else 0),
            "succeeded": finished + (started if executed else 0),
            "steps": started * steps + parked * parked_steps,
        }
        if dict(found) != expected:
            raise BenchFailed(f"runs were lost, doubled or failed: expected {expected}, found {dict(found)}")

    async def check_ended(self, *, started: int) -> None:
        """Every start has a result, once, and all have succeeded.

        Raises:
            BenchFailed: it is not so.
        """
        found = await self._connection.fetchrow(_COUNTS)
        assert found is not None
        if (found["runs"], found["tasks"], found["results"], found["succeeded"]) != (started, 0, started, started):
            raise BenchFailed(f"runs were lost, doubled or failed: expected {started} results, found {dict(found)}")

    async def _window(self, table: str, warm_up: float, cool_down: float) -> Window:
        row = await self._connection.fetchrow(_WINDOW[table], warm_up, cool_down)
        assert row is not None
        return Window(
            seconds=float(row["seconds"] or 0),
            count=row["count"],
            first_tenth=row["first_tenth"],
            last_tenth=row["last_tenth"],
        )
