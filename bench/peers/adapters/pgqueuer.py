"""pgqueuer: ``enqueue`` with lists, several queue managers in one process as in its own benchmark."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally


class PgqueuerClient(Client):
    """Its ``CompletionWatcher`` waits for jobs."""

    async def open(self, task: Task) -> None:
        self._pool = await asyncpg.create_pool(task.url, min_size=1, max_size=task.settings["pool"])
        self._driver = AsyncpgPoolDriver(self._pool)
        self._queries = Queries(self._driver)
        self._debounce = timedelta(milliseconds=task.settings["watcher_debounce_ms"])
        self._watcher: CompletionWatcher | None = None

    async def install(self) -> None:
        await self._queries.install()

    async def start(self, number: int) -> int:
        (job,) = await self._queries.enqueue("noop", json.dumps({"number": number}).encode())
        return job

    async def start_many(self, count: int, sent: float | None = None) -> None:
        payloads = [json.dumps({"number": number, "sent": sent}).encode() for number in range(count)]
        await self._queries.enqueue(["noop"] * count, payloads, [0] * count)

    async def wait(self, handle: int) -> None:
        if self._watcher is None:
            self._watcher = await CompletionWatcher(
                self._driver, queries=self._queries, debounce=self._debounce
            ).__aenter__()
        await self._watcher.wait_for(handle)


class PgqueuerWorker(Worker):
    """Each manager has a connection of its own."""

    async def run(self, task: Task, tally: Tally) -> None:
        async def manage() -> None:
            pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(task.url)))

            @pgq.entrypoint("noop")
            async def noop(job: Job) -> None:
                assert job.payload is not None
                tally.tick(json.loads(job.payload).get("sent"))

            await pgq.run(batch_size=task.settings["batch_size"])

        await asyncio.gather(*(manage() for _ in range(task.settings["managers"])))


if __name__ == "__main__":
    serve(PgqueuerClient, PgqueuerWorker)
