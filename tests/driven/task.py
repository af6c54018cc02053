"""The workflow that these tests drive, and what they do to its runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from holdfast import DrivenConsumer, DrivenRun
from holdfast.store.connect import connect
from tests.house import House
from tests.scenarios.soon import SOON

TASK = "process_task"
HELLO = {"id": 1, "payload": "Hello"}


async def take(consumer: DrivenConsumer) -> DrivenRun:
    (run,) = await consumer.dequeue(wait=SOON)
    return run


async def look(house: House, query: str, *arguments: object) -> Any:
    """A value from a connection of its own, for tasks that look at the same time."""
    connection = await connect(house.dsn, application="tests")
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def expire(house: House, run: UUID) -> None:
    """As if the one that has the run in hand had sent no heartbeat for the time of its visibility."""
    await look(house, "update holdfast.task set due_at = holdfast.now() where run_id = $1 and flags & 1 = 0", run)
