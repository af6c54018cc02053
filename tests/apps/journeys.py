"""An app for worker processes: workflows of several steps, whose activities write down each call."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

from holdfast import App, Retry, Signal, activity_info, sleep
from tests.apps.ledger import note

app = App()

go = Signal[int]("go")


def called() -> None:
    """Writes down that this attempt has begun: when, where, of which run, under which key, the how manieth."""
    info = activity_info()
    note(f"{time.time():.6f}", os.getpid(), info.run_id, info.key, info.attempt)


@app.activity
async def fetch(n: int) -> int:
    called()
    await asyncio.sleep(0.01 * (n % 5))  # some take longer than others: they end in another order than they began
    return n + 1


@app.activity
def crunch(n: int) -> int:
    called()
    time.sleep(0.01 * (n % 3))
    return n * 2


@app.activity(retry=Retry(initial=timedelta(milliseconds=100), jitter=0.0))
async def shaky(n: int) -> int:
    called()
    if activity_info().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return n


@app.workflow
async def journey(n: int) -> int:
    first, second = await asyncio.gather(fetch(n), crunch(n))
    await sleep(timedelta(milliseconds=50 * (n % 7)))
    third = await shaky(first)
    fourth = await go.wait()
    await sleep(timedelta(seconds=1.2))
    return first + second + third + await crunch(fourth)


def journeys_end(n: int, signal: int) -> int:
    """What ``journey(n)`` gives for that signal."""
    return (n + 1) + 2 * n + (n + 1) + 2 * signal


@app.workflow
async def branches(n: int) -> list[str]:
    """Several steps in each of several tasks, whose completions interleave differently on every run."""

    async def branch(name: int) -> str:
        word = 0
        for step in range(4):
            word = await fetch(name * 7 + step + word)
            await sleep(timedelta(milliseconds=(name * 37 + step * 11) % 50))
        return f"{name}:{word}"

    return await asyncio.gather(*[branch(n + one) for one in range(4)])


@app.workflow
async def rests(hours: int) -> int:
    """Two steps with a rest between them, in which signals may come."""
    total = await fetch(0)
    resting = asyncio.create_task(sleep(timedelta(hours=hours)))
    while not resting.done():
        hearing = asyncio.create_task(go.wait())
        await asyncio.wait([resting, hearing], return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            total += await fetch(hearing.result())
        else:
            hearing.cancel()
    return total + await crunch(total)


@app.activity(retry=Retry(max_attempts=3, initial=timedelta(seconds=3), factor=1.0, jitter=0.0))
async def falls(name: str) -> str:
    called()
    if activity_info().attempt == 1:
        raise ConnectionError(name)
    return name


@app.workflow
async def falls_twice() -> list[str]:
    return list(await asyncio.gather(falls("one"), falls("two")))


NOT_AT_ONCE = Retry(max_attempts=3, initial=timedelta(milliseconds=800), factor=1.0, jitter=0.0)


def fails_at_first() -> None:
    called()
    if activity_info().attempt == 1:
        raise ConnectionError


@app.activity(retry=NOT_AT_ONCE)
async def trips() -> None:
    fails_at_first()


@app.activity(retry=NOT_AT_ONCE)
def trips_in_a_thread() -> None:
    fails_at_first()


@app.activity(retry=NOT_AT_ONCE, isolation="process")
def trips_in_a_process() -> None:
    fails_at_first()


@app.activity(isolation="process")
def walks_in_a_process() -> None:
    called()


@app.workflow
async def trips_everywhere() -> None:
    """When there is a process: the second attempts are waited for in the worker's memory, and not for long."""
    await walks_in_a_process()
    await asyncio.gather(trips(), trips_in_a_thread(), trips_in_a_process())


@app.activity
async def blocks(seconds: float) -> str:
    called()
    time.sleep(seconds)  # to block the loop is the point
    return "done"


@app.activity
async def lasts(seconds: float) -> str:
    called()
    await asyncio.sleep(seconds)
    return "done"


@app.workflow
async def lasting(seconds: float) -> str:
    return await lasts(seconds)
