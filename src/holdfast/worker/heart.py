"""The heart of a process: renews the leases of its workers from a thread and a connection of its own.

So a handler that blocks the event loop loses nothing. Leases that end at about the same time are renewed in one
statement, however many lanes the process serves.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

from holdfast.store import work
from holdfast.store.connect import said
from holdfast.store.link import Link
from holdfast.worker.lease_end import boot_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from holdfast.store.outage import Outage
    from holdfast.store.statements import Statements
    from holdfast.worker.beside import Beside
    from holdfast.worker.heartbeat import Heartbeat

log = logging.getLogger("holdfast.worker")

_LONGEST_REST = 3600.0
_LATE = 0.1
_LATEST = 31


class Heart:
    """Beats from when the first worker joins until the last one has left; then it is over."""

    def __init__(
        self,
        dsn: str,
        statements: Statements,
        *,
        application: str,
        transaction_timeout: timedelta | None,
        beside: Beside,
        outage: Outage | None = None,
    ) -> None:
        self._outage = outage
        self._awaited = float("inf")
        self._late: tuple[tuple[float, float], ...] = ()
        self._dsn = dsn
        self._statements = statements
        self._application = application
        self._transaction_timeout = transaction_timeout
        self._guard = threading.Lock()
        """Of what both threads change: who is there, and whether it is over."""
        self._beats: tuple[Heartbeat, ...] = ()
        self._over = False
        self._apart = False
        self._beside = beside

    @property
    def is_over(self) -> bool:
        """Whether the last worker has left: whoever comes now needs another one."""
        return self._over

    def join(self, beat: Heartbeat) -> None:
        """This lease is to be renewed from now on."""
        with self._guard:
            first = not self._beats
            self._beats = (*self._beats, beat)
        if first:
            self._beside.start(self._go_on)
        else:
            self._beside.rouse()

    async def leave(self, beat: Heartbeat) -> None:
        """This lease is not renewed any more."""
        with self._guard:
            if beat not in self._beats:
                return
            self._beats = tuple(one for one in self._beats if one is not beat)
            self._over = not self._beats
        if self._over:
            self._beside.rouse()
            await self._beside.end(5.0)

    def wake(self) -> None:
        """One of them is to be renewed now."""
        self._beside.rouse()

    def late_since(self, moment: float) -> float:
        """By how many seconds it was late at most since then, by boot time. From any thread.

        It is late where this process was frozen, or code in it has kept all threads from running.
        """
        now = boot_time()
        return max([now - self._awaited, *(by for at, by in self._late if at >= moment)])

    def _await(self, seconds: float) -> None:
        self._note_lateness()
        self._awaited = boot_time() + seconds

    def _note_lateness(self) -> None:
        now = boot_time()
        if (by := now - self._awaited) > _LATE:
            self._late = (*self._late[-_LATEST:], (now, by))

    async def _go_on(self) -> None:
        link = Link(
            self._dsn,
            self._statements,
            application=self._application,
            transaction_timeout=self._transaction_timeout,
            outage=self._outage,
        )
        try:
            while not self._over:
                await self._rest()
                now = time.monotonic()
                beats = self._beats
                if not any(beat.due_in(now) <= 0 for beat in beats):
                    continue
                beating = [beat for beat in beats if beat.may_go_along(now) and beat.begin()]
                # Where one of them could not be renewed, it shall not keep the others from it.
                groups = [[beat] for beat in beating] if self._apart else [beating] if beating else []
                self._apart = False
                for group in groups:
                    await self._renew(link, group)
        finally:
            self._awaited = float("inf")
            await link.close()

    async def _rest(self) -> None:
        now = time.monotonic()
        wait = min((beat.due_in(now) for beat in self._beats), default=0.0)
        wait = min(max(0.0, wait), _LONGEST_REST)
        self._await(wait)
        await self._beside.rest(wait)
        self._note_lateness()

    async def _renew(self, link: Link, beating: Sequence[Heartbeat]) -> None:
        patience = min(beat.patience for beat in beating)
        self._await(patience)
        try:
            async with asyncio.timeout(patience), link.session() as session:
                answers = await work.heartbeats(session, [(beat.identity, beat.state) for beat in beating])
        except Exception as error:
            self._note_lateness()
            if not link.away(error):
                log.warning("heartbeat of %s failed: %s", _names(beating), said(error))
            link.discard()
            self._apart = len(beating) > 1
            for beat in beating:
                beat.failed()
            return
        self._note_lateness()
        for beat, answer in zip(beating, answers, strict=True):
            beat.answered(answer)
        await self._tell_overflow(link, beating)

    async def _tell_overflow(self, link: Link, beating: Sequence[Heartbeat]) -> None:
        if not (news := {beat: counts for beat in beating if (counts := beat.overflow())}):
            return
        together = {bucket: count for counts in news.values() for bucket, count in counts.items()}
        try:
            patience = min(beat.patience for beat in beating)
            self._await(patience)
            async with asyncio.timeout(patience), link.session() as session:
                await work.note_overflow(session, together)
        except Exception as error:
            # It is said again with the next beat.
            link.discard()
            log.debug("overflow of %s could not be noted: %s", _names(beating), said(error))
            return
        for beat, counts in news.items():
            beat.overflow_told(counts)


def _names(beating: Sequence[Heartbeat]) -> str:
    first, *others = [beat.name for beat in beating]
    return f"{first} and {len(others)} more" if others else first
