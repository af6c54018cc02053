"""procrastinate: ``defer_async``, ``batch_defer_async``, workers with many coroutines."""

from __future__ import annotations

import asyncio
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status

from bench.peers.adapter import Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally

_LOOK = 0.001


def _app(task: Task, tally: Tally | None = None) -> tuple[App, Any]:
    app = App(connector=PsycopgConnector(conninfo=task.url, max_size=task.settings["pool"]))

    @app.task(name="noop")
    async def noop(number: int, sent: float | None = None) -> int:
        assert tally is not None
        tally.tick(sent)
        return number

    return app, noop


class ProcrastinateClient(Client):
    """It has no way to wait for a job: its status is looked at."""

    async def open(self, task: Task) -> None:
        self._app, self._noop = _app(task)
        await self._app.open_async()

    async def install(self) -> None:
        await self._app.schema_manager.apply_schema_async()

    async def start(self, number: int) -> int:
        job: int = await self._noop.defer_async(number=number)
        return job

    async def start_many(self, count: int, sent: float | None = None) -> None:
        await self._noop.batch_defer_async(*({"number": number, "sent": sent} for number in range(count)))

    async def wait(self, handle: int) -> None:
        while await self._app.job_manager.get_job_status_async(handle) is not Status.SUCCEEDED:
            await asyncio.sleep(_LOOK)


class ProcrastinateWorker(Worker):
    """``app.run_worker_async``, as often as there are to be workers in this process: each fetches job by job."""

    async def run(self, task: Task, tally: Tally) -> None:
        app, _ = _app(task, tally)
        async with app.open_async():
            workers = (
                app.run_worker_async(concurrency=task.settings["concurrency"], install_signal_handlers=False)
                for _ in range(task.settings["workers"])
            )
            await asyncio.gather(*workers)


if __name__ == "__main__":
    serve(ProcrastinateClient, ProcrastinateWorker)
