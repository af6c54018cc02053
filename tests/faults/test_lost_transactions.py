"""W18, R6: what became of a commit whose answer is lost is read, and never guessed."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from holdfast.client import Client
from tests.apps.bank import DIFFERENCES, LOCKED, PER_RUN, SLOW_COMMITS, TABLE, WAIT, book, books, books_once
from tests.apps.bank import app as bank
from tests.apps.tellers import LIBRARIES, LIBRARY
from tests.faults.proxy import Proxy
from tests.house import House, WorkerProcess, eventually

SOON = timedelta(seconds=20)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """What the bookings of the worker speak."""
    return str(request.param)


@pytest.fixture
async def near(house: House) -> Client:
    """A client with a sound connection."""
    await house.db.execute(TABLE)
    bank.override(origin="the test", database_url=house.dsn)
    return await house.client(bank)


async def worker(far: House, library: str, *, wait: int = 5) -> WorkerProcess:
    env = {WAIT: str(wait), LIBRARY: library}
    process = await far.process("tests.apps.bank", "--poll", "200ms", "--lease", "30s", env=env)
    await process.name()
    return process


async def all_is_well(house: House, runs: list[UUID], effects: int) -> None:
    await house.ended(*runs, patience=40)
    assert not await house.db.fetch(DIFFERENCES)
    assert await house.value("select count(*) from effect") == effects
    assert await house.value("select sum(amount) from counter") == effects
    assert not await house.db.fetch("select * from holdfast.result where status <> 1")
    await house.check_invariants()


async def test_answers_to_commits(house: House, far: House, near: Client, proxy: Proxy, library: str) -> None:
    await worker(far, library)
    loss = proxy.lose("COMMIT", lambda place, _rows: place % 3 == 0)
    runs = await near.start_many([books.call(n) for n in range(12)])
    jobs = await near.start_many([book.call(n) for n in range(8)])
    await all_is_well(house, [run.id for run in (*runs, *jobs)], 12 * PER_RUN + 8)
    assert loss.lost >= 15
    # What was committed was not tried again: nobody counted a failed attempt for a lost answer.
    assert not await house.value("select count(*) from holdfast.journal where kind = 2 and key like 'book#%'")
    assert await house.value("select max(attempt) from effect where key = 'book#1'") == 1
    assert "in doubt" in far.log()


async def test_answers_to_everything_that_is_said_for_them(
    house: House, far: House, near: Client, proxy: Proxy, library: str
) -> None:
    chance = random.Random(3)
    await worker(far, library)
    losses = [
        proxy.lose(part, lambda _place, _rows: chance.random() < 0.2)
        for part in ("COMMIT", "holdfast.record(", "holdfast.begin_activity(", "holdfast.settle(", "insert into effect")
    ]
    runs = await near.start_many([books.call(n) for n in range(12)])
    await all_is_well(house, [run.id for run in runs], 12 * PER_RUN)
    assert all(loss.lost for loss in losses[:3])


async def test_connections_that_are_cut_again_and_again(
    house: House, far: House, near: Client, proxy: Proxy, library: str
) -> None:
    chance = random.Random(4)
    await worker(far, library)
    runs = await near.start_many([books.call(n) for n in range(15)])
    for _ in range(10):
        before = await house.value("select count(*) from effect")
        await house.until(
            "select count(*) >= least($1::int, $2::int) from effect", before + chance.randint(1, 6), 15 * PER_RUN
        )
        proxy.cut()
    await all_is_well(house, [run.id for run in runs], 15 * PER_RUN)


async def test_backends_that_are_terminated_again_and_again(
    house: House, far: House, near: Client, library: str
) -> None:
    chance = random.Random(5)
    await worker(far, library)
    runs = await near.start_many([books.call(n) for n in range(15)])
    for _ in range(10):
        before = await house.value("select count(*) from effect")
        await house.until(
            "select count(*) >= least($1::int, $2::int) from effect", before + chance.randint(1, 6), 15 * PER_RUN
        )
        await house.db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and application_name like 'holdfast transactions%'"
        )
    await all_is_well(house, [run.id for run in runs], 15 * PER_RUN)


async def test_a_commit_that_is_still_under_way_is_waited_for(
    house: House, far: House, near: Client, proxy: Proxy, library: str
) -> None:
    await house.db.execute(SLOW_COMMITS)
    await worker(far, library)
    holder = await asyncpg.connect(house.dsn)
    await holder.execute("begin; select from counter where number = 0 for update")
    run = await near.start(books_once, 1)
    await house.until(LOCKED, 1)
    # The connection breaks, and the server does not notice, because it is at work.
    proxy.cut()
    await eventually(lambda: "in doubt" in far.log(), "the worker asks what became of it")
    assert await house.value("select count(*) from effect") == 0
    assert await house.value("select count(*) from holdfast.result") == 0
    await holder.execute("rollback")
    await holder.close()
    await run.result(timeout=SOON)
    assert await house.value("select array_agg(attempt) from effect") == [1]
    await all_is_well(house, [run.id], 1)
