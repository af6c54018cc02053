"""A process that drains queues: ``python -m bench.consumer URL``, with a line on its stdin for each.

The line is ``QUEUE BATCH WAY``. ``together``: a batch is acknowledged while the next one is received, as a consumer
does that looks ahead; ``apart``: it is acknowledged, and then the next one is received. An acknowledgement counts when
it has returned. The process says when it is ready, and after each queue how many messages it has handled, and when it
was done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from bench.workload import Order, app
from holdfast import Client, Message

_LAST_WAIT = timedelta(milliseconds=50)
"""How long a queue gives nothing before it is believed to be empty; it is no part of what is measured."""


async def _drain(client: Client, name: str, batch: int, *, together: bool) -> tuple[int, float]:
    queue = client.queue(name, Order)
    handled, ended = 0, 0.0
    messages: Sequence[Message[Order]] = await queue.receive(batch=batch, wait=_LAST_WAIT)
    while messages:
        if {type(message.body) for message in messages} != {Order}:
            raise TypeError("a message is not what was sent")
        if together:
            receiving = asyncio.ensure_future(queue.receive(batch=batch, wait=_LAST_WAIT))
            await queue.ack(messages)
            handled, ended = handled + len(messages), time.perf_counter()
            messages = await receiving
        else:
            await queue.ack(messages)
            handled, ended = handled + len(messages), time.perf_counter()
            messages = await queue.receive(batch=batch, wait=_LAST_WAIT)
    return handled, ended


async def _main(url: str) -> None:
    app.override(origin="bench", database_url=url)
    async with app.client() as client:
        # What is prepared on a connection is prepared for every queue.
        await client.queue("nothing").receive(wait=timedelta(0))
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, batch, way = line.split()
            handled, ended = await _drain(client, name, int(batch), together=way == "together")
            print(json.dumps({"handled": handled, "ended": ended}), flush=True)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(_main(sys.argv[1]))
    except ImportError:
        asyncio.run(_main(sys.argv[1]))
