"""Who sees to runs in a simulation that do not come to their end by themselves, or go on from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from holdfast.core.errors import CompletionRefused, InvalidInput, OperationRefused, RunFailed
from tests.simulation.programs import Operated
from tests.simulation.stage import stage

if TYPE_CHECKING:
    from holdfast.client import Client, RunHandle
    from tests.simulation.world import World

T = TypeVar("T")


class Again(Protocol):
    """Does something until it is acknowledged; gives nothing where its run has ended."""

    async def __call__(self, send: Callable[[], Awaitable[T]], /) -> T | None: ...


class Desk:
    """Completes, retries, rewinds and forks; what it was refused it had done before, or somebody is to blame."""

    def __init__(self, world: World, again: Again) -> None:
        self._world = world
        self._again = again

    async def answer(self, client: Client, run: RunHandle[Any], n: int) -> None:
        """Completes what the run asks for; of every second one the first attempt fails from outside."""
        if n % 2:
            await self._hand_in(client, run, 1, lambda token: client.fail(token, "not yet"))
        await self._hand_in(client, run, 1 + n % 2, lambda token: client.complete(token, 10 * n))

    async def _hand_in(
        self, client: Client, run: RunHandle[Any], attempt: int, send: Callable[[str], Awaitable[None]]
    ) -> None:
        while (run.id, attempt) not in stage.tokens:
            await asyncio.sleep(0.1)
        await self._once(partial(send, stage.tokens[run.id, attempt]))

    async def resume(self, run: RunHandle[Any], operated: Operated) -> RunHandle[Any] | None:
        """Has a run that has ended go on; gives what is one of its own."""
        if operated is Operated.MENDED:
            try:
                await self._again(run.result)
            except RunFailed:
                stage.mended.add(run.id)
            else:
                self._world.blame(f"run {run.id} has succeeded, and nobody has mended it")
            await self._once(run.retry)
            return None
        await self._again(run.result)
        if operated is Operated.REWOUND:
            await self._once(partial(run.rewind, "step#2"))
            return None
        return await self._again(partial(run.fork, "step#2"))

    async def _once(self, send: Callable[[], Awaitable[object]]) -> None:
        """Until it is acknowledged; or refused, because it was done and the answer to that was lost."""
        tries = 0

        async def again() -> None:
            nonlocal tries
            tries += 1
            try:
                await send()
            except (CompletionRefused, InvalidInput, OperationRefused) as error:
                if tries == 1:
                    self._world.blame(f"somebody was refused what nobody has done: {error!r}")

        await self._again(again)
