"""Code that blocks starts runs in transactions of its own thread, as Django, Flask and scripts have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import orm, text

from holdfast import App, BlockingClient, Cancellation, InvalidInput, Signal
from tests.house import House
from tests.integrations.callers import BESIDE, blocking_engine
from tests.integrations.ways import TABLES, set_up_django

go = Signal[int]("go")


class Undone(Exception):
    """Ends a block that is to be rolled back."""


@contextmanager
def in_psycopg(dsn: str) -> Generator[Any]:
    with psycopg.Connection[Any].connect(dsn) as connection:
        connection.execute(BESIDE.encode())
        yield connection


@contextmanager
def on_a_connection(dsn: str) -> Generator[Any]:
    with blocking_engine(dsn).begin() as connection:
        connection.execute(text(BESIDE))
        yield connection


@contextmanager
def in_a_session(dsn: str) -> Generator[Any]:
    with orm.Session(blocking_engine(dsn)) as session, session.begin():
        session.execute(text(BESIDE))
        yield session


@contextmanager
def in_a_scoped_session(dsn: str) -> Generator[Any]:
    scoped = orm.scoped_session(orm.sessionmaker(blocking_engine(dsn)))
    with scoped.begin():
        scoped.execute(text(BESIDE))
        yield scoped
    scoped.remove()


@contextmanager
def in_django(dsn: str) -> Generator[Any]:
    set_up_django(dsn)
    db: Any = import_module("django.db")
    try:
        with db.transaction.atomic():
            with db.connection.cursor() as cursor:
                cursor.execute(BESIDE)
            # It stands for the connection of this thread.
            yield db.connection
    finally:
        db.connection.close()


BLOCKS = [in_psycopg, on_a_connection, in_a_session, in_a_scoped_session, in_django]


@pytest.fixture
def app(house: House) -> App:
    app = house.app()

    @app.workflow
    async def waits(number: int) -> int:
        return number + await go.wait()

    return app


@pytest.fixture
async def client(house: House, app: App) -> Any:
    await house.db.execute(TABLES)
    client = app.blocking_client()
    yield client
    client.close()


async def count(house: House) -> tuple[int, int]:
    runs: int = await house.value("select count(*) from holdfast.run")
    notes: int = await house.value("select count(*) from note")
    return runs, notes


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_block_that_commits_has_started_and_sent_what_it_says(
    house: House, app: App, client: BlockingClient, block: Callable[[str], Any]
) -> None:
    waits: Any = app.definitions["waits"]

    def code() -> Any:
        with block(house.dsn) as connection:
            run = client.start(waits, 35, key="k", connection=connection)
            others = client.start_many([waits.call(n) for n in range(2)], keys=["a", "b"], connection=connection)
            assert run.signal(go, 7, connection=connection)
            assert others[0].cancel(connection=connection) is Cancellation.CANCELLED
            # Nobody else sees any of it yet.
            assert not client.list()
        return run.result()

    await house.worker(app)
    assert await asyncio.to_thread(code) == 42
    assert await count(house) == (3, 1)


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_block_that_raises_has_started_nothing(
    house: House, app: App, client: BlockingClient, block: Callable[[str], Any]
) -> None:
    waits: Any = app.definitions["waits"]

    def code() -> None:
        with block(house.dsn) as connection:
            client.start(waits, 1, connection=connection)
            client.start(waits, 1, key="k", connection=connection)
            raise Undone

    with pytest.raises(Undone):
        await asyncio.to_thread(code)
    assert await count(house) == (0, 0)


async def test_django_without_a_transaction_commits_all_or_none(house: House, app: App, client: BlockingClient) -> None:
    waits: Any = app.definitions["waits"]
    await asyncio.to_thread(client.start, waits, 1, key="b")

    def code() -> None:
        set_up_django(house.dsn)
        db: Any = import_module("django.db")
        with pytest.raises(Exception, match="belongs to"):
            client.start_many([waits.call(1), waits.call(2)], keys=["a", "b"], connection=db.connection)
        assert db.connection.get_autocommit()
        client.start_many([waits.call(1), waits.call(2)], keys=["c", "d"], connection=db.connection)
        assert db.connection.get_autocommit()
        db.connection.close()

    await asyncio.to_thread(code)
    assert await count(house) == (3, 0)


async def test_a_connection_that_nobody_knows_is_refused(house: House, app: App, client: BlockingClient) -> None:
    waits: Any = app.definitions["waits"]
    elsewhere: Any
    for elsewhere in ("postgresql://", object(), blocking_engine(house.dsn), asyncpg):
        with pytest.raises(InvalidInput, match="connection= takes a connection of asyncpg, psycopg or Django, or a"):
            await asyncio.to_thread(client.start, waits, 1, connection=elsewhere)
    assert await count(house) == (0, 0)
