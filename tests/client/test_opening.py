"""A client says at its opening what is wrong with the database, and never executes anything."""

from __future__ import annotations

import asyncpg
import pytest

from holdfast.client import Client
from holdfast.core.errors import AccessDenied, DatabaseUnavailable, HoldfastError, SchemaMismatch
from holdfast.core.states import RunStatus
from tests.client.shop import Connection, client_of, nothing
from tests.house import House, until


async def test_a_database_without_the_schema_is_refused(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="run `holdfast db setup`"):
        async with client_of(empty_dsn):
            pass


async def test_a_schema_of_another_version_is_refused(dsn: str, db: Connection) -> None:
    await db.execute("delete from holdfast.migration where version = (select max(version) from holdfast.migration)")
    with pytest.raises(SchemaMismatch, match="is at version"):
        async with client_of(dsn):
            pass


async def test_a_server_that_is_not_there_is_said(dsn: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="check that the server runs"):
        async with client_of("postgresql://nobody@127.0.0.1:1/nothing"):
            pass


async def test_nothing_is_left_of_a_client_that_could_not_be_opened(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch):
        async with client_of(empty_dsn):
            pass
    db = await asyncpg.connect(empty_dsn)
    await _alone(db)
    await db.close()


async def test_a_client_that_is_not_open_says_so(dsn: str) -> None:
    client = client_of(dsn)
    with pytest.raises(HoldfastError, match="async with app"):
        await client.start(nothing)
    assert repr(client) == "<client of 'holdfast'>"


async def test_a_role_without_rights_is_told_which_to_get(dsn: str, client: Client, db: Connection) -> None:
    name = await db.fetchval("select 'hf_' || left(md5(current_database()), 12)")
    await db.execute(f"create role {name}")
    await db.execute(f"grant usage on schema holdfast to {name}")
    try:
        async with db.transaction():
            await db.execute(f"set local role {name}")
            with pytest.raises(AccessDenied, match="holdfast db sql --roles"):
                async with db.transaction():
                    await client.start(nothing, connection=db)
    finally:
        await db.execute(f"drop owned by {name}")
        await db.execute(f"drop role {name}")


async def test_a_client_never_executes(house: House) -> None:
    app = house.app()
    ran: list[str] = []

    @app.workflow
    async def greet(name: str) -> str:
        ran.append(name)
        return f"hello {name}"

    client = await house.client(app)
    handle = await client.start(greet, "Ada")
    assert await handle.status() is RunStatus.READY
    assert ran == []
    await house.worker(app)
    assert await handle.result() == "hello Ada"
    assert ran == ["Ada"]


async def _alone(db: Connection) -> None:
    query = "select count(*) = 0 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    await until(lambda: db.fetchval(query), "no other connection is open")
