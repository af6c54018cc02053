"""Consumers of runs that are driven by hand, of this process; the invariants hold when a test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast import Client, DrivenConsumer
from tests.driven.task import TASK
from tests.house import House


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """A client with the workflow created; the invariants hold when the test is over."""
    client = await house.client(house.app())
    await client.driven.create_workflow(TASK)
    yield client
    await house.check_invariants()


@pytest.fixture
async def consumer(client: Client) -> AsyncIterator[DrivenConsumer]:
    async with client.driven.consumer(TASK, name="first") as consumer:
        yield consumer


@pytest.fixture
async def other(client: Client) -> AsyncIterator[DrivenConsumer]:
    async with client.driven.consumer(TASK, name="second") as consumer:
        yield consumer
