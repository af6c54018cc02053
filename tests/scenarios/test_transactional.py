"""W18: killed, frozen or cut off at any point, a transactional activity has as many effects as it has records."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from holdfast.client import Client
from tests.apps.bank import DIFFERENCES, LOCKED, PER_RUN, SLOW_COMMITS, TABLE, WAIT, book, books, books_once
from tests.apps.bank import app as bank
from tests.apps.tellers import LIBRARIES, LIBRARY
from tests.house import House, WorkerProcess

MODULE = "tests.apps.bank"
SOON = timedelta(seconds=20)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """What the bookings of the workers speak."""
    return str(request.param)


@pytest.fixture
async def client(house: House) -> Client:
    await house.db.execute(TABLE)
    bank.override(origin="the test", database_url=house.dsn)
    return await house.client(bank)


@pytest.fixture
async def holder(house: House) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A session that holds on to rows, and so holds up who wants them."""
    connection = await asyncpg.connect(house.dsn)
    yield connection
    connection.terminate()


async def worker(house: House, library: str, *, wait: int = 10, lease: str = "2s") -> WorkerProcess:
    env = {WAIT: str(wait), LIBRARY: library}
    process = await house.process(MODULE, "--lease", lease, "--poll", "200ms", env=env)
    await process.name()
    return process


async def effects_and_records_are_the_same(house: House) -> None:
    assert not await house.db.fetch(DIFFERENCES)


async def effects(house: House) -> int:
    count: int = await house.value("select count(*) from effect")
    return count


async def test_workers_are_killed_at_random_moments_and_every_effect_has_its_record(
    house: House, client: Client, library: str
) -> None:
    chance = random.Random(18)
    # Of what the worker does itself the first library shows most; each other one shows its own part.
    flows, single, kills = (90, 40, 8) if library == LIBRARIES[0] else (24, 12, 3)
    workers = [await worker(house, library), await worker(house, library)]
    runs = await client.start_many([books.call(n) for n in range(flows)])
    jobs = await client.start_many([book.call(n) for n in range(single)])
    wanted = flows * PER_RUN + single
    for _ in range(kills):
        target = min(await effects(house) + chance.randint(5, 40), wanted)
        await house.until("select count(*) >= $1 from effect", target)
        await workers.pop(chance.randrange(len(workers))).kill()
        # Also while they work on, and while what the dead one had begun is still going on in the database.
        await effects_and_records_are_the_same(house)
        workers.append(await worker(house, library))
    ids: list[UUID] = [run.id for run in (*runs, *jobs)]
    await house.ended(*ids, patience=60)
    assert await effects(house) == wanted
    assert await house.value("select sum(amount) from counter") == wanted
    await effects_and_records_are_the_same(house)
    assert not await house.db.fetch("select * from holdfast.result where status <> 1")
    await house.check_invariants()


async def test_a_frozen_worker_cannot_commit_after_its_lease(
    house: House, client: Client, holder: asyncpg.Connection[asyncpg.Record], library: str
) -> None:
    frozen = await worker(house, library, wait=0)
    name = await frozen.name()
    # Its transactions wait for a row, so they are open and have their effects in them when it is frozen.
    await holder.execute("begin; update counter set amount = amount")
    runs = await client.start_many([books_once.call(n) for n in range(3)])
    ids = [run.id for run in (*runs, await client.start(book, 1))]
    await house.until(LOCKED, 4)
    pids = await house.value(
        "select array_agg(pid) from pg_stat_activity where datname = current_database() and xact_start is not null "
        "and application_name like 'holdfast transactions%'"
    )
    assert len(pids) == 4
    frozen.send(signal.SIGSTOP)
    await worker(house, library, wait=0)
    await house.until("select state = 'lost' from holdfast.worker where name = $1", name)
    # What it had open was ended with its lease: nobody waits for what it had locked.
    await house.until("select count(*) = 0 from pg_stat_activity where pid = any ($1)", pids)
    await holder.execute("rollback")
    await house.ended(*ids)
    assert await effects(house) == 4
    frozen.send(signal.SIGCONT)
    await house.until(
        "select count(*) = 1 from holdfast.worker where pid = $1 and state = 'active' and name <> $2", frozen.pid, name
    )
    after = await client.start(books_once, 1)
    await after.result(timeout=SOON)
    assert await effects(house) == 5
    assert not await house.value("select count(*) from effect where pid = $1 and run_id = any ($2)", frozen.pid, ids)
    await effects_and_records_are_the_same(house)
    await house.check_invariants()


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
async def test_nobody_takes_a_run_whose_commit_is_under_way_before_that_is_decided(
    house: House, client: Client, holder: asyncpg.Connection[asyncpg.Record], what: signal.Signals, library: str
) -> None:
    await house.db.execute(SLOW_COMMITS)
    first = await worker(house, library, wait=0, lease="30s")
    name = await first.name()
    await holder.execute("begin; select from counter where number = 0 for update")
    run = await client.start(books_once, 1)
    await house.until(LOCKED, 1)
    first.send(what)
    await worker(house, library, wait=0)
    await house.expire_lease(name)
    # The commit is under way: others come by, and go on.
    for _ in range(3):
        assert await house.value("select recovered from holdfast.recover(100)") == 0
    assert await house.value("select state = 'active' from holdfast.worker where pid = $1", first.pid)
    await holder.execute("rollback")
    await house.ended(run.id)
    # It was committed by who is dead or frozen; whoever took the run over found its record.
    assert await house.value("select pid from effect where run_id = $1", run.id) == first.pid
    await effects_and_records_are_the_same(house)
    await house.check_invariants()


async def test_a_commit_that_stands_in_the_way_for_a_whole_lease_is_ended(
    house: House, client: Client, holder: asyncpg.Connection[asyncpg.Record], library: str
) -> None:
    await house.db.execute(SLOW_COMMITS)
    first = await worker(house, library, wait=0)
    await holder.execute("begin; select from counter where number = 0 for update")
    runs = [await client.start(books_once, 1), await client.start(book, 1)]
    await house.until(LOCKED, 2)
    first.send(signal.SIGSTOP)
    second = await worker(house, library, wait=0)
    await house.until("select state = 'lost' from holdfast.worker where pid = $1", first.pid)
    await holder.execute("rollback")
    await house.ended(*[run.id for run in runs])
    first.send(signal.SIGCONT)
    # It asks what became of its commits, and hears that there were none.
    await house.until("select count(*) = 1 from holdfast.worker where pid = $1 and state = 'active'", first.pid)
    assert await house.value("select array_agg(distinct pid) from effect") == [second.pid]
    assert await effects(house) == 2
    await effects_and_records_are_the_same(house)
    await house.check_invariants()
