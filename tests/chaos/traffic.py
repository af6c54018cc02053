"""Traffic without workers: messages on a queue and their consumers, and runs that are driven by hand.

The consumers are tasks here, and some of them die: they let go of what they have and say nothing. What they were told
is remembered, and what the database says later must not contradict it.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
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
_LATE = 10.0
"""Seconds after which nothing of a send arrives any more that was given up."""
_ONCE = "1. an acknowledged message is gone"
_KEPT = "1. a message is kept until it is acknowledged"
_SENT_ONCE = "1. a message is sent once"
_MADE_ONCE = "1. a message is made once"
_HANDS = "Q2. nobody else gets it until its time is over"
_AGAIN = "8. no recorded step is executed again"
_DRIVEN = "1. a run driven by hand ends as it should"
_THERE = "select t.run_id from holdfast.task t join holdfast.run r on r.id = t.run_id where r.kind = 3"


@dataclass(slots=True)
class _Parcel:
    """A message: what is known of it here."""

    number: int
    key: str | None
    ids: set[UUID] = field(default_factory=set[UUID])
    """Under which it was seen: one."""
    is_promised: bool = False
    """Whether its sender was told that it is sent."""
    sent_by: float = math.inf
    """From then on nobody sends it any more."""
    tries: int = 0
    """How often somebody has set out to acknowledge it."""
    asked_at: float | None = None
    """When the one set out that has done so last, as far as is known."""
    gone_at: float | None = None
    """When that was answered."""
    acknowledged: int = 0
    """How often it was."""
    is_gone: bool = False
    """Whether it is done with, as far as is known."""

    @property
    def may_be_sent_again(self) -> bool:
        """Whether it was sent again after it was acknowledged: then, without a key, it is made once more."""
        return self.key is None and self.asked_at is not None and self.asked_at <= self.sent_by


class Traffic:
    """Sends, receives and settles; triggers, takes and drives."""

    def __init__(self, client: Client, findings: Findings, chance: random.Random, *, rate: float) -> None:
        self._client = client
        self._findings = findings
        self._chance = chance
        self._rate = rate
        self._queue = client.queue(_QUEUE)
        self._parcels: dict[int, _Parcel] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._again: list[tuple[UUID, int]] = []
        """What was received after so many acknowledgements of it."""
        self._driven: dict[UUID, int] = {}
        self._recorded: dict[tuple[UUID, str], float] = {}
        self.counts = Counter[str]()

    async def send(self) -> None:
        """Sends and triggers, until it is cancelled."""
        number = 0
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            number += 1
            task = asyncio.create_task(self._send(number) if number % 2 else self._trigger(number))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def consume(self) -> None:
        """Receives and drives, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONSUMERS):
                group.create_task(self._receive())
            group.create_task(self._redrive())
            group.create_task(self._drive())

    async def prepare(self) -> None:
        """Before anything is broken."""
        await self._client.driven.create_workflow(_BY_HAND)

    async def settle(self) -> None:
        """Waits until what was sent is gone."""
        while self._sending or any(one.is_promised and not one.is_gone for one in self._parcels.values()):
            await asyncio.sleep(_PAUSE)

    def stop(self) -> None:
        """Leaves what is under way as it is."""
        for task in self._sending:
            task.cancel()

    async def balance(self, db: Connection, *, patience: float) -> None:
        """At the end: whatever was sent was acknowledged, and what was triggered has ended as it should."""

        async def all_over() -> bool:
            ended = "select count(*) from holdfast.result where run_id = any ($1::uuid[])"
            return bool(
                await db.fetchval(ended, list(self._driven)) == len(self._driven) and not await db.fetch(_THERE)
            )

        with suppress(AssertionError):
            await until(all_over, "every message is gone, and every run driven by hand has ended", patience=patience)
        there = {row["run_id"] for row in await db.fetch(_THERE)}
        for parcel in self._parcels.values():
            for run_id in parcel.ids & there:
                self._findings.blame(_KEPT if parcel.gone_at is None else _ONCE, "it is still there", run_id)
            if parcel.is_promised and not parcel.tries and not parcel.ids & there:
                self._findings.blame(_KEPT, "it is lost: nobody has acknowledged it", min(parcel.ids))
        await self._look_at_repeated(db)
        ends = await db.fetch(
            "select run_id, status, output #>> '{}' as output from holdfast.result where run_id = any ($1::uuid[])",
            list(self._driven),
        )
        outputs = {row["run_id"]: (row["status"], row["output"]) for row in ends}
        for run_id, number in self._driven.items():
            if (found := outputs.get(run_id)) != (1, str(number * 2)):
                self._findings.blame(_DRIVEN, f"it ended as {found}", run_id)
        self._findings.looked.update(
            {_DRIVEN: len(self._driven), _KEPT: len(self._parcels), _MADE_ONCE: len(self._parcels)}
        )
        parcels = self._parcels.values()
        self.counts |= {
            "messages sent": sum(one.is_promised for one in parcels),
            "messages acknowledged": sum(one.gone_at is not None for one in parcels),
            "runs driven by hand": len(self._driven),
        }

    async def _look_at_repeated(self, db: Connection) -> None:
        """What was acknowledged is gone, but for one thing that is documented.

        A message without a key was sent, the answer was lost, it was received and acknowledged, and so is gone; then
        its client sends it again by itself, and it is made once more. Its id is the same, which nobody else can make.
        """
        query = "select run_id, count(*)::int as times from public.chaos_made group by run_id"
        made = {row["run_id"]: row["times"] for row in await db.fetch(query)}
        for run_id, before in self._again:
            if made[run_id] <= before:
                self._findings.blame(_ONCE, "it was received once more, and not sent again", run_id)
        for parcel in self._parcels.values():
            times = sum(made.get(run_id, 0) for run_id in parcel.ids)
            if times > 1 and (parcel.key is not None or not parcel.tries):
                self._findings.blame(_MADE_ONCE, f"it was made {times} times", min(parcel.ids))
        if repeated := sum(times > 1 for times in made.values()):
            self.counts["messages made again by a repeated send"] = repeated

    # -- messages

    async def _send(self, number: int) -> None:
        parcel = self._parcels[number] = _Parcel(number, f"parcel-{number}" if number % 3 == 0 else None)
        # With a key it is sent until that is acknowledged, and once more: it is one message.
        for _ in range(1 if parcel.key is None else 2):
            while not await self._try_to_send(parcel) and parcel.key is not None:
                await asyncio.sleep(_PAUSE)

    async def _try_to_send(self, parcel: _Parcel) -> bool:
        try:
            self._note(parcel, await self._queue.send(parcel.number, key=parcel.key))
        except DatabaseError as error:
            self.counts[f"sends refused with {type(error).__name__}"] += 1
            parcel.sent_by = time.monotonic() + _LATE
            return False
        parcel.is_promised, parcel.sent_by = True, time.monotonic()
        return True

    def _note(self, parcel: _Parcel, run_id: UUID) -> None:
        parcel.ids.add(run_id)
        self._findings.looked[_SENT_ONCE] += 1
        if len(parcel.ids) > 1:
            self._findings.blame(_SENT_ONCE, f"parcel {parcel.number} is {parcel.ids}", run_id)

    async def _receive(self) -> None:
        while True:
            asked = time.monotonic()
            try:
                messages = await self._queue.receive(batch=5, visibility=_VISIBILITY, wait=_WAIT)
            except DatabaseError:
                await asyncio.sleep(_PAUSE)
                continue
            self.counts["messages received"] += len(messages)
            await asyncio.gather(*[self._settle(self._parcels[one.body], one, asked) for one in messages])

    async def _settle(self, parcel: _Parcel, message: Message[Any], asked: float) -> None:
        self._note(parcel, message.id)
        parcel.is_gone = False
        if parcel.gone_at is not None and parcel.gone_at < asked:
            if parcel.may_be_sent_again:
                self._again.append((message.id, parcel.acknowledged))
            else:
                self._findings.blame(_ONCE, "it was received once more", message.id)
        others = parcel.tries
        self._findings.looked.update((_ONCE, _HANDS))
        try:
            await self._decide(parcel, message)
        except ReceiptLost as refused:
            why, ours = refused.lost.get(message.id), time.monotonic() < message.ours_until
            if why == "gone":
                parcel.is_gone = True
                # A try of its own whose answer was lost is known to be its own while nobody else could have had it.
                if ours and not others:
                    self._findings.blame(_KEPT, "it is gone, and nobody has acknowledged it", message.id)
            elif why == "taken" and ours and not parcel.may_be_sent_again:
                self._findings.blame(_HANDS, "it was taken", message.id)
        except DatabaseError:
            # It comes again.
            return

    async def _decide(self, parcel: _Parcel, message: Message[Any]) -> None:
        fate = self._chance.random()
        if fate < 0.1:
            # Its consumer dies.
            return
        if fate < 0.2:
            await message.release()
            return
        if fate < 0.25:
            await message.dead("nobody is at home")
            return
        if fate < 0.3:
            await message.extend(_VISIBILITY * 2)
        if fate < 0.35:
            # In time, if it was extended.
            await asyncio.sleep(_VISIBILITY.total_seconds() * 1.1)
        parcel.tries += 1
        asked_at = time.monotonic()
        try:
            await (message.archive() if fate < 0.4 else message.ack())
        except DatabaseError:
            # It is gone, or comes again.
            parcel.asked_at, parcel.is_gone = asked_at, True
        else:
            parcel.asked_at, parcel.gone_at, parcel.is_gone = asked_at, time.monotonic(), True
            parcel.acknowledged += 1

    async def _redrive(self) -> None:
        """Dead letters do not stay so."""
        while True:
            await asyncio.sleep(_WAIT.total_seconds())
            with suppress(DatabaseError):
                self.counts["dead letters"] += await self._queue.dead_letters.redrive()

    # -- runs that are driven by hand

    async def _trigger(self, number: int) -> None:
        try:
            run = await self._client.driven.trigger(_BY_HAND, {"n": number})
        except DatabaseError as error:
            self.counts[f"triggers refused with {type(error).__name__}"] += 1
        else:
            self._driven[run.id] = number

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
            self._findings.looked[_AGAIN] += 1
            if self._recorded.get((run.id, step.key), asked) < asked:
                sentence = f"{step.key} is to be executed, and was recorded"
                self._findings.blame(_AGAIN, sentence, run.id)
            if self._chance.random() < 0.1:
                # Whoever drives it dies.
                return
            await step.success(run.input["n"])
            self._recorded[run.id, step.key] = time.monotonic()
        await run.complete(run.input["n"] * 2)
