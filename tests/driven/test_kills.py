"""Q6: the program of docs/guide/driving-runs.md in two processes, one of which is killed with kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import Client, RunStatus
from tests.house import ROOT, House, until
from tests.scenarios.soon import SOON

PAGE = (ROOT / "docs" / "guide" / "driving-runs.md").read_text(encoding="utf-8")
PROGRAM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
RUNS = 60


class Processes:
    """Processes that run the program; none is left."""

    def __init__(self, house: House, place: Path) -> None:
        self._house = house
        self._file = place / "program.py"
        self._file.write_text(f"{PROGRAM}\n\nasyncio.run(work())\n", encoding="utf-8")
        self.all: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._file),
            env={**os.environ, "HOLDFAST_DATABASE_URL": self._house.dsn, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.DEVNULL,
        )
        self.all.append(process)
        return process

    async def end(self) -> None:
        for process in self.all:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def processes(house: House, tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(house, tmp_path)
    try:
        yield processes
    finally:
        await processes.end()


@pytest.fixture
async def client(house: House) -> Client:
    client = await house.client(house.app())
    await client.driven.create_workflow("process_task")
    return client


async def test_the_program_of_the_page_with_one_of_its_two_processes_killed(
    house: House, client: Client, processes: Processes
) -> None:
    runs = [await client.driven.trigger("process_task", {"id": n, "payload": "Hello"}) for n in range(RUNS)]
    victim, _ = [await processes.start() for _ in range(2)]
    holders = "select array_agg(distinct worker) from holdfast.runs where status = 'running'"
    await until(lambda: _two(house, holders), "both have runs in hand")
    # While it has some in hand, and has recorded steps of others.
    await house.until("select count(*) > 10 from holdfast.journal")
    victim.kill()
    await victim.wait()
    for n, run in enumerate(runs):
        assert await run.result(SOON) == {"to": n, "text": "Hello, World!"}
        assert await house.journal(run.id) == ["process_task#1", "send#1"]
    await house.check_invariants()


async def test_one_that_is_killed_between_the_success_of_a_step_and_the_end_of_its_run(
    house: House, client: Client, processes: Processes
) -> None:
    run = await client.driven.trigger("process_task", {"id": 1, "payload": "Hello"})
    # The row of its last step is there, and the end of the run waits for a lock that this test has.
    await house.db.execute(
        "create function hold_up() returns trigger language plpgsql as "
        "$$ begin perform pg_advisory_xact_lock(4711); return new; end $$"
    )
    await house.db.execute(
        "create trigger hold_up before insert on holdfast.result for each row execute function hold_up()"
    )
    await house.db.execute("select pg_advisory_lock(4711)")
    victim = await processes.start()
    await house.until("select count(*) = 2 from holdfast.journal where run_id = $1", run.id)
    await house.until("select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted and objid = 4711")
    victim.kill()
    await victim.wait()
    # The server notices at its next word to the client that nobody is there; until then the row is locked.
    await house.db.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and not granted and objid = 4711"
    )
    await house.db.execute("select pg_advisory_unlock(4711)")
    before = [dict(row) for row in await house.db.fetch("select * from holdfast.journal order by seq")]
    assert await run.status() is RunStatus.RUNNING
    await processes.start()
    assert await run.result(SOON) == {"to": 1, "text": "Hello, World!"}
    assert [dict(row) for row in await house.db.fetch("select * from holdfast.journal order by seq")] == before
    assert json.loads(await house.value("select output from holdfast.result")) == {"to": 1, "text": "Hello, World!"}
    await house.check_invariants()


async def _two(house: House, query: str) -> bool:
    return len(await house.value(query) or []) == 2
