"""A process that drains a queue: ``python -m bench.consumer URL BATCH``; it begins when a line comes on its stdin.

It says when it has connected, and how many messages it has handled when there are no more.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any

from bench.workload import app
from holdfast import Message

QUEUE = "drained"

_LAST_WAIT = timedelta(milliseconds=500)


async def drain(url: str, batch: int) -> int:
    """Receives and acknowledges until nothing comes any more: each batch is acknowledged with the next receive."""
    app.override(origin="bench", database_url=url)
    handled = 0
    async with app.client() as client:
        queue = client.queue(QUEUE)
        await queue.receive(batch=1, wait=timedelta(0), visibility=timedelta(milliseconds=1))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        messages: list[Message[Any]] = await queue.receive(batch=batch, wait=_LAST_WAIT)
        while messages:
            more, _ = await asyncio.gather(queue.receive(batch=batch, wait=_LAST_WAIT), queue.ack(messages))
            handled += len(messages)
            messages = more
    return handled


if __name__ == "__main__":
    print(asyncio.run(drain(sys.argv[1], int(sys.argv[2]))), flush=True)
