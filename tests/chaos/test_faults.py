"""Faults are counted by what they have met: one that had nothing to break is counted apart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.chaos.faults import POOL, Faults, Network
from tests.chaos.findings import Findings
from tests.faults.proxy import Proxy
from tests.house import eventually
from tests.store.ground import Ground

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

LASTING = ["answers to COMMIT lost", "network delayed", "hints dropped", "the client's pool exhausted"]
LOCKS = {
    "a transaction left open on tasks": "select from holdfast.task for update nowait",
    "a transaction left open on a limit": "select from holdfast.limit_key for update nowait",
    "a transaction left open on a schedule": "select from holdfast.schedule for update nowait",
    "a transaction left open on a parent": "select from holdfast.task where run_id = $1 for update nowait",
    "a transaction left open on a listener": "select from holdfast.task where run_id = $1 for update nowait",
}

SCHEDULE = """
insert into holdfast.schedule
  (id, name, origin, target, kind, said, cron, zone, input, lane, priority, jitter, overlap, catch_up, catch_up_limit,
   asserted_at, created_at, updated_at)
values
  (gen_random_uuid(), 'some', 'client', 'leaf', 1, '@daily', '@daily', 'UTC', '{}', 'default', 3, '0', 'skip', 'none',
   1, now(), now(), now())
"""


class Hasty(random.Random):
    """What lasts for seconds lasts for half of them at least, and the first of all choices is taken."""

    def uniform(self, a: float, b: float) -> float:
        return a / 2 if a >= 0.5 else b

    def random(self) -> float:
        return 0.0


@pytest.fixture
async def network(dsn: str) -> AsyncIterator[Network]:
    async with Proxy(dsn) as near, Proxy(dsn) as far:
        yield Network(near, far)


def faults_on(dsn: str, network: Network, *, poisons: bool = False) -> Faults:
    async def poison() -> bool:
        return poisons

    nobody: Any = None
    machine: Any = SimpleNamespace(house=SimpleNamespace(dsn=dsn))
    load: Any = SimpleNamespace(poison=poison)
    answers = ("select 7",)
    return Faults(machine, nobody, load, network, Hasty(), findings=Findings(), answers=answers)


@pytest.mark.parametrize("name", [*LASTING, *LOCKS, "a poison run"])
async def test_a_fault_that_meets_nothing_is_counted_apart(name: str, dsn: str, network: Network) -> None:
    faults = faults_on(dsn, network)
    await faults.deal(name)
    await faults.mend()
    assert (faults.dealt, faults.missed) == ({}, {name: 1})


async def test_a_poison_run_that_was_started_has_met_something(dsn: str, network: Network) -> None:
    faults = faults_on(dsn, network, poisons=True)
    await faults.deal("a poison run")
    await faults.mend()
    assert (faults.dealt, faults.missed) == ({"a poison run": 1}, {})


async def test_an_answer_that_is_lost_is_counted(dsn: str, network: Network) -> None:
    faults = faults_on(dsn, network)
    connection = await asyncpg.connect(network.far.dsn)
    await faults.deal("answers to COMMIT lost")
    await eventually(lambda: network.far.losses, "answers are lost")

    async def ask_on() -> None:
        while True:
            await connection.fetchval("select 7")

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await ask_on()
    await faults.mend()
    assert faults.dealt == {"answers to COMMIT lost": 1}
    assert faults.lost == {"select 7": 1}


async def test_a_request_that_is_delayed_is_counted(dsn: str, network: Network) -> None:
    faults = faults_on(dsn, network)
    connections = [await asyncpg.connect(proxy.dsn) for proxy in network]
    await faults.deal("network delayed")
    await eventually(lambda: any(proxy.delay for proxy in network), "requests are delayed")
    for connection in connections:
        await connection.fetchval("select 8")
        await connection.close()
    await faults.mend()
    assert faults.dealt == {"network delayed": 1}


async def test_a_hint_that_is_dropped_is_counted(dsn: str, db: Connection, network: Network) -> None:
    faults = faults_on(dsn, network)
    heard: list[str] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(str(payload))

    connections = [await asyncpg.connect(proxy.dsn) for proxy in network]
    for connection in connections:
        await connection.add_listener("news", hear)
    await faults.deal("hints dropped")
    await eventually(lambda: any(proxy.deaf for proxy in network), "hints are dropped")
    deaf = next(proxy for proxy in network if proxy.deaf)
    await db.execute("notify news, 'first'")
    await eventually(lambda: deaf.dropped, "one has been dropped")
    await faults.mend()
    assert faults.dealt == {"hints dropped": 1}
    await db.execute("notify news, 'second'")
    await eventually(lambda: heard.count("second") == len(connections), "the next is heard")
    assert heard.count("first") == len(connections) - 1
    for connection in connections:
        connection.terminate()


@pytest.mark.parametrize("asking", [POOL - 1, POOL])
async def test_a_pool_is_exhausted_when_all_of_its_connections_wait(asking: int, dsn: str, network: Network) -> None:
    faults = faults_on(dsn, network)
    pool = await asyncpg.create_pool(
        network.near.dsn, min_size=POOL, max_size=POOL, server_settings={"application_name": "holdfast client"}
    )
    await faults.deal("the client's pool exhausted")
    await eventually(lambda: network.near.holds, "requests are held up")
    asked = [asyncio.create_task(pool.fetchval("select 9")) for _ in range(asking)]
    await faults.mend()
    # What was held up has arrived, and is answered.
    assert await asyncio.gather(*asked) == [9] * asking
    name = "the client's pool exhausted"
    assert (faults.dealt, faults.missed) == (({name: 1}, {}) if asking == POOL else ({}, {name: 1}))
    pool.terminate()


@pytest.mark.parametrize("name", LOCKS)
async def test_a_row_that_is_locked_is_counted(name: str, dsn: str, db: Connection, network: Network) -> None:
    async with Ground(dsn, db) as ground:
        run_id, child = await ground.start(), await ground.start()
        await db.execute("update holdfast.run set parent = $1 where id = $2", run_id, child)
        await db.execute(
            "insert into holdfast.inbox (run_id, number, kind, name, at) values ($1, 1, 4, 'word', now())", run_id
        )
        await db.execute("insert into holdfast.limit_key (name, key, most, at) values ('some', '', 1, now())")
        await db.execute(SCHEDULE)
        faults = faults_on(dsn, network)
        await faults.deal(name)

        async def is_locked() -> bool:
            try:
                await db.execute(LOCKS[name].replace("$1", f"'{run_id}'"))
            except asyncpg.LockNotAvailableError:
                return True
            return False

        async with asyncio.timeout(10):
            while not await is_locked():
                pass
        await faults.mend()
        assert not await is_locked()
        assert (faults.dealt, faults.missed) == ({name: 1}, {})
