"""One Postgres for the whole test run, a fresh database for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from holdfast.testing import Databases, shared_postgres
from holdfast.worker.bucket import Bucket
from tests.house import House
from tests.partitions.divided import divided_databases
from tests.store import ground

TEMPLATE = "holdfast_template"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        metavar="BIN_DIR",
        help="run on the Postgres of this bin directory instead of the embedded one",
    )
    parser.addoption(
        "--partitioned",
        action="store_true",
        help="run on databases whose tables are divided by day, where a test takes what it is given",
    )


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """What a test has begun in threads has ended with it."""
    before = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread not in before and thread.name.startswith("holdfast"):
            thread.join(timeout=5.0)
            assert not thread.is_alive(), f"{thread.name!r} still runs"


@pytest.fixture
def long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process take and keep all that fits, rather than what they can begin soon."""
    monkeypatch.setattr(Bucket, "_target", property(lambda self: 100))
    monkeypatch.setattr("holdfast.worker.overflow._EVERY", 3600.0)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The server that all workers of this test run share; it and its data are gone when the last one is done."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    bin_dir = request.config.getoption("--postgres")
    with shared_postgres(
        run, bin_dir=None if bin_dir is None else Path(bin_dir), options={"max_prepared_transactions": "4"}
    ) as server:
        yield server


@pytest.fixture(scope="session")
def holdfast_databases(server: EmbeddedPostgres, request: pytest.FixtureRequest) -> Databases:
    """In the place of the plugin's own: its fixtures use the server of these tests."""
    if request.config.getoption("--partitioned"):
        # So that the runs of tests without clients lie in a day, too.
        ground._ids = itertools.count(time.time_ns() // 1_000_000)
        return asyncio.run(divided_databases(server, whole=TEMPLATE))
    databases = Databases(server.dsn, template=TEMPLATE)
    asyncio.run(databases.__aenter__())
    return databases


@pytest.fixture
async def empty_dsn(holdfast_databases: Databases) -> AsyncIterator[str]:
    """A database with nothing in it."""
    async with holdfast_databases.database(empty=True) as url:
        yield url


@pytest.fixture
async def dsn(holdfast_databases: Databases) -> AsyncIterator[str]:
    """A database with Holdfast's schema, for this test alone."""
    async with holdfast_databases.database() as url:
        yield url


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to look at the test's database with."""
    connection = await connect(dsn, application="tests")
    yield connection
    if not connection.is_closed():
        await connection.close()


@pytest.fixture
async def house(dsn: str, db: asyncpg.Connection[asyncpg.Record], tmp_path: Path) -> AsyncIterator[House]:
    """A database with workers in it; what a test starts in it is ended with it."""
    async with House(dsn, db, tmp_path) as house:
        yield house
