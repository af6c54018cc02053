"""Traffic without workers: messages on a queue and their consumers, and runs that are driven by hand.

The consumers are tasks here, and some of them die: they let go of what they have and say nothing. What they were told
is remembered, and what the database says later must not contradict it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast import ReceiptLost, RunEnded, StepStatus
from holdfast.core.errors import DatabaseError
from tests.house import until

if TYPE_CHECKING:
    import asyncpg

    from holdfast.client import Client
    from holdfast.client.driven.run import DrivenRun
    from holdfast.client.message import Message
    from tests.chaos.findings import Findings

    Connection = asyncpg.Connection[asyncpg.Record]

_PAUSE = 0.2
_VISIBILITY = timedelta(seconds=3)
_WAIT = timedelta(seconds=1)
_CONSUMERS = 2
_QUEUE = "parcels"
_BY_HAND = "delivery"


class Traffic:
    """Sends, receives and settles; triggers, takes and drives."""

    def __init__(self, client: Client, findings: Findings, chance: random.Random, *, rate: float) -> None:
        self._client = client
        self._findings = findings
        self._chance = chance
        self._rate = rate
        self._queue = client.queue(_QUEUE)
        self._sent: set[UUID] = set()
        self._gone: set[UUID] = set()
        """Acknowledged, or perhaps: nobody knows."""
        self._acknowledged: dict[UUID, list[float]] = defaultdict(list)
        self._again: list[tuple[UUID, int]] = []
        """What was received after so many acknowledgements of it."""
        self._keyed: set[UUID] = set()
        self._driven: dict[UUID, int] = {}
        self._recorded: dict[tuple[UUID, str], float] = {}
        self.counts = Counter[str]()

    async def send(self) -> None:
        """Sends and triggers, until it is cancelled."""
        number = 0
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            number += 1
            try:
                if number % 2:
                    key = f"parcel-{number}" if number % 3 == 0 else None
                    self._sent.add(run_id := await self._queue.send(number, key=key))
                    if key is not None:
                        self._keyed.add(run_id)
                else:
                    run = await self._client.driven.trigger(_BY_HAND, {"n": number})
                    self._driven[run.id] = number
            except DatabaseError as error:
                self.counts[f"sends refused with {type(error).__name__}"] += 1

    async def consume(self) -> None:
        """Receives and drives, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONSUMERS):
                group.create_task(self._receive())
            group.create_task(self._drive())

    async def prepare(self) -> None:
        """Before anything is broken."""
        await self._client.driven.create_workflow(_BY_HAND)

    async def settle(self) -> None:
        """Waits until what was sent is gone."""
        while self._sent - self._gone:
            await asyncio.sleep(_PAUSE)

    async def balance(self, db: Connection, *, patience: float) -> None:
        """At the end: whatever was sent was acknowledged, and what was triggered has ended as it should."""

        async def all_driven() -> bool:
            ended = "select count(*) from holdfast.result where run_id = any ($1::uuid[])"
            return bool(await db.fetchval(ended, list(self._driven)) == len(self._driven))

        with suppress(AssertionError):
            await until(all_driven, "every run driven by hand has ended", patience=patience)
        rows = await db.fetch("select run_id from holdfast.task where run_id = any ($1::uuid[])", list(self._sent))
        there = {row["run_id"] for row in rows}
        for run_id in self._sent - self._gone:
            what = "is still there" if run_id in there else "is lost: nobody has acknowledged it"
            self._findings.blame("1. a message is kept until it is acknowledged", f"message {run_id} {what}", run_id)
        await self._look_at_repeated(db, there)
        ends = await db.fetch(
            "select run_id, status, output #>> '{}' as output from holdfast.result where run_id = any ($1::uuid[])",
            list(self._driven),
        )
        outputs = {row["run_id"]: (row["status"], row["output"]) for row in ends}
        for run_id, number in self._driven.items():
            if (found := outputs.get(run_id)) != (1, str(number * 2)):
                self._findings.blame("1. a run driven by hand ends as it should", f"it ended as {found}", run_id)
        self.counts |= {
            "messages sent": len(self._sent),
            "messages acknowledged": len(self._acknowledged),
            "runs driven by hand": len(self._driven),
        }

    async def _look_at_repeated(self, db: Connection, there: set[UUID]) -> None:
        """What was acknowledged is gone, but for one thing that is documented.

        A message without a key was sent, the answer was lost, it was received and acknowledged, and so is gone; then
        its client sends it again by itself, and it is made once more. Its id is the same, which nobody else can make.
        """
        check = "1. an acknowledged message is gone"
        query = "select run_id, count(*)::int as times from public.chaos_made group by run_id"
        made = {row["run_id"]: row["times"] for row in await db.fetch(query)}
        for run_id, before in self._again:
            if made[run_id] <= before:
                self._findings.blame(check, "it was received once more", run_id)
        for run_id in there & self._acknowledged.keys():
            if made[run_id] <= len(self._acknowledged[run_id]):
                self._findings.blame(check, f"message {run_id} is there", run_id)
        for run_id in self._keyed:
            if made[run_id] > 1:
                self._findings.blame("1. a key makes one message", f"it was made {made[run_id]} times", run_id)
        if repeated := sum(times > 1 for times in made.values()):
            self.counts["messages made again by a repeated send"] = repeated

    # -- messages

    async def _receive(self) -> None:
        while True:
            asked = time.monotonic()
            try:
                messages = await self._queue.receive(batch=5, visibility=_VISIBILITY, wait=_WAIT)
            except DatabaseError:
                await asyncio.sleep(_PAUSE)
                continue
            for message in messages:
                self.counts["messages received"] += 1
                if before := sum(at < asked for at in self._acknowledged.get(message.id, ())):
                    self._again.append((message.id, before))
                await self._settle(message)

    async def _settle(self, message: Message[Any]) -> None:
        fate = self._chance.random()
        try:
            if fate < 0.1:
                # Its consumer dies.
                return
            if fate < 0.2:
                await message.release()
                return
            if fate < 0.25:
                await asyncio.sleep(_VISIBILITY.total_seconds() * 1.1)
            await message.ack()
        except ReceiptLost as refused:
            if refused.lost.get(message.id) == "gone":
                self._gone.add(message.id)
            return
        except DatabaseError:
            if fate >= 0.2:
                self._gone.add(message.id)
            return
        self._gone.add(message.id)
        self._acknowledged[message.id].append(time.monotonic())

    # -- runs that are driven by hand

    async def _drive(self) -> None:
        while True:
            try:
                async with self._client.driven.consumer(_BY_HAND, visibility=_VISIBILITY) as consumer:
                    while True:
                        runs = await consumer.dequeue(batch_size=4, wait=_WAIT)
                        while runs:
                            # Kept nowhere else: heartbeats would go on for it.
                            await self._go(runs.pop())
            except (DatabaseError, ReceiptLost, RunEnded):
                await asyncio.sleep(_PAUSE)

    async def _go(self, run: DrivenRun) -> None:
        for name in ("fetch", "bring"):
            asked = time.monotonic()
            step = await run.acquire_step(name)
            if step.status is not StepStatus.EXECUTE:
                continue
            if self._recorded.get((run.id, step.key), asked) < asked:
                sentence = f"{step.key} is to be executed, and was recorded"
                self._findings.blame("8. no recorded activity is called again", sentence, run.id)
            if self._chance.random() < 0.1:
                # Whoever drives it dies.
                return
            await step.success(run.input["n"])
            self._recorded[run.id, step.key] = time.monotonic()
        await run.complete(run.input["n"] * 2)
