"""What the tests of transactional activities have in common: a table of effects, and sessions that hold others up."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.house import House


@pytest.fixture
async def accounts(house: House) -> None:
    """Two accounts, and a table of notes."""
    await house.db.execute(
        """
        create table account (name text primary key, amount int not null);
        insert into account values ('ada', 100), ('bob', 0);
        create table note (text text not null);
        """
    )


@pytest.fixture
async def holder(house: House) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A session that holds on to rows, and so holds up who wants them."""
    connection = await asyncpg.connect(house.dsn)
    yield connection
    connection.terminate()
