"""A queue in a simulation: who sends to it, and who receives and settles."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.errors import DatabaseError, ReceiptLost
from tests.simulation.programs import QUEUE

if TYPE_CHECKING:
    from holdfast.client import Client
    from tests.simulation.process import Process
    from tests.simulation.world import World

_WAIT = timedelta(seconds=1)
_VISIBILITY = timedelta(seconds=2)


class Mailbox:
    """What was sent, received and settled, as those who did it know."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sent: set[str] = set()
        self.received: set[str] = set()
        self.settled: set[str] = set()

    async def send(self, client: Client, body: str) -> None:
        """Sends one message, until that is acknowledged."""
        await client.queue(QUEUE, str).send(body)
        self.sent.add(body)

    async def consume(self, process: Process, client: Client) -> None:
        """Receives and settles, for ever."""
        queue = client.queue(QUEUE, str)
        while True:
            try:
                messages = await queue.receive(batch=2, wait=_WAIT, visibility=_VISIBILITY)
            except DatabaseError:
                await asyncio.sleep(0.2)
                continue
            for message in messages:
                self._world.note(process.name, f"receives {message.body}, delivery {message.deliveries}")
                if message.body in self.settled:
                    self._world.blame(f"message {message.body} is received, and was settled before")
                self.received.add(message.body)
                try:
                    await message.ack()
                except (DatabaseError, ReceiptLost) as error:
                    self._world.note(process.name, f"cannot settle {message.body}: {type(error).__name__}")
                else:
                    self.settled.add(message.body)

    def check(self) -> None:
        """Nothing that was sent is lost."""
        for body in sorted(self.sent - self.received):
            self._world.blame(f"message {body} was sent, and nobody has received it")
