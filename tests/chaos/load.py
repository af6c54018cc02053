"""The load: runs of every kind, started and talked to by a client that remembers what it was promised."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from holdfast import Key
from holdfast.client.database import DRIVER_ERRORS
from holdfast.core.errors import DatabaseError
from tests.chaos import workload
from tests.chaos.hands import Hands, again
from tests.chaos.kinds import ASKED, HEARD, KINDS, PLACES
from tests.chaos.promise import Promise

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client import Client
    from holdfast.core.definition import Call
    from tests.chaos.findings import Findings

_ONE_RUN = "1. a key belongs to one run"
_CALLERS = "10. callers are answered"
_ANSWERED = "6. an update is answered once"
_TICK = 0.1
_LATEST = 1.5
"""Seconds for which a caller's transaction is left open before it is committed."""
_GIVES_UP = 10.0
"""Seconds after which a caller believes that its connection is dead."""
_TOGETHER = 5
"""So many are started at once where it is many."""
_IN_A_ROW = 5
"""So many are started one after the other where that makes a difference."""


class Load:
    """Starts so many runs per second, until it is told to stop."""

    def __init__(
        self,
        client: Client,
        dsn: str,
        place: Path,
        findings: Findings,
        chance: random.Random,
        *,
        rate: float,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self._client = client
        self._dsn = dsn
        self._hands = Hands(client, place)
        self._findings = findings
        self._chance = chance
        self._rate = rate
        self._shares = {name: kind.share for name, kind in KINDS.items()} if shares is None else dict(shares)
        self._number = 0
        self.promises: list[Promise] = []
        self.refused = Counter[str]()
        """What callers were told instead of an acknowledgement."""
        self.taken_back: list[UUID] = []
        """Runs whose starts were rolled back by their callers."""
        self.is_held = False
        """Whether so much is due that nothing is started."""
        self.held = 0.0
        """For how many seconds it was."""
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Starts, until it is cancelled."""
        while True:
            # A share of one is one now and then.
            count = int(self._chance.uniform(0, 2 * self._rate * _TICK) + self._chance.random())
            for _ in range(0 if self.is_held else count):
                self._begin(self._start(self._pick()))
            held, began = self.is_held, time.monotonic()
            await asyncio.sleep(_TICK)
            self.held += held * (time.monotonic() - began)

    async def poison(self) -> bool:
        """Starts a run that kills whoever executes it; says whether that was acknowledged."""
        return await self._send("poisoned", 0, workload.poisoned.call(0))

    async def settle(self) -> None:
        """Waits until every start is answered and every signal sent."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def stop(self) -> None:
        """Leaves what is under way as it is."""
        for task in self._under_way:
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._findings.looked[_CALLERS] += 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._findings.blame(_CALLERS, f"one was told {type(error).__name__}: {error}")

    def _pick(self) -> str:
        return self._chance.choices(list(self._shares), list(self._shares.values()))[0]

    async def _start(self, kind: str) -> None:
        self._number += 1
        number = self._number
        call = KINDS[kind].call(number)
        match kind:
            case "late":
                await self._send_late(number, call)
            case "keyed":
                await self._send_twice(number, call)
            case "many":
                await self._send_many()
            case "paced" | "throttled" | "drafted":
                await self._send_in_a_row(kind, number)
            case "seated":
                await self._send(kind, number, call, key=Key(f"seat-{number % PLACES}", window="open"))
            case _:
                await self._send(kind, number, call)

    async def _send(self, kind: str, number: int, call: Call[Any], *, key: Key | None = None) -> bool:
        delay = self._chance.uniform(0.0, 1.5)
        try:
            run = await self._client.start(call, key=key, timeout=KINDS[kind].timeout if kind in KINDS else None)
        except DatabaseError as error:
            self.refused[type(error).__name__] += 1
            return False
        promise = Promise(kind, number, run.id)
        self.promises.append(promise)
        match kind:
            case "listens":
                await self._talk(run.id, delay)
            case "hears":
                await self._murmur(promise, delay)
            case "answers":
                await self._ask(run.id, delay)
            case "forked":
                fork = await self._hands.fork(promise)
                if fork is not None:
                    self.promises.append(Promise(kind, number, fork))
            case _ if (done := self._hands.verbs.get(kind)) is not None:
                await asyncio.sleep(delay)
                await done(promise)
            case _:
                pass
        return True

    async def _send_many(self) -> None:
        """All of them or none."""
        numbers = [self._number + one for one in range(_TOGETHER)]
        self._number += _TOGETHER
        try:
            runs = await self._client.start_many([KINDS["many"].call(number) for number in numbers])
        except DatabaseError as error:
            self.refused[type(error).__name__] += 1
            return
        self.promises.extend(Promise("many", number, run.id) for number, run in zip(numbers, runs, strict=True))

    async def _send_in_a_row(self, kind: str, number: int) -> None:
        """More at once than a rate or a throttle lets begin; or drafts, of which the last one counts."""
        for place in range(_IN_A_ROW):
            call = workload.index.call(number, place) if kind == "drafted" else KINDS[kind].call(place)
            try:
                run = await self._client.start(call)
            except DatabaseError as error:
                self.refused[type(error).__name__] += 1
            else:
                self.promises.append(Promise(kind, place, run.id))

    async def _send_twice(self, number: int, call: Call[Any]) -> None:
        """With a key, until it is acknowledged, and once more: it is one run."""
        ids: list[UUID] = []

        async def send() -> None:
            ids.append((await self._client.start(call, key=f"order-{number}")).id)

        for _ in range(2):
            await again(send)
        self._findings.looked[_ONE_RUN] += 1
        if len(set(ids)) > 1:
            self._findings.blame(_ONE_RUN, f"order-{number} has {ids}", ids[0])
        self.promises.append(Promise("keyed", number, ids[0]))

    async def _send_late(self, number: int, call: Call[Any]) -> None:
        """In a transaction of the caller's, which is left open for a while."""
        seconds, keeps = self._chance.uniform(0.0, _LATEST), self._chance.random() < 0.8
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            # A connection that is half open says nothing, for ever.
            async with asyncio.timeout(_GIVES_UP):
                connection = await asyncpg.connect(self._dsn)
                transaction = connection.transaction()
                await transaction.start()
                run = await self._client.start(call, connection=connection)
                await asyncio.sleep(seconds)
                if keeps:
                    await transaction.commit()
                    self.promises.append(Promise("late", number, run.id))
                else:
                    self.taken_back.append(run.id)
        except (DatabaseError, *DRIVER_ERRORS) as error:
            # Whether it was committed, nobody has promised.
            self.refused[type(error).__name__] += 1
        finally:
            if connection is not None:
                connection.terminate()

    async def _talk(self, run_id: UUID, delay: float) -> None:
        for number in range(HEARD):
            await asyncio.sleep(delay * (number % 2))
            # Sent until it is acknowledged; the key makes one of many.
            await again(partial(self._client.signal, run_id, workload.word, number, key=f"word-{number}"))

    async def _murmur(self, promise: Promise, delay: float) -> None:
        """Without a key: each is sent once, and not again where nobody knows whether it was stored."""
        for number in range(HEARD):
            await asyncio.sleep(delay * (number % 2))
            try:
                await self._client.signal(promise.run_id, workload.murmur, number)
            except DatabaseError:
                promise.unsure.add(number)
        await again(partial(self._client.signal, promise.run_id, workload.murmur, -1, key="over"))

    async def _ask(self, run_id: UUID, delay: float) -> None:
        run = self._client.get(run_id)
        for number in range(ASKED):
            await asyncio.sleep(delay * (number % 2))

            async def ask(number: int = number) -> None:
                seconds = timedelta(seconds=30)
                answer = await run.update(workload.question, number, key=f"question-{number}", timeout=seconds)
                self._findings.looked[_ANSWERED] += 1
                if answer != number * 2:
                    self._findings.blame(_ANSWERED, f"{number} was answered {answer}", run_id)

            await again(ask)
