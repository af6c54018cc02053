"""What a client is sent to do: the same for each Python system."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bench.crowd import run_crowd
from bench.peers.adapter import Client

Errand = Callable[[Client, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

_TICK = 0.01


async def install(client: Client, _wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Makes the schema."""
    await client.install()
    return {}


async def fill(client: Client, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Starts a backlog of ``count``, in chunks of ``chunk``."""
    left = int(wish["count"])
    while left:
        size = min(int(wish["chunk"]), left)
        await client.start_many(size)
        left -= size
    return {"started": wish["count"]}


async def singles(client: Client, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Starts one job after the other in each of ``crowd`` tasks."""

    async def start(number: int) -> int:
        await client.start(number)
        return 1

    return await _crowd(int(wish["crowd"]), start, wish)


async def bulk(client: Client, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Starts ``size`` jobs at once, again and again."""

    async def start(_number: int) -> int:
        await client.start_many(int(wish["size"]))
        return int(wish["size"])

    return await _crowd(1, start, wish)


async def latency(client: Client, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Milliseconds from the start of a job to its durable end, ``samples`` times, for ``seconds`` at most."""
    samples: list[float] = []
    ends = time.perf_counter() + float(wish["seconds"])
    while len(samples) < int(wish["samples"]) and (time.perf_counter() < ends or not samples):
        # At random, so that nothing that recurs in either process is met always, or never.
        await asyncio.sleep(random.uniform(0.005, 0.050))
        began = time.perf_counter()
        await client.wait(await client.start(len(samples)))
        samples.append((time.perf_counter() - began) * 1000)
    return {"ms": samples}


async def stream(client: Client, wish: Mapping[str, Any]) -> Mapping[str, Any]:
    """Starts ``rate`` jobs per second, each told when it was wanted; what is late is started at once."""
    rate, seconds = float(wish["rate"]), float(wish["seconds"])
    began, started = time.time(), 0
    while (passed := time.time() - began) < seconds:
        if wanted := int(passed * rate) - started:
            await client.start_many(wanted, sent=time.time())
            started += wanted
        await asyncio.sleep(_TICK)
    return {"started": started}


ERRANDS: Mapping[str, Errand] = {errand.__name__: errand for errand in (install, fill, singles, bulk, latency, stream)}


async def _crowd(size: int, act: Callable[[int], Awaitable[int]], wish: Mapping[str, Any]) -> Mapping[str, Any]:
    tally = await run_crowd(size, act, warm_up=float(wish["warm_up"]), seconds=float(wish["seconds"]))
    return {"started": tally.total, "per_second": tally.per_second}
