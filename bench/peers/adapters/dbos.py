"""DBOS: workflows on a queue, enqueued by ``DBOSClient``."""

from __future__ import annotations

import asyncio
from typing import Any

from dbos import DBOS, DBOSClient
from sqlalchemy import create_engine, make_url

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally

NAME, QUEUE = "bench", "bench"


class DbosClient(Client):
    """``DBOSClient``; many are enqueued in one transaction."""

    async def open(self, task: Task) -> None:
        self._task = task
        self._options: Any = {"queue_name": QUEUE, "workflow_name": "steps" if task.is_workflow else "noop"}

    async def install(self) -> None:
        await asyncio.to_thread(_launch, self._task)
        DBOS.destroy()
        pool = self._task.settings["pool"]
        self._engine = create_engine(
            make_url(self._task.url).set(drivername="postgresql+psycopg"), pool_size=pool, max_overflow=0
        )
        self._client = DBOSClient(system_database_engine=self._engine, application_name=NAME)

    async def start(self, number: int) -> Any:
        return await self._client.enqueue_async(self._options, number, None)

    async def start_many(self, count: int, sent: float | None = None) -> None:
        await asyncio.to_thread(self._start_many, count, sent)

    def _start_many(self, count: int, sent: float | None) -> None:
        with self._engine.begin() as connection:
            for number in range(count):
                self._client.enqueue_in_transaction(connection, self._options, number, sent)

    async def wait(self, handle: Any) -> None:
        await handle.get_result(polling_interval_sec=self._task.settings["polling_interval_sec"])


class DbosWorker(Worker):
    """A process that listens to the queue; its threads execute the workflows."""

    async def run(self, task: Task, tally: Tally) -> None:
        @DBOS.workflow(name="noop")
        def noop(number: int, sent: float | None) -> int:
            tally.tick(sent)
            return number

        @DBOS.step(name="step")
        def step(number: int) -> int:
            return number

        @DBOS.workflow(name="steps")
        def steps(number: int, sent: float | None) -> int:
            done = 0
            while done < task.steps:
                done = step(done + 1)
            tally.tick()
            return number

        await asyncio.to_thread(_launch, task)
        await asyncio.Event().wait()


def _launch(task: Task) -> None:
    DBOS(
        config={
            "name": NAME,
            "system_database_url": task.url,
            "sys_db_pool_size": task.settings["pool"],
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    if "worker_concurrency" in task.settings:
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=task.settings["worker_concurrency"],
            polling_interval_sec=task.settings["polling_interval_sec"],
        )


if __name__ == "__main__":
    serve(DbosClient, DbosWorker)
