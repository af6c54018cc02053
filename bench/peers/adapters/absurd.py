"""Absurd: ``spawn`` and one async worker."""

from __future__ import annotations

import asyncio
from typing import Any

from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL
from psycopg import AsyncConnection

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally

QUEUE = "bench"
_LOOK = 0.001


class AbsurdClient(Client):
    """Its way to wait for a task looks every 50 ms and less often; so here its result is looked at directly."""

    async def open(self, task: Task) -> None:
        self._name = "steps" if task.is_workflow else "noop"
        self._connection = await AsyncConnection.connect(task.url, autocommit=True)
        self._app = AsyncAbsurd(self._connection, queue_name=QUEUE)
        # Each has one connection: so there are several, as there would be with a pool.
        self._apps = [AsyncAbsurd(task.url, queue_name=QUEUE) for _ in range(task.settings["connections"])]

    async def install(self) -> None:
        # What `absurdctl init` does, with psql.
        await self._connection.execute(BUNDLED_SCHEMA_SQL)
        await self._app.create_queue(QUEUE)
        for app in self._apps:
            await app.list_queues()

    async def start(self, number: int) -> str:
        app = self._apps[number % len(self._apps)]
        spawned = await app.spawn(self._name, {"number": number}, queue=QUEUE)
        return str(spawned["task_id"])

    async def start_many(self, count: int, sent: float | None = None) -> None:
        async with self._connection.transaction():
            for number in range(count):
                await self._app.spawn(self._name, {"number": number, "sent": sent}, queue=QUEUE)

    async def wait(self, handle: str) -> None:
        while (snapshot := await self._app.fetch_task_result(handle)) is None or snapshot.state != "completed":
            await asyncio.sleep(_LOOK)


class AbsurdWorker(Worker):
    """``start_worker``, as often as there are to be workers in this process: each has one connection."""

    async def run(self, task: Task, tally: Tally) -> None:
        await asyncio.gather(*(self._work(number, task, tally) for number in range(task.settings["workers"])))

    async def _work(self, number: int, task: Task, tally: Tally) -> None:
        app = AsyncAbsurd(task.url, queue_name=QUEUE)

        @app.register_task("noop")
        async def noop(params: dict[str, Any], context: Any) -> int:
            tally.tick(params.get("sent"))
            return int(params["number"])

        @app.register_task("steps")
        async def steps(params: dict[str, Any], context: Any) -> int:
            done = 0
            while done < task.steps:
                done = await context.step("step", lambda done=done: _step(done + 1))
            tally.tick()
            return int(params["number"])

        await app.start_worker(
            worker_id=f"bench-{number}",
            concurrency=task.settings["concurrency"],
            poll_interval=task.settings["poll_interval"],
        )


async def _step(number: int) -> int:
    return number


if __name__ == "__main__":
    serve(AbsurdClient, AbsurdWorker)
