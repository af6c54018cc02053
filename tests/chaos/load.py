"""The load: runs of every kind, started and signalled by a client that remembers what it was promised."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.errors import DatabaseError, RunEnded
from tests.chaos import workload

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client import Client
    from holdfast.core.definition import Call

_TICK = 0.1
_TRIES_AGAIN = 0.2


class Kind(NamedTuple):
    """A kind of run: how often it comes, what is started, and what it has to give."""

    share: int
    call: Callable[[int], Call[Any]]
    wanted: Callable[[int], object]
    status: str = "succeeded"


_HEARD = 4


def _sequence(n: int) -> object:
    return (n + 1) + n * 2 + n


def _listens(_: int) -> Call[Any]:
    return workload.listens.call(_HEARD)


def _heard(_: int) -> object:
    return list(range(_HEARD))


def _fan(n: int) -> object:
    return sum(n + one + 1 for one in range(8)) + 3


def _family(n: int) -> object:
    return sum(n + one + 1 for one in range(4))


def _books(_: int) -> object:
    return 6


def _nothing(_: int) -> object:
    return None


def _same(n: int) -> object:
    return n


KINDS = {
    "sequence": Kind(30, workload.sequence.call, _sequence),
    "fan": Kind(8, workload.fan.call, _fan),
    "listens": Kind(12, _listens, _heard),
    "family": Kind(8, workload.family.call, _family),
    "books": Kind(10, workload.books.call, _books),
    "regrets": Kind(8, workload.regrets.call, _nothing, "failed"),
    "job": Kind(20, workload.shaky.call, _same),
    "cancelled": Kind(4, workload.sequence.call, _sequence),
}
"""Of those that are cancelled some end before; then they have to give what they would have given."""


@dataclass(slots=True)
class Promise:
    """A start that was acknowledged."""

    kind: str
    number: int
    run_id: UUID


class Load:
    """Starts so many runs per second, until it is told to stop."""

    def __init__(self, client: Client, chance: random.Random, *, rate: float) -> None:
        self._client = client
        self._chance = chance
        self._rate = rate
        self._number = 0
        self.promises: list[Promise] = []
        self.refused = Counter[str]()
        """What callers were told instead of an acknowledgement."""
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Starts, until it is cancelled."""
        while True:
            for _ in range(self._chance.randint(0, round(2 * self._rate * _TICK))):
                self._begin(self._start(self._pick()))
            await asyncio.sleep(_TICK)

    def poison(self) -> None:
        """Starts a run that kills whoever executes it."""
        self._begin(self._send("poisoned", 0, workload.poisoned.call(0)))

    async def settle(self) -> None:
        """Waits until every start is answered and every signal sent."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _pick(self) -> str:
        return self._chance.choices(list(KINDS), [kind.share for kind in KINDS.values()])[0]

    async def _start(self, kind: str) -> None:
        self._number += 1
        number = self._number
        await self._send(kind, number, KINDS[kind].call(number))

    async def _send(self, kind: str, number: int, call: Call[Any]) -> None:
        delay = self._chance.uniform(0.0, 1.5)
        try:
            run = await self._client.start(call)
        except DatabaseError as error:
            self.refused[type(error).__name__] += 1
            return
        self.promises.append(Promise(kind, number, run.id))
        if kind == "listens":
            await self._talk(run.id, delay)
        elif kind == "cancelled":
            await asyncio.sleep(delay)
            await self._again(partial(self._client.cancel, run.id))

    async def _talk(self, run_id: UUID, delay: float) -> None:
        for number in range(_HEARD):
            await asyncio.sleep(delay * (number % 2))
            # Sent until it is acknowledged; the key makes one of many.
            await self._again(partial(self._client.signal, run_id, workload.word, number, key=f"word-{number}"))

    async def _again(self, send: Callable[[], Any]) -> None:
        with suppress(RunEnded):
            while True:
                try:
                    await send()
                except DatabaseError:
                    await asyncio.sleep(_TRIES_AGAIN)
                else:
                    return
