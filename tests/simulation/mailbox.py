"""A queue in a simulation: who sends to it, and who receives and settles.

What may not happen is that a message comes once more when it was acknowledged. One way to that is documented, and no
other is allowed: it has no key; the answer to its send was lost, so that the client sent it again by itself; and when
that arrived, the first was received and acknowledged, and so gone. The database notes each time that a message is made.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.errors import DatabaseError, ReceiptLost
from tests.simulation.programs import QUEUE

if TYPE_CHECKING:
    from holdfast.client import Client
    from tests.simulation.backends import Backends
    from tests.simulation.process import Process
    from tests.simulation.world import World

_WAIT = timedelta(seconds=1)
_VISIBILITY = timedelta(seconds=2)
_MADE = "select count(*)::int as times from simulated.made where run_id = $1"
_MADE_TWICE = "select run_id, count(*)::int as times from simulated.made group by run_id having count(*) > 1"


class Mailbox:
    """What was sent, received and settled, as those who did it know."""

    def __init__(self, world: World, backends: Backends) -> None:
        self._world = world
        self._backends = backends
        self._tries = Counter[str]()
        self._keyed: dict[UUID, str] = {}
        """The bodies of those with a key."""
        self.sent: dict[UUID, str] = {}
        """What was acknowledged to its sender."""
        self.received: set[UUID] = set()
        self.settled = Counter[UUID]()

    async def send(self, client: Client, body: str) -> None:
        """Sends one message without a key. Who has no answer does not know, and what it sends then is another one."""
        self._tries[body] += 1
        body = f"{body}, try {self._tries[body]}"
        self.sent[await client.queue(QUEUE, str).send(body)] = body

    async def send_keyed(self, client: Client, body: str) -> None:
        """Sends one message with a key: however often that is called, it is one."""
        run_id = await client.queue(QUEUE, str).send(body, key=body)
        self.sent[run_id] = self._keyed[run_id] = body
        ids = [one for one, keyed in self._keyed.items() if keyed == body]
        if len(ids) > 1:
            self._world.blame(f"the key of message {body} has given {len(ids)} messages")

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
                settled = self.settled[message.id]
                # The tables are looked at from outside, and not from within a step of a process.
                self._world.after(0.0, partial(self._check, message.id, message.body, settled))
                self.received.add(message.id)
                try:
                    await message.ack()
                except (DatabaseError, ReceiptLost) as error:
                    self._world.note(process.name, f"cannot settle {message.body}: {type(error).__name__}")
                else:
                    self.settled[message.id] += 1

    def _check(self, run_id: UUID, body: str, settled: int) -> None:
        # An id is made by the client, once for each send, and is made a second time only where the first has gone.
        [row] = self._backends.look(_MADE, run_id)
        if row["times"] <= settled:
            self._world.blame(f"message {body} is received, and was settled before")

    def check(self) -> None:
        """Nothing that was sent is lost, and nothing with a key was made twice."""
        for run_id, body in self.sent.items():
            if run_id not in self.received:
                self._world.blame(f"message {body} was sent, and nobody has received it")
        for row in self._backends.look(_MADE_TWICE):
            keyed = self._keyed.get(row["run_id"])
            if keyed is not None:
                self._world.blame(f"message {keyed} has a key, and was made {row['times']} times")
            else:
                self._world.note("mailbox", f"message {row['run_id']} was made {row['times']} times")
