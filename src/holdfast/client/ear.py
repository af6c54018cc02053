"""The ear of a client: one connection that listens for hints, for all that is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.store.link import Link
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.client.database import Database

_LISTEN_EVERY = 1.0


class Ear:
    """Listens from the first time that somebody waits. Without hints it stays closed, and all is found by looking."""

    def __init__(self, database: Database, *, hints: bool) -> None:
        self._link = (
            Link(database.dsn, database.statements, application=database.application, notice=self._hear)
            if hints
            else None
        )
        self._heard: list[Callable[[str], None]] = []
        self._opened: list[Callable[[], None]] = []
        self._service: asyncio.Task[None] | None = None
        self.listening = False
        """Whether hints arrive."""

    @property
    def wanted(self) -> bool:
        """Whether it would listen."""
        return self._link is not None

    def attach(self, *, heard: Callable[[str], None], opened: Callable[[], None]) -> None:
        """Tells what was said, and when it begins to listen again: what was said before that is lost."""
        self._heard.append(heard)
        self._opened.append(opened)

    def listen(self) -> None:
        """Somebody waits."""
        if self._service is None and self._link is not None:
            self._service = asyncio.get_running_loop().create_task(self._listen(self._link), name="holdfast hints")

    async def close(self) -> None:
        """Ends the connection."""
        if self._service is not None:
            self._service.cancel()
            await asyncio.wait([self._service])
        if self._link is not None:
            await self._link.close()

    async def _listen(self, link: Link) -> None:
        backoff = Backoff()
        while True:
            if not link.is_open:
                self.listening = False
                try:
                    async with link.session():
                        pass
                except Exception:
                    # All is found by looking; whoever waits learns from that what is wrong with the database.
                    await asyncio.sleep(backoff.delay())
                    continue
                backoff.reset()
                self.listening = True
                for opened in self._opened:
                    opened()
            await asyncio.sleep(_LISTEN_EVERY)

    def _hear(self, payload: str) -> None:
        for heard in self._heard:
            heard(payload)
