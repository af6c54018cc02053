"""Suspects: runs whose worker has died twice are executed apart, so that they take no neighbours along.

They stand in a line of their own beside their lane. A worker that sees one due starts a process that executes them, the
fewer at a time the more is against them, and leaves when none is due; if that process dies, what it was executing is
taken back at once and counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from holdfast.store import work
from holdfast.store.connect import said
from holdfast.supervise import Death, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from holdfast.store.link import Link
    from holdfast.worker.glance import Glance

log = logging.getLogger("holdfast.worker")


class Suspects:
    """Looks for suspects of the worker's lane, and has them executed by ``command``."""

    def __init__(
        self,
        link: Link,
        *,
        lane: str,
        names: Sequence[str],
        lease: timedelta,
        command: Sequence[str],
        paused: Callable[[], bool],
        glance: Glance | None = None,
    ) -> None:
        self._link = link
        self._lane = lane
        self._names = names
        self._every = min(lease.total_seconds() / 3, 5.0)
        self._limit = lease.total_seconds() / 2
        self._command = command
        self._paused = paused
        self._glance = glance
        self._wake = asyncio.Event()

    def hint(self) -> None:
        """There may be one now."""
        self._wake.set()

    async def run(self) -> None:
        """Looks until it is cancelled; a process that it has started then ends in order."""
        while True:
            await self._rest()
            self._wake.clear()
            if self._paused():
                continue
            try:
                async with asyncio.timeout(self._limit), self._link.session() as session:
                    due = await work.suspects_due(session, lane=self._lane, names=self._names)
                if due:
                    await self._execute()
            except Exception as error:
                if not self._link.away(error):
                    log.warning("looking for runs to be executed apart failed: %s", said(error))
                self._link.discard()

    async def _rest(self) -> None:
        if self._glance is not None:
            with self._glance.rest(self.hint, (f"{self._lane} alone",)):
                await self._wake.wait()
            return
        try:
            async with asyncio.timeout(self._every):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _execute(self) -> None:
        log.warning("lane %r has runs whose worker died twice: they are executed apart", self._lane)
        fleet = Fleet(
            self._command,
            count=1,
            on_death=self._died,
            hopeless=frozenset({2}),
            patience=10.0,
            # It is there to die of the one that does it, and others wait behind that.
            longest_rest=1.0,
            # A worker that leaves, or has lost its lease, is no reason to count a crash against what is executed there.
            lets_go=True,
        )
        await fleet.run()

    async def _died(self, death: Death) -> None:
        try:
            async with asyncio.timeout(self._limit), self._link.session() as session:
                for worker in await work.expire(session, host=socket.gethostname(), pid=death.pid):
                    await work.recover(session, only=worker)
        except Exception as error:
            away = self._link.away(error)
            self._link.discard()
            if not away:
                raise
            log.warning("what process %d held is due again when its lease is over: %s", death.pid, said(error))
