"""What can be broken: the network before the database, and a server of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from holdfast.client import Client
from tests.apps.journeys import app as journeys
from tests.apps.ledger import Ledger
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.house import House


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """What the activities of worker processes write down."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A way to the test's database that can be broken."""
    async with Proxy(dsn) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy, db: asyncpg.Connection[asyncpg.Record], tmp_path: Path) -> AsyncIterator[House]:
    """The same house, from the other side of the proxy: what is started in it has to go through there."""
    place = tmp_path / "far"
    place.mkdir()
    async with House(proxy.dsn, db, place) as far:
        yield far


@pytest.fixture
async def client(house: House) -> Client:
    """A client that has a sound connection."""
    journeys.override(origin="the test", database_url=house.dsn)
    return await house.client(journeys)


@pytest.fixture
def load(house: House, client: Client, ledger: Ledger) -> Load:
    """Runs that are under way while something breaks."""
    return Load(house, client, ledger)
