"""Holdfast, as its peers are: a client, and one worker in a process of its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally
from holdfast import App, Call, RunHandle
from holdfast import Client as Messenger

app = App(schema="holdfast")
QUEUE = "bench"


class Errand:
    """What this process is to do; activities are functions of the module, as users write them."""

    task = Task(url="")
    tally = Tally(expected=0)


@app.activity
async def noop(number: int, sent: float | None = None) -> int:
    """The job."""
    Errand.tally.tick(sent)
    return number


@app.activity
async def step(number: int) -> int:
    """A step; the last one says that the workflow is about to end."""
    if number == Errand.task.steps:
        Errand.tally.tick()
    return number


@app.workflow
async def steps(number: int) -> int:
    """The workflow."""
    done = 0
    while done < Errand.task.steps:
        done = await step(done + 1)
    return number


class HoldfastClient(Client):
    """``client.start``, ``client.start_many``, ``run.result()``; ``queue.send_many`` for messages."""

    async def open(self, task: Task) -> None:
        self._kind, self._is_workflow = task.kind, task.is_workflow
        app.override(origin="bench", database_url=task.url)
        # Opening it makes the schema. It is never closed: it ends with the process.
        self._stack = AsyncExitStack()
        self._client = await self._stack.enter_async_context(app.client())

    async def install(self) -> None:
        """It is there."""

    async def start(self, number: int) -> RunHandle[int]:
        return await self._client.start(steps if self._is_workflow else noop, number)

    async def start_many(self, count: int, sent: float | None = None) -> None:
        if self._kind == "message":
            await self._client.queue(QUEUE).send_many({"number": number, "sent": sent} for number in range(count))
            return
        calls: list[Call[Any]] = [
            steps.call(number) if self._is_workflow else noop.call(number, sent) for number in range(count)
        ]
        await self._client.start_many(calls)

    async def wait(self, handle: RunHandle[int]) -> None:
        await handle.result()


class HoldfastWorker(Worker):
    """``app.worker``; consumers of messages need none, and archive what they have received."""

    async def run(self, task: Task, tally: Tally) -> None:
        Errand.task, Errand.tally = task, tally
        app.override(origin="bench", database_url=task.url)
        settings = dict(task.settings)
        consumers = settings.pop("consumers")
        if task.kind != "message":
            await app.worker(**settings).run()
            return
        async with app.client() as client:
            await asyncio.gather(*(self._consume(client, consumers["batch"], tally) for _ in range(consumers["count"])))

    async def _consume(self, client: Messenger, batch: int, tally: Tally) -> None:
        queue = client.queue(QUEUE)
        while True:
            messages = await queue.receive(batch=batch)
            for message in messages:
                tally.tick(message.body["sent"])
            if messages:
                await queue.archive(messages)


if __name__ == "__main__":
    serve(HoldfastClient, HoldfastWorker)
