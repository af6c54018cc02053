"""What people do to runs that have been started: each until it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast import CompletionRefused, InvalidInput, OperationRefused, ResultTimeout, RunCancelled, RunFailed
from holdfast.client.sending import Cancellation
from holdfast.core.errors import DatabaseError, ReplyTimeout, RunEnded
from tests.chaos import workload
from tests.chaos.kinds import SAID_AT_ONCE
from tests.chaos.promise import Promise

if TYPE_CHECKING:
    from holdfast.client import Client, RunHandle

_TRIES_AGAIN = 0.2
_LOOKS_AGAIN = 0.1
_WAIT = timedelta(seconds=10)


async def again(send: Callable[[], Awaitable[object]]) -> None:
    """Until it is acknowledged, or the run has ended."""
    with suppress(RunEnded):
        while True:
            try:
                await send()
            except (DatabaseError, ReplyTimeout):
                await asyncio.sleep(_TRIES_AGAIN)
            else:
                return


class Hands:
    """Of a client, and of people who can open the drawers in which activities leave something for them."""

    def __init__(self, client: Client, place: Path) -> None:
        self._client = client
        self._place = place
        self.verbs: dict[str, Callable[[Promise], Awaitable[None]]] = {
            "cancelled": self._cancel,
            "paused": self._pause,
            "terminated": self._terminate,
            "crowd": self._shout,
            "asked": self._complete,
            "retried": self._retry,
            "rewound": self._rewind,
        }
        """What is done to a run, by its kind."""

    def _run(self, promise: Promise) -> RunHandle[Any]:
        return self._client.get(promise.run_id)

    async def _cancel(self, promise: Promise) -> None:
        async def cancel() -> None:
            if await self._client.cancel(promise.run_id) is Cancellation.CANCELLED:
                promise.is_cancelled = True

        await again(cancel)

    async def _pause(self, promise: Promise) -> None:
        run = self._run(promise)
        await again(run.pause)
        await asyncio.sleep(_TRIES_AGAIN)
        await again(run.resume)

    async def _terminate(self, promise: Promise) -> None:
        await again(self._run(promise).terminate)

    async def _shout(self, promise: Promise) -> None:
        """All at the same time."""
        words = [
            again(partial(self._client.signal, promise.run_id, workload.word, number, key=f"word-{number}"))
            for number in range(SAID_AT_ONCE)
        ]
        await asyncio.gather(*words)

    async def _complete(self, promise: Promise) -> None:
        """With each token that it gives away: only that of the last attempt counts."""
        drawer = workload.drawer(promise.run_id, self._place)

        async def complete() -> None:
            while True:
                with suppress(CompletionRefused, FileNotFoundError):
                    token = drawer.read_text(encoding="utf-8").split()[-1]
                    await self._client.complete(token, promise.number)
                    return
                await asyncio.sleep(_LOOKS_AGAIN)

        await again(complete)

    async def _retry(self, promise: Promise) -> None:
        """When it has failed, and what was wrong is mended."""
        run = self._run(promise)
        await self._ended(run)
        workload.drawer(f"paper-{promise.number}", self._place).touch()

        async def retry() -> None:
            # One whose answer was lost has been retried all the same.
            while await run.status() == "failed":
                with suppress(OperationRefused):
                    await run.retry()

        await again(retry)

    async def _rewind(self, promise: Promise) -> None:
        """When it has ended, and perhaps once more, where an answer is lost."""
        run = self._run(promise)
        await self._ended(run)

        async def rewind() -> None:
            # It is under way already, or not there again where it was rewound before.
            with suppress(OperationRefused, InvalidInput):
                await run.rewind("shaky#1")

        await again(rewind)

    async def fork(self, promise: Promise) -> UUID | None:
        """When it has ended: one more of it, or two, where an answer is lost; gives that which was acknowledged."""
        run, made = self._run(promise), list[UUID]()
        await self._ended(run)

        async def fork() -> None:
            made.append((await run.fork("crunch#1")).id)

        await again(fork)
        return made[0] if made else None

    async def _ended(self, run: RunHandle[Any]) -> None:
        """Waits until it has."""

        async def wait() -> None:
            while True:
                with suppress(ResultTimeout):
                    with suppress(RunFailed, RunCancelled):
                        await run.result(timeout=_WAIT)
                    return

        await again(wait)
