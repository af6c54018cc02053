"""Waiting for the answers to updates: one lookout for all of them that a client waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.client.database import closed
from holdfast.client.lookout import MOST, Lookout
from holdfast.core.errors import HoldfastError
from holdfast.store.updates import Replied, Sent, read_replies

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.client.database import Database
    from holdfast.client.ear import Ear
    from holdfast.store.session import Session


class Replies:
    """Waits for any number of answers. A wait that is cancelled leaves nothing behind."""

    def __init__(self, database: Database, ear: Ear) -> None:
        self._waits: dict[Sent, list[asyncio.Future[Replied]]] = {}
        self._closed = False
        self.lookout = Lookout(database, ear, self, name="replies")
        ear.attach(heard=self._hear, opened=self.lookout.stir)

    async def wait(self, sent: Sent) -> Replied:
        """What became of the update: it was answered, or refused, or its run has ended without either."""
        while True:
            replied = await self._wait(sent)
            if replied.answered or replied.successor is None:
                return replied
            sent = Sent(replied.successor, sent.number)

    async def _wait(self, sent: Sent) -> Replied:
        if self._closed:
            raise closed()
        answer: asyncio.Future[Replied] = asyncio.get_running_loop().create_future()
        waits = self._waits.setdefault(sent, [])
        waits.append(answer)
        self.lookout.begin()
        try:
            return await answer
        finally:
            waits.remove(answer)
            if not waits and self._waits.get(sent) is waits:
                del self._waits[sent]

    async def close(self) -> None:
        """Ends every wait with an error."""
        self._closed = True
        await self.lookout.close()
        self.give_up(closed, None)

    # ---- looking

    @property
    def open(self) -> int:
        """How many updates are waited for."""
        return len(self._waits)

    async def look_at_all(self, session: Session) -> bool:
        """One look at everything that is waited for; says whether anything has become of any of it."""
        waited_for = list(self._waits)
        found = False
        for start in range(0, len(waited_for), MOST):
            for replied in await read_replies(session, waited_for[start : start + MOST]):
                found = True
                for answer in self._waits.pop(replied.sent, ()):
                    if not answer.done():
                        answer.set_result(replied)
        return found

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every wait with an error, one each."""
        waits, self._waits = self._waits, {}
        for answers in waits.values():
            for answer in answers:
                if not answer.done():
                    failed = error()
                    failed.__cause__ = cause
                    answer.set_exception(failed)

    def _hear(self, payload: str) -> None:
        # The channel is open to everybody in the database: what is not understood is not for us.
        word, *runs = payload.split() or [""]
        if self._waits and word in ("reply", "end"):
            waited_for = {str(sent.run_id) for sent in self._waits}
            if "*" in runs or not waited_for.isdisjoint(runs):
                self.lookout.stir()
