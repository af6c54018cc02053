"""The watch: finds what came for runs that are held in memory, by hint at once and by polling anyway."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from holdfast.store import work
from holdfast.store.connect import said

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta
    from uuid import UUID

    from holdfast.store.link import Link
    from holdfast.worker.held import HeldRun
    from holdfast.worker.timekeeper import Timekeeper

log = logging.getLogger("holdfast.worker")

_MOST = 5000
"""Runs in one look."""

_CALM = 3
"""Polls between two looks where nothing that is held is due."""


class Watch:
    """One batched look at the tasks of all held runs, at each poll; nothing is asked when nothing is held."""

    def __init__(
        self,
        link: Link,
        held: Mapping[UUID, HeldRun],
        *,
        poll: timedelta,
        limit: float,
        timekeeper: Timekeeper,
        looked: Callable[[], None],
    ) -> None:
        self._link = link
        self._held = held
        self._poll = poll.total_seconds()
        self._limit = limit
        self._timekeeper = timekeeper
        self._looked = looked
        self._all = False
        self._some: set[UUID] = set()
        self._wake = asyncio.Event()

    def hint(self) -> None:
        """Something came for a run of this worker, or one of them must not begin without a look."""
        self._all = True
        self._wake.set()

    def confirm(self, runs: Collection[UUID]) -> None:
        """These are about to begin, and must not without a look."""
        self._some.update(runs)
        self._wake.set()

    async def run(self) -> None:
        """Looks until it is cancelled."""
        before: frozenset[UUID] = frozenset()
        poll_at = time.monotonic() + self._poll
        while True:
            await self._rest(poll_at - time.monotonic())
            held = frozenset(self._held)
            everything, some = self._all, self._some
            self._all, self._some = False, set()
            runs: Collection[UUID] = some & held
            if everything or time.monotonic() >= poll_at:
                # Without a hint, only what was held at the last look already: what is claimed and finished in between
                # needs no look.
                runs = held if everything else (some & held) | (held & before)
                before = held
                # What is not due yet hears of changes by hints, and is looked at before it begins.
                calm = self._link.is_listening and self._timekeeper.holds >= len(held)
                poll_at = time.monotonic() + (_CALM if calm else 1) * self._poll
            if not runs:
                continue
            try:
                async with asyncio.timeout(self._limit):
                    asked = list(runs)
                    for start in range(0, len(asked), _MOST):
                        await self._look(asked[start : start + _MOST])
                self._looked()
            except Exception as error:
                if not self._link.away(error):
                    log.warning("looking at held runs failed: %s", said(error))
                self._link.discard()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _look(self, runs: list[UUID]) -> None:
        holders = {run_id: self._held[run_id] for run_id in runs if run_id in self._held}
        asked_at = time.monotonic()
        async with self._link.session() as session:
            tasks = {seen.run_id: seen for seen in await work.look(session, list(holders))}
            unread = [
                run_id
                for run_id, run in holders.items()
                if self._held.get(run_id) is run and self._timekeeper.seen(run, tasks.get(run_id))
            ]
            letters = await work.read_inboxes(session, unread) if unread else {}
        for run in holders.values():
            run.looked_at = asked_at
        for run_id, came in letters.items():
            if self._held.get(run_id) is holders[run_id]:
                self._timekeeper.letters(holders[run_id], came, woken=tasks[run_id].woken)
