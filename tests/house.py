"""What tests stand in: a database, workers in this process or in others, and conditions to wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from uuid import UUID

import asyncpg

from holdfast.app import App
from holdfast.app.hosted import HostedWorker, WorkerOptions
from holdfast.client import Client
from holdfast.store.connect import connect
from holdfast.store.statements import in_schema
from tests.nursery import Forked, fork

ROOT = Path(__file__).parent.parent
INVARIANTS = (ROOT / "tests" / "invariants.sql").read_text(encoding="utf-8")

QUICK: WorkerOptions = {
    "skip_warm_up": True,
    "lease": timedelta(seconds=2),
    "poll": timedelta(milliseconds=200),
    "grace": timedelta(seconds=5),
    # So that what is parked is seen to be parked.
    "bucket_buffer_lead_time": timedelta(milliseconds=250),
}
"""Worker settings for tests."""

PATIENCE = 20.0
"""Seconds after which a condition that does not come true fails its test."""


HURRY = 0.3
"""Seconds in which a worker may end in order when its test is over."""


class House:
    """One database, and what a test starts in it."""

    def __init__(self, dsn: str, db: asyncpg.Connection[asyncpg.Record], place: Path) -> None:
        self.dsn = dsn
        self.db = db
        self.place = place
        self._stack = AsyncExitStack()
        self._processes: list[WorkerProcess] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            await process.end()
        await self._stack.aclose()

    def app(self, **options: Any) -> App:
        """An app on this database."""
        return App(self.dsn, **options)

    async def client(self, app: App) -> Client:
        """A client that is closed with the house."""
        return await self._stack.enter_async_context(app.client())

    async def worker(self, app: App, **options: Unpack[WorkerOptions]) -> HostedWorker:
        """A worker in this process, stopped in order with the house; if it fails, so does the test, at once."""
        merged: WorkerOptions = {**QUICK, **options}
        worker = await self._stack.enter_async_context(app.worker(**merged))
        test = asyncio.current_task()
        assert test is not None
        assert worker._worker is not None
        assert worker._worker._task is not None

        def fail(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and ended.exception() is not None:
                test.cancel("a worker has failed")

        running = worker._worker._task
        running.add_done_callback(fail)

        async def stop() -> None:
            # What the test has left running is not waited for until the grace is over.
            worker.stop()
            if not (await asyncio.wait([running], timeout=HURRY))[0]:
                worker.stop()

        self._stack.push_async_callback(stop)
        return worker

    async def process(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> WorkerProcess:
        """A worker process of ``holdfast worker --app MODULE:app``; killed with the house if it still runs."""
        process = WorkerProcess(self, await _spawn(self.dsn, self.place, module, arguments, env or {}))
        self._processes.append(process)
        return process

    async def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row."""
        return await self.db.fetchval(query, *arguments)

    async def until(self, query: str, *arguments: object, patience: float = PATIENCE) -> Any:
        """Waits until the query's first value is true, and gives it."""

        async def look() -> Any:
            return await self.db.fetchval(query, *arguments)

        return await until(look, f"{query} {arguments}", patience=patience)

    async def ended(self, *runs: UUID, patience: float = PATIENCE) -> None:
        """Waits until these runs have a result."""
        await self.until(
            "select count(*) = $2 from holdfast.result where run_id = any ($1::uuid[])",
            runs,
            len(runs),
            patience=patience,
        )

    async def journal(self, run: UUID) -> list[str]:
        """The keys of the run's journal, in order."""
        rows = await self.db.fetch("select key from holdfast.journal where run_id = $1 order by seq", run)
        return [row["key"] for row in rows]

    async def parked(self, *runs: UUID, patience: float = PATIENCE) -> None:
        """Waits until these runs have been begun and given back: they wait, and cost a row."""
        await self.until(
            "select count(*) = $2 from holdfast.task where run_id = any ($1::uuid[]) "
            "and bucket_id is null and first_claim_at is not null",
            runs,
            len(runs),
            patience=patience,
        )

    async def held(self, *runs: UUID, patience: float = PATIENCE) -> None:
        """Waits until workers hold these runs."""
        await self.until(
            "select count(*) = $2 from holdfast.task where run_id = any ($1::uuid[]) and bucket_id is not null",
            runs,
            len(runs),
            patience=patience,
        )

    def log(self) -> str:
        """What the worker processes have said."""
        file = self.place / "workers.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    async def expire_lease(self, name: str) -> None:
        """Ends the lease of the worker with this name, as if it had not renewed it."""
        await self.db.execute("update holdfast.worker set lease_until = clock_timestamp() where name = $1", name)

    async def advance(self, span: timedelta) -> None:
        """Moves the database's clock (not that of leases) forward by this much, on top of earlier moves."""
        moved = await self.db.fetchval("select holdfast.now() - clock_timestamp()") + span
        await self.db.execute(
            "create or replace function holdfast.now() returns timestamptz language sql volatile parallel safe "
            f"as $$ select clock_timestamp() + interval '{moved.total_seconds():.6f} seconds' $$"
        )

    async def check_invariants(self) -> None:
        """Every invariant that can be read from the tables; fails with the rows that break one."""
        await check_invariants(self.dsn)


class WorkerProcess:
    """A process with a worker in it."""

    def __init__(self, house: House, process: asyncio.subprocess.Process | Forked) -> None:
        self._house = house
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def name(self) -> str:
        """The name of its worker, once it is registered."""

        async def look() -> str | None:
            assert self._process.returncode is None, f"the worker process has ended:\n{self._house.log()[-4000:]}"
            name: str | None = await self._house.value(
                "select name from holdfast.worker where pid = $1 and ended_at is null order by id desc",
                self.pid,
            )
            return name

        return str(await until(look, "the worker process has registered"))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """``kill -9``, and waits until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def exit(self, *, patience: float = PATIENCE) -> int:
        """Waits until it is gone by itself, and gives its exit code."""
        async with asyncio.timeout(patience):
            return await self._process.wait()

    async def end(self) -> None:
        """Whatever state it is in: gone."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            await self.kill()


async def _spawn(
    dsn: str, place: Path, module: str, arguments: Sequence[str], env: dict[str, str]
) -> asyncio.subprocess.Process | Forked:
    words = ["worker", "--app", f"{module}:app", "--skip-warm-up", *arguments]
    log = place / "workers.log"
    environment = {
        **os.environ,
        "HOLDFAST_DATABASE_URL": dsn,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **env,
    }
    if not any(name.startswith(("LD_", "PYTHON", "DYLD_")) for name in env):
        return await fork(words, env=environment, cwd=ROOT, log=log)
    # These count when a program begins.
    with log.open("ab") as out:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "holdfast", *words),
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


async def until(look: Callable[[], Awaitable[Any]], what: str, *, patience: float = PATIENCE) -> Any:
    """Waits until ``look`` gives something true, and gives it; fails after ``patience`` seconds."""
    pause = 0.002
    try:
        async with asyncio.timeout(patience):
            while not (found := await look()):
                await asyncio.sleep(pause)  # between two looks at a condition
                pause = min(pause * 1.5, 0.05)
            return found
    except TimeoutError:
        raise AssertionError(f"did not come true within {patience:g} s: {what}") from None


async def eventually(condition: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """Waits until ``condition``, which only looks at memory or at files, gives something true, and gives it."""

    async def look() -> Any:
        return condition()

    return await until(look, what, patience=patience)


def invariants(but: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """What tests/invariants.sql looks at, each with its title; ``but`` leaves out those whose titles begin so."""
    for part in INVARIANTS.split("-- invariant: ")[1:]:
        title, _, query = part.partition("\n")
        if not title.startswith(but):
            yield title, query


async def check_invariants(dsn: str, schema: str = "holdfast", *, but: tuple[str, ...] = ()) -> None:
    """Runs tests/invariants.sql: each query gives the rows that break an invariant; ``but`` leaves some out."""
    connection = await connect(dsn, application="invariants")
    try:
        broken: list[str] = []
        for title, query in invariants(but):
            rows = await connection.fetch(in_schema(query, schema))
            broken.extend(f"{title}: {dict(row)}" for row in rows)
        assert not broken, "\n".join(broken)
    finally:
        await connection.close()
