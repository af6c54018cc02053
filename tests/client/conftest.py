"""A client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.client import Client
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from tests.client.shop import Connection, client_of
from tests.house import check_invariants


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    """A client that knows the definitions of the shop."""
    async with client_of(dsn) as client:
        yield client


@pytest.fixture
async def sound(dsn: str) -> AsyncIterator[None]:
    """The invariants hold when the test is over."""
    yield
    await check_invariants(dsn)


@pytest.fixture
async def server_db(server: EmbeddedPostgres) -> AsyncIterator[Connection]:
    """A connection to another database of the same server."""
    connection = await connect(server.dsn, application="tests")
    yield connection
    await connection.close()
