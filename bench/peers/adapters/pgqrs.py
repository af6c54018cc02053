"""pgqrs: producers, consumers that archive in batches, and runs whose steps are acquired."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pgqrs

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally

QUEUE, WORKFLOW = "bench", "steps"
_LOOK = 0.001
_MOST = 100
"""Its own limit for a batch that is enqueued."""


async def _connect(task: Task) -> Any:
    config = pgqrs.Config(task.url, max_connections=task.settings["pool"])
    if "max_enqueue_per_second" in task.settings:
        # It limits the rate of producers, unless it is told not to.
        config.max_enqueue_per_second = task.settings["max_enqueue_per_second"]
    return await pgqrs.connect_with(config)


class PgqrsClient(Client):
    """It has no way to wait for a message: whether its row is archived is looked at."""

    async def open(self, task: Task) -> None:
        self._is_workflow = task.is_workflow
        self._connection = await asyncpg.connect(task.url)
        self._store = await _connect(task)
        self._producer: Any = None

    async def install(self) -> None:
        await pgqrs.admin(self._store).install()
        await self._store.queue(QUEUE)
        await pgqrs.workflow().name(WORKFLOW).store(self._store).create()
        self._producer = await self._store.producer(QUEUE)

    async def start(self, number: int) -> int:
        if self._is_workflow:
            triggered = await self._trigger(number)
            found: int = triggered.id
            return found
        message: int = await self._producer.enqueue({"number": number})
        return message

    async def start_many(self, count: int, sent: float | None = None) -> None:
        if self._is_workflow:
            for first in range(0, count, _MOST):
                await asyncio.gather(*(self._trigger(number) for number in range(first, min(first + _MOST, count))))
            return
        for first in range(0, count, _MOST):
            size = min(_MOST, count - first)
            await pgqrs.enqueue_batch(self._producer, [{"number": first + n, "sent": sent} for n in range(size)])

    async def _trigger(self, number: int) -> Any:
        return await pgqrs.workflow().name(WORKFLOW).store(self._store).trigger({"number": number}).execute()

    async def wait(self, handle: int) -> None:
        look = await self._connection.prepare("select archived_at is not null from pgqrs_messages where id = $1")
        while not await look.fetchval(handle):
            await asyncio.sleep(_LOOK)


class PgqrsWorker(Worker):
    """Consumers side by side in one process, each of which takes a batch and archives it."""

    async def run(self, task: Task, tally: Tally) -> None:
        store = await _connect(task)
        consume = self._execute if task.is_workflow else self._archive
        await asyncio.gather(*(consume(store, task, tally) for _ in range(task.settings["consumers"])))

    async def _archive(self, store: Any, task: Task, tally: Tally) -> None:
        consumer = await store.consumer(QUEUE)
        while True:
            messages = await consumer.dequeue(batch_size=task.settings["batch_size"])
            for message in messages:
                tally.tick(message.payload.get("sent"))
            if messages:
                await consumer.archive_many([message.id for message in messages])
            else:
                await asyncio.sleep(task.settings["idle_sleep"])

    async def _execute(self, store: Any, task: Task, tally: Tally) -> None:
        consumer = await store.consumer(WORKFLOW)
        while True:
            messages = await consumer.dequeue(batch_size=task.settings["batch_size"])
            await asyncio.gather(*(self._run(store, consumer, message, task, tally) for message in messages))
            if not messages:
                await asyncio.sleep(task.settings["idle_sleep"])

    async def _run(self, store: Any, consumer: Any, message: Any, task: Task, tally: Tally) -> None:
        run = await pgqrs.run().message(message).store(store).execute()
        for number in range(task.steps):
            step = await run.acquire_step(f"step{number}", current_time=run.current_time)
            if step.status == pgqrs.StepResultStatus.Execute:
                await step.guard.success(number)
        tally.tick()
        await run.complete(task.steps)
        await consumer.archive(message.id)


if __name__ == "__main__":
    serve(PgqrsClient, PgqrsWorker)
