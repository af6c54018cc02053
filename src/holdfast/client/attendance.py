"""Attendance: a consumer is registered, says now and then that it is there, and leaves."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.core.queue import ConsumerState
from holdfast.store import consumers as store
from holdfast.store.consumers import Registration, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.client.database import Database
    from holdfast.store.session import Session

log = logging.getLogger("holdfast.client")

LEASE = timedelta(seconds=30)
TICK = 2.0
"""Seconds after which it looks whether there is something to say, at the latest."""
REPORT_EVERY = 10.0
"""Seconds after which it says how it stands, though that is no news."""
_LEAVE_LIMIT = 5.0


class Attendance:
    """One consumer among the workers: each start has a name of its own."""

    def __init__(self, database: Database, lane: str, name: str | None) -> None:
        self._database = database
        self._lane = lane
        self.name = f"{name or socket.gethostname()}-{secrets.token_hex(4)[:7]}"
        self._registration: Registration | None = None
        self._reported: tuple[float, int] = (time.monotonic(), 0)
        self._said: tuple[float, ConsumerState] = (time.monotonic(), ConsumerState.READY)
        self.command: str | None = None
        """What it was told last: pause, drain, stop, stop now; None: to go on."""

    async def begin(self) -> None:
        """It is there from now on."""

        async def register(session: Session) -> Registration:
            return await store.register(
                session, name=self.name, host=socket.gethostname(), pid=os.getpid(), lane=self._lane, lease=LEASE
            )

        self._registration = await self._database.call(register)

    async def keep(self, state: ConsumerState, in_hands: Callable[[], int], handled: int) -> None:
        """It is there still: says how it stands, if that is news or was last said a while ago."""
        at, said = self._said
        now = time.monotonic()
        if state is not said or now - at >= REPORT_EVERY:
            self._said = now, state
            self.command = await self._report(state, in_hands(), handled)

    async def _report(self, state: ConsumerState, in_hands: int, handled: int) -> str | None:
        """Gives what it is told to do. One whose lease is over is registered anew."""
        at, before = self._reported
        now = time.monotonic()
        rate = (handled - before) / (now - at) if now > at else 0.0
        registration = self._registration
        assert registration is not None
        said = Report(state, in_hands, handled, rate)
        alive, command = await self._database.call(lambda session: store.beat(session, registration, said))
        self._reported = now, handled
        if alive:
            return command
        log.warning("the lease of consumer %s is over: it is registered anew", self.name)
        await self.begin()
        return None

    async def end(self, handled: int) -> None:
        """It is not there any more. Where the database is away, its lease says so in time."""
        registration, self._registration = self._registration, None
        if registration is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_LIMIT):
                await self._database.call(lambda session: store.leave(session, registration, handled))
        except (HoldfastError, TimeoutError) as error:
            log.debug("consumer %s could not leave: %s", self.name, error)
