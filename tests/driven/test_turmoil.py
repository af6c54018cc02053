"""Consumers that do and suffer everything at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from holdfast import Client, DrivenRun, ReceiptLost, RunEnded, RunHandle, RunPaused, StepStatus
from tests.driven.task import TASK, expire, look
from tests.house import House
from tests.scenarios.soon import SOON


async def test_whatever_consumers_do_and_suffer_each_step_has_one_outcome_and_each_run_one_end(
    client: Client, house: House
) -> None:
    chance = Random(7)
    runs = [await client.driven.trigger(TASK, {"n": n}) for n in range(60)]
    done: Counter[tuple[UUID, str]] = Counter()
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(consume(client, house, f"consumer-{number}", chance, done))
        group.create_task(disturb(house, runs, chance))
    assert set(done.values()) == {1}
    for run in runs:
        values = await house.value(
            "select sum((output #>> '{}')::int) from holdfast.journal where run_id = $1 and kind = 1", run.id
        )
        assert await run.result(SOON) == values
        assert [key for key in await house.journal(run.id) if "@" not in key] == ["fetch#1", "charge#1", "send#1"]


OPEN = "select count(*) > 0 from holdfast.task"


async def consume(client: Client, house: House, name: str, chance: Random, done: Counter[tuple[UUID, str]]) -> None:
    async with client.driven.consumer(TASK, name=name, visibility=timedelta(seconds=1)) as consumer:
        while await look(house, OPEN):
            runs = await consumer.dequeue(batch_size=3, wait=timedelta(milliseconds=20))
            while runs:
                # Nobody here refers to it any more when it is dealt with: who has died keeps nothing.
                await deal_with(house, runs.pop(0), chance, done)


async def deal_with(house: House, run: DrivenRun, chance: Random, done: Counter[tuple[UUID, str]]) -> None:
    with suppress(ReceiptLost, RunEnded):
        try:
            await drive(house, run, chance, done)
        except RunPaused:
            await run.release()
        except ZeroDivisionError:
            await expire(house, run.id)


async def drive(house: House, run: DrivenRun, chance: Random, done: Counter[tuple[UUID, str]]) -> None:
    total = 0
    for name in ("fetch", "charge", "send"):
        step = await run.acquire_step(name)
        if step.status is StepStatus.EXECUTE:
            match chance.randrange(12):
                case 0:
                    await step.retry(after=timedelta(milliseconds=chance.randrange(30)))
                    return
                case 1:
                    await run.release()
                    return
                case 2:
                    await run.pause("for a moment", resume_after=timedelta(milliseconds=20))
                    return
                case 3:
                    await expire(house, run.id)  # heartbeats that did not come
                case 4:
                    raise ZeroDivisionError  # it dies: nobody gives the run back
                case _:
                    pass
            await step.success(chance.randrange(1000))
            done[run.id, step.key] += 1
        total += step.value
    await run.complete(total)


async def disturb(house: House, runs: Sequence[RunHandle[Any]], chance: Random) -> None:
    while await look(house, OPEN):
        run = chance.choice(runs)
        await run.pause()
        await asyncio.sleep(0.001)  # for others to meet it paused
        await run.resume()
