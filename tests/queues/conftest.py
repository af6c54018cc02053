"""Queues with clients of this process; the invariants hold when a test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import Queue
from holdfast.client import Client
from tests.house import House


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """A client; what it leaves behind is sound."""
    async with house.app().client() as client:
        yield client
    await house.check_invariants()


@pytest.fixture
async def emails(client: Client) -> Queue[Any]:
    """A queue with bodies of plain JSON."""
    return client.queue("emails")


@pytest.fixture
async def others(house: House) -> Queue[Any]:
    """The same queue, of another client."""
    return (await house.client(house.app())).queue("emails")
