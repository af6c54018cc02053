"""One Postgres for the whole test run, a fresh database for each test."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from holdfast.store.connect import connect
from holdfast.store.migrate import migrate
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import House

TEMPLATE = "holdfast_template"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        metavar="BIN_DIR",
        help="run on the Postgres of this bin directory instead of the embedded one",
    )


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The server that all workers of this test run share; it and its data are gone when the last one is done."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    memory = Path("/dev/shm")  # noqa: S108 - the data is worth nothing, and this is quicker than any disk
    base = memory if memory.is_dir() else Path(tempfile.gettempdir())
    place = base / f"holdfast-tests-{run[:12]}"
    bin_dir = request.config.getoption("--postgres")
    settings = EmbeddedSettings(
        data_dir=place / "data",
        bin_dir=None if bin_dir is None else Path(bin_dir),
        durability="test",
        temporary=True,
        max_connections=400,
        options={"max_prepared_transactions": "4"},
        start_timeout=timedelta(seconds=60),
    )
    server = EmbeddedPostgres(settings)
    with _alone_in(place):
        server.start()
        asyncio.run(make_template(server))
    yield server
    with _alone_in(place):
        server.stop()
        if not (place / "data").exists():
            # The last one has left: the server has taken its data with it.
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _alone_in(place: Path) -> Generator[None]:
    """One process of the test run at a time comes and goes; whoever comes after the place was removed makes it anew."""
    while True:
        place.mkdir(mode=0o711, exist_ok=True)
        try:
            lock = (place / "lock").open("w")
        except FileNotFoundError:
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (place / "lock").exists() and (place / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return


async def make_template(server: EmbeddedPostgres) -> None:
    admin = await connect(server.dsn, application="tests")
    try:
        if await admin.fetchval("select 1 from pg_database where datname = $1", TEMPLATE):
            return
        unfinished = f"{TEMPLATE}_unfinished"
        await admin.execute(f"drop database if exists {unfinished} with (force)")
        await admin.execute(f"create database {unfinished}")
        connection = await connect(server.dsn_for(unfinished), application="tests")
        await migrate(Session(connection, Statements()))
        await connection.close()
        await admin.execute(f"alter database {unfinished} rename to {TEMPLATE}")
    finally:
        await admin.close()


@pytest.fixture
async def empty_dsn(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database with nothing in it."""
    async for dsn in _database(server, "template1"):
        yield dsn


@pytest.fixture
async def dsn(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database with Holdfast's schema, for this test alone."""
    async for dsn in _database(server, TEMPLATE):
        yield dsn


async def _database(server: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    admin = await connect(server.dsn, application="tests")
    try:
        await admin.execute(f"create database {name} template {template}")
        try:
            yield server.dsn_for(name)
        finally:
            await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


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
