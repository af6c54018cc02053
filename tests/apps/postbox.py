"""A process that consumes the queue ``letters``: ``python -m tests.apps.postbox URL NAME [HANG]``.

It writes what it does into the ledger. With HANG it never settles the messages with this body.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta

from holdfast import App
from tests.apps.ledger import note


async def consume(url: str, name: str, hang: str | None) -> None:
    async with App(url).client() as client:
        consumer = client.queue("letters").consume(
            batch=5, visibility=timedelta(seconds=2), wait=timedelta(seconds=1), name=name
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
        async with consumer:
            async for message in consumer:
                note("received", name, message.body, message.deliveries)
                if str(message.body) == hang:
                    await asyncio.Event().wait()
                await message.archive(name)
                note("archived", name, message.body)
    note("left", name)


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
