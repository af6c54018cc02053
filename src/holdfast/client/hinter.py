"""Hints that a client sends after what they tell of is committed.

Of transactions that notify PostgreSQL lets only one at a time commit, and each of them waits for the disk before the
next. So a signal is committed without its hint, which follows in a commit of its own that waits for nothing. Hints that
come meanwhile go together.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.store.work import send_hints

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.store.session import Session

_log = logging.getLogger("holdfast.client")

_PATIENCE = 2.0


class Hinter:
    """Sends hints, one statement at a time. One that is lost costs a moment: what it tells of is found by looking."""

    def __init__(self, database: Database, *, hints: bool) -> None:
        self._database = database
        self._hints = hints
        self._pending: dict[str, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def add(self, payload: str) -> None:
        """This is to be sent, now that it is so."""
        if not self._hints:
            return
        self._pending[payload] = None
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send(), name="holdfast hints of a client")

    async def close(self) -> None:
        """Sends what is left, unless that takes long."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_PATIENCE)
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        try:
            while self._pending:
                payloads, self._pending = list(self._pending), {}

                async def send(session: Session, payloads: list[str] = payloads) -> None:
                    await send_hints(session, payloads)

                await self._database.call_once(send)
        except HoldfastError as error:
            _log.debug("hints: %s", error)
        finally:
            self._sending = None
