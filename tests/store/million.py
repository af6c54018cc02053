"""The big database: a million parked runs and a million that have ended. Nothing that is done in it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.testing import Databases
from tests.conftest import TEMPLATE
from tests.store.plans import Plans, explained

MILLION = Path(__file__).with_name("million.sql").read_text(encoding="utf-8")
NAME = "holdfast_million"


@pytest.fixture(scope="session")
def million(server: EmbeddedPostgres, holdfast_databases: Databases) -> str:
    """The DSN of the big database; nothing that is done in it is committed."""
    del holdfast_databases  # which have made the template
    asyncio.run(_make(server))
    return server.dsn_for(NAME)


async def _make(server: EmbeddedPostgres) -> None:
    admin = await connect(server.dsn, application="tests")
    try:
        # Whoever comes second waits here, and finds it made.
        await admin.execute("select pg_advisory_lock(1000000)")
        if await admin.fetchval("select 1 from pg_database where datname = $1", NAME):
            return
        await admin.execute(f"drop database if exists {NAME}_unfinished with (force)")
        await admin.execute(f"create database {NAME}_unfinished template {TEMPLATE}")
        filling = await connect(server.dsn_for(f"{NAME}_unfinished"), application="tests")
        await filling.execute(MILLION, timeout=110)
        await filling.execute("vacuum (freeze, analyze)", timeout=60)
        await filling.close()
        await admin.execute(f"alter database {NAME}_unfinished rename to {NAME}")
    finally:
        await admin.close()


@pytest.fixture(params=["auto", "force_generic_plan"])
async def big(million: str, request: pytest.FixtureRequest) -> AsyncIterator[Session]:
    """A session in the big database, with plans for the values given, or for any."""
    connection = await connect(million, application="tests")
    # One test at a time: what one has locked, another would pass over.
    await connection.execute("select pg_advisory_lock(1)")
    await connection.execute(f"set plan_cache_mode = {request.param}")
    yield Session(connection, Statements())
    await connection.close()


Verb = Callable[[Session], Awaitable[Any]]


async def done(session: Session, verb: Verb) -> tuple[Any, Plans]:
    """What a verb gives, and how it was done; afterwards nothing has happened."""
    connection: Any = session.connection

    async def once() -> tuple[Any, Plans]:
        transaction = connection.transaction()
        await transaction.start()
        async with explained(connection) as plans:
            answer = await verb(session)
        await transaction.rollback()
        assert plans.plans
        return answer, plans

    # The first time fills the caches of the catalog, whose tables are touched like any other.
    await once()
    return await once()
