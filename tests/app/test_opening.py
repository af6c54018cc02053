"""Opening clients and workers: the database, its schema, and what is said where that fails."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast import (
    AccessDenied,
    App,
    BinariesNotFound,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    EmbeddedSettings,
    SchemaMismatch,
)
from holdfast.app.hosted import WorkerOptions
from holdfast.core.settings import WorkerSettings
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from tests.house import House


async def test_opening_a_client_makes_the_schema(empty_dsn: str) -> None:
    async with App(empty_dsn, schema="shop").client() as client:
        assert len(await client.list()) == 0
    async with App(empty_dsn, schema="shop", auto_setup=False).client() as client:
        assert len(await client.list()) == 0


async def test_many_clients_may_make_the_schema_at_once(empty_dsn: str) -> None:
    async def open_one() -> int:
        async with App(empty_dsn).client() as client:
            return len(await client.list())

    assert await asyncio.gather(*(open_one() for _ in range(5))) == [0] * 5


async def test_without_auto_setup_a_missing_schema_is_told(empty_dsn: str) -> None:
    with pytest.raises(
        SchemaMismatch, match=r"there is no schema 'holdfast' .* `holdfast db setup` \(auto_setup is off\)"
    ):
        async with App(empty_dsn, auto_setup=False).client():
            pass


async def test_a_schema_that_may_not_be_made_is_told(
    house: House, server: EmbeddedPostgres, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    name = await house.value("select current_database()")
    role = f"poor_{name}"
    await db.execute(f"create role {role} login password 'secret'")
    try:
        app = App(server.dsn_for(name, user=role, password="secret"), schema="another")
        with pytest.raises(AccessDenied, match=r"'another' has to be set up, and .* may not .* `holdfast db sql`"):
            async with app.client():
                pass
    finally:
        await db.execute(f"drop role {role}")


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("postgresql://localhost:1/shop", DatabaseUnavailable, "cannot be reached"),
        ("postgresql:///shop?host=/nowhere", DatabaseUnavailable, "cannot be reached"),
        ("postgresql://localhost:port/shop", DatabaseError, "cannot be used"),
        ("shop.db", ConfigurationError, "is not the URL of a Postgres"),
    ],
)
async def test_a_wrong_database_url_is_told(url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        async with App(url).client():
            pass


async def test_a_database_that_does_not_exist_is_told(server: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"\"nowhere\" does not exist .* create it"):
        async with App(server.dsn_for("nowhere")).client():
            pass


async def test_a_wrong_password_is_told_and_not_repeated(
    house: House, server: EmbeddedPostgres, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    name = await house.value("select current_database()")
    role = f"shy_{name}"
    await db.execute(f"create role {role} login password 'secret'")
    try:
        with pytest.raises(AccessDenied) as caught:
            async with App(server.dsn_for(name, user=role, password="wr0ng")).client():
                pass
    finally:
        await db.execute(f"drop role {role}")
    assert "refuses this user" in str(caught.value)
    assert "wr0ng" not in str(caught.value)


async def test_client_and_worker_live_in_one_process(house: House) -> None:
    app = house.app()

    @app.activity
    def double(number: int) -> int:
        return 2 * number

    @app.workflow
    async def chain(number: int) -> int:
        return await double(await double(number))

    async with app.client() as client, app.worker(skip_warm_up=True):
        run = await client.start(chain, 5)
        assert await run.result() == 20
    await house.check_invariants()


async def test_a_worker_runs_until_it_is_stopped(house: House) -> None:
    app = house.app()

    @app.activity
    def idle() -> None: ...

    worker = app.worker(skip_warm_up=True)
    running = asyncio.create_task(worker.run())
    await house.until("select count(*) = 1 from holdfast.worker where state = 'active'")
    worker.stop()
    await running
    assert await house.value("select count(*) from holdfast.worker where state = 'left'") == 1


async def test_a_worker_that_was_stopped_before_it_began_does_not_begin(house: House) -> None:
    app = house.app()

    @app.activity
    def idle() -> None: ...

    worker = app.worker()
    worker.stop()
    await worker.run()
    assert await house.value("select count(*) from holdfast.worker") == 0


def test_worker_options_are_the_worker_settings() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(WorkerSettings)}
    assert set(WorkerOptions.__annotations__) == set(fields)


def test_all_mistakes_in_worker_options_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        App().worker(lane="two words", max_threads=0)
    assert len(caught.value.mistakes) == 2


def test_a_number_in_place_of_a_duration_is_told() -> None:
    seconds: Any = 30
    with pytest.raises(
        ConfigurationError, match=r"lease \(app.worker\(lease=\)\): 1 s to 3600 s, not 30, which is no timedelta"
    ):
        App().worker(lease=seconds)


def test_options_of_a_tool_go_before_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SCHEMA", "from_variable")
    app = App("postgresql://code/db", schema="from_code")
    app.override(origin="--database-url", database_url="postgresql://option/db")
    settings = app.settings()
    assert (settings.database_url.value, settings.database_url.origin) == ("postgresql://option/db", "--database-url")
    assert settings.schema.value == "from_code"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's account can pass when the tests run as root, so that nothing is put elsewhere."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_an_embedded_postgres_is_started_and_stopped(place: Path) -> None:
    embedded = EmbeddedSettings(data_dir=place / "data", durability="test", temporary=True)
    app = App("embedded", embedded=embedded)

    @app.workflow
    async def greet(name: str) -> str:
        return f"hello {name}"

    async with app.client() as client, app.worker(skip_warm_up=True):
        dsn = EmbeddedPostgres(embedded).dsn
        run = await client.start(greet, "Ada")
        assert await run.result() == "hello Ada"
    with pytest.raises(DatabaseUnavailable):
        await connect(dsn, application="tests")


async def test_without_programs_for_it_the_way_out_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    app = App("embedded", embedded=EmbeddedSettings(data_dir=place / "data", bin_dir=place / "nothing"))
    with pytest.raises(BinariesNotFound) as caught:
        async with app.client():
            pass
    for words in ("HOLDFAST_DATABASE_URL", "DATABASE_URL", "holdfast.toml", "pip install 'holdfast[embedded]'"):
        assert words in str(caught.value)
