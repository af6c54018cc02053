"""Holdfast, as its peers are: a client, and one worker in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from bench.peers.adapter import STEPS, Client, Task, Worker
from bench.peers.protocol import serve
from bench.peers.tally import Tally
from holdfast import App, Call, RunHandle

app = App(schema="holdfast")
tick: Callable[..., None] = Tally(expected=0).tick


@app.activity
async def noop(number: int, sent: float | None = None) -> int:
    """The job."""
    tick(sent)
    return number


@app.activity
async def step(number: int) -> int:
    """A step; the last one says that the workflow is about to end."""
    if number == STEPS:
        tick()
    return number


@app.workflow
async def steps() -> int:
    """The workflow."""
    done = 0
    while done < STEPS:
        done = await step(done + 1)
    return done


class HoldfastClient(Client):
    """``client.start``, ``client.start_many``, ``run.result()``."""

    async def open(self, task: Task) -> None:
        self._is_workflow = task.is_workflow
        app.override(origin="bench", database_url=task.url)
        # Opening it makes the schema. It is never closed: it ends with the process.
        self._stack = AsyncExitStack()
        self._client = await self._stack.enter_async_context(app.client())

    async def install(self) -> None:
        """It is there."""

    async def start(self, number: int) -> RunHandle[int]:
        return await self._client.start(noop, number)

    async def start_many(self, count: int, sent: float | None = None) -> None:
        calls: list[Call[Any]] = [
            steps.call() if self._is_workflow else noop.call(number, sent) for number in range(count)
        ]
        await self._client.start_many(calls)

    async def wait(self, handle: RunHandle[int]) -> None:
        await handle.result()


class HoldfastWorker(Worker):
    """``app.worker``."""

    async def run(self, task: Task, tally: Tally) -> None:
        global tick  # noqa: PLW0603 - activities are functions of the module, as users write them
        tick = tally.tick
        app.override(origin="bench", database_url=task.url)
        await app.worker(skip_warm_up=True, **task.settings).run()


if __name__ == "__main__":
    serve(HoldfastClient, HoldfastWorker)
