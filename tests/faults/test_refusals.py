"""R12: what the database refuses is told with its cause and its remedy: to clients, workers, on the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest

from holdfast import AccessDenied, DatabaseError, DatabaseUnavailable, SchemaMismatch
from holdfast.app import App
from holdfast.embedded import EmbeddedPostgres
from tests.client.shop import client_of
from tests.client.shop import nothing as nothing_at_all
from tests.house import QUICK, ROOT, House


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with a database, and what has to be said about it."""

    sql: str
    error: type[DatabaseError]
    words: tuple[str, ...]
    password: str = "right"


TROUBLES = {
    "wrong password": Trouble(
        sql="select",
        error=AccessDenied,
        words=("password authentication failed", "check user and password"),
        password="wrong",
    ),
    "no right to log in": Trouble(
        sql="alter role {role} nologin",
        error=AccessDenied,
        words=("is not permitted to log in", "check user and password"),
    ),
    "no connection left": Trouble(
        sql="alter role {role} connection limit 0",
        error=DatabaseUnavailable,
        words=("too many connections", "takes no more connections", "raise max_connections"),
    ),
    "read-only": Trouble(
        sql="alter database {database} set default_transaction_read_only = on",
        error=AccessDenied,
        words=("read-only", "default_transaction_read_only"),
    ),
    "no rights": Trouble(
        sql="revoke all on all tables in schema holdfast from {role}; grant select on holdfast.migration to {role}",
        error=AccessDenied,
        words=("permission denied", "holdfast db sql --roles"),
    ),
    "no schema": Trouble(
        sql="drop schema holdfast cascade",
        error=SchemaMismatch,
        words=("there is no schema 'holdfast'", "holdfast db setup"),
    ),
    "an older schema": Trouble(
        sql="delete from holdfast.migration where version = (select max(version) from holdfast.migration)",
        error=SchemaMismatch,
        words=("is at version", "holdfast db setup"),
    ),
    "a newer schema": Trouble(
        sql="insert into holdfast.migration (version, name, checksum, oldest_code) values (999, 'later', 'x', 999)",
        error=SchemaMismatch,
        words=("is at version 999", "deploy a newer release"),
    ),
    "another schema": Trouble(
        sql="update holdfast.migration set checksum = 'x' where version = 1",
        error=SchemaMismatch,
        words=("was made by another build",),
    ),
    "half a schema": Trouble(
        sql="alter table holdfast.task rename to elsewhere",
        error=SchemaMismatch,
        words=("not complete", "holdfast db setup"),
    ),
}


@pytest.fixture
async def role(house: House) -> AsyncIterator[str]:
    """A user with the rights of a client and of a worker."""
    name = f"user_of_{await house.value('select current_database()')}"
    await house.db.execute(f"create role {name} login password 'right'")
    await house.db.execute(f"grant usage on schema holdfast to {name}")
    await house.db.execute(f"grant all on all tables in schema holdfast to {name}")
    yield name
    await house.db.execute(f"drop owned by {name}")
    await house.db.execute(f"drop role {name}")


@pytest.fixture(params=TROUBLES)
async def trouble(request: pytest.FixtureRequest, house: House, role: str) -> Trouble:
    trouble = TROUBLES[request.param]
    database = await house.value("select current_database()")
    for statement in trouble.sql.format(role=role, database=database).split("; "):
        await house.db.execute(statement)
    return trouble


@pytest.fixture
async def dsn_of_role(house: House, server: EmbeddedPostgres, role: str, trouble: Trouble) -> str:
    database = await house.value("select current_database()")
    return server.dsn_for(database, user=role, password=trouble.password)


def is_told(said: str, trouble: Trouble) -> None:
    assert [word for word in trouble.words if word not in said] == []
    assert ":wrong" not in said
    assert "=wrong" not in said
    assert "Traceback" not in said


async def test_a_client_is_told(dsn_of_role: str, trouble: Trouble) -> None:
    with pytest.raises(trouble.error) as caught:
        async with client_of(dsn_of_role, patience=timedelta(seconds=6)) as client:
            await client.start(nothing_at_all)
    is_told(str(caught.value), trouble)


async def test_a_worker_is_told_and_does_not_begin(house: House, dsn_of_role: str, trouble: Trouble) -> None:
    app = App(dsn_of_role, auto_setup=False)

    @app.workflow
    async def flow() -> None:
        return None

    with pytest.raises(trouble.error) as caught:
        await app.worker(**QUICK).run()
    is_told(str(caught.value), trouble)


async def test_the_command_line_is_told_in_one_line(house: House, dsn_of_role: str, trouble: Trouble) -> None:
    for arguments in (("run", "start", "journey", "n=1"), ("worker", "--app", "tests.apps.journeys:app")):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast",
            *arguments,
            cwd=ROOT,
            env={**os.environ, "HOLDFAST_DATABASE_URL": dsn_of_role, "HOLDFAST_AUTO_SETUP": "false"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await process.communicate()
        said = stderr.decode()
        assert process.returncode == 3, said
        is_told(said, trouble)
        assert len([line for line in said.splitlines() if line.startswith("holdfast: ")]) == 1


async def nothing() -> None:
    return None


async def test_a_connection_that_breaks_while_a_worker_looks_around_is_a_database_that_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_session: object) -> object:
        # As the driver says it where the server goes between two steps of its own.
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    monkeypatch.setattr("holdfast.worker.worker.read_server", breaks)
    app = house.app()
    app.workflow(nothing)
    await house.client(app)
    with pytest.raises(DatabaseUnavailable, match="cannot be reached: cannot switch to state 12"):
        await app.worker(**QUICK).run()
