"""Q2, Q5: consumers in processes of their own, which are killed, stopped and followed by others."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast import Queue
from holdfast.client import Client
from tests.apps.ledger import Ledger
from tests.house import ROOT, House, eventually


class Consumers:
    """Processes that consume."""

    def __init__(self, dsn: str, ledger: Ledger, log: Path) -> None:
        self._dsn = dsn
        self._log = log
        self.ledger = ledger
        self.processes: list[asyncio.subprocess.Process] = []

    async def begin(self, name: str, hang: str = "") -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.apps.postbox", self._dsn, name, *([hang] if hang else [])),
                cwd=ROOT,
                env={**os.environ, **self.ledger.env, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    async def said(self, line: str) -> None:
        """Returns when one of them has written this line."""
        await eventually(lambda: line in self.ledger.lines(), f"{line!r} in {self.ledger.lines()}\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text()[-4000:] if self._log.exists() else ""


@pytest.fixture
async def consumers(house: House, tmp_path: Path) -> AsyncIterator[Consumers]:
    consumers = Consumers(house.dsn, Ledger(tmp_path / "ledger"), tmp_path / "log")
    yield consumers
    for process in consumers.processes:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def letters(client: Client) -> Queue[int]:
    return client.queue("letters", int)


async def test_two_consumers_archive_each_of_forty_messages_once(
    house: House, letters: Queue[int], consumers: Consumers
) -> None:
    await asyncio.gather(*(consumers.begin(name) for name in ("one", "two")))
    await house.until("select count(*) = 2 from holdfast.consumer")
    for number in range(40):
        await letters.send(number)
    await house.until("select count(*) = 40 from holdfast.result where status = 1")
    await eventually(lambda: len(consumers.ledger.lines()) == 80, "both have written what they did")
    lines = [line.split() for line in consumers.ledger.lines()]
    received = Counter(int(line[2]) for line in lines if line[0] == "received")
    assert received == Counter(range(40))
    assert {line[3] for line in lines if line[0] == "received"} == {"1"}
    assert Counter(int(line[2]) for line in lines if line[0] == "archived") == Counter(range(40))
    assert {line[1] for line in lines} == {"one", "two"}, "both had a part in it"
    assert await house.value("select count(*) from holdfast.task") == 0


async def test_one_that_stops_hands_over_to_one_that_begins(
    house: House, letters: Queue[int], consumers: Consumers
) -> None:
    first = await consumers.begin("first")
    await letters.send_many(range(20))
    await consumers.said("archived first 3")
    first.terminate()
    assert await first.wait() == 0, consumers.log()
    await consumers.said("left first")
    # What it had received and not given out is there at once, as if it had never been received.
    left = await house.value("select count(*) from holdfast.task where due_at <= clock_timestamp()")
    assert left == await house.value("select count(*) from holdfast.task")
    await letters.send_many(range(20, 40))
    await consumers.begin("second")
    await house.until("select count(*) = 40 from holdfast.result where status = 1")
    await consumers.said("archived second 39")
    lines = [line.split() for line in consumers.ledger.lines()]
    received = {int(line[2]): line[3] for line in lines if line[0] == "received"}
    assert received == dict.fromkeys(range(40), "1")
    states = "select array_agg(state order by worker_id) from holdfast.consumer"
    assert (await house.value(states))[0] == "stopped"


async def test_the_messages_of_one_that_is_killed_come_back_by_themselves(
    house: House, letters: Queue[int], consumers: Consumers
) -> None:
    """``kill -9``: nobody is told, and nothing sweeps."""
    dying = await consumers.begin("dying", hang="2")
    await letters.send_many(range(5))
    await consumers.said("received dying 2 1")
    # While its handler runs the message is not visible to others, for longer than the visibility timeout.
    await house.until("select clock_timestamp() > first_claim_at + interval '4 seconds' from holdfast.task limit 1")
    assert await house.value("select count(*) from holdfast.task where due_at <= clock_timestamp()") == 0
    dying.kill()
    await dying.wait()
    await consumers.begin("living")
    await consumers.said("archived living 4")
    lines = consumers.ledger.lines()
    assert [line for line in lines if line.startswith("received living")] == [
        f"received living {n} 2" for n in (2, 3, 4)
    ]
    assert await house.value("select count(*) from holdfast.result where status = 1") == 5
    # It has not left; its lease says so when it is over.
    await house.db.execute("update holdfast.worker set lease_until = clock_timestamp() where name like 'dying%'")
    found = {one.name.partition("-")[0]: one.state for one in await letters.consumers(all=True)}
    assert found["dying"] == "lost"
    assert found["living"] in ("ready", "polling")
