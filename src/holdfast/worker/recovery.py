"""Recovery: takes the runs of workers whose lease is over. Many workers do it; the database decides who gets to.

It also ends runs whose timeout passes before any worker has begun them, perhaps because none knows their name, and
cancels children whose parents have asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from holdfast.core.mode import Duty
from holdfast.store import work
from holdfast.store.children import cancel_asked
from holdfast.store.connect import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.settings import WorkerSettings
    from holdfast.store.link import Link

log = logging.getLogger("holdfast.worker")


class Recovery:
    """Looks when the next lease ends, and whether it was renewed by then."""

    def __init__(
        self,
        link: Link,
        identity: work.Identity,
        settings: WorkerSettings,
        *,
        recovered: Callable[[work.Recovered], None],
    ) -> None:
        lease = settings.lease.total_seconds()
        self._link = link
        self._identity = identity
        self._recovers = settings.does(Duty.RECOVER)
        self._scans = settings.does(Duty.SCAN)
        self._batch = settings.transfer_batch_size
        self._most = min(lease / 3, 5.0)
        self._limit = lease / 2
        self._recovered = recovered
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Children are to be cancelled: now, rather than at the next look."""
        self._asked.set()

    async def run(self) -> None:
        """Recovers until it is cancelled."""
        while True:
            try:
                wait = await self._once()
            except Exception as error:
                if not self._link.away(error):
                    log.warning("recovery failed: %s", said(error))
                self._link.discard()
                wait = 1.0
            try:
                async with asyncio.timeout(wait):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _once(self) -> float:
        self._asked.clear()
        handled = busy = 0
        while True:
            # A connection that is half-open would be waited for without end.
            async with asyncio.timeout(self._limit), self._link.session() as session:
                found = await work.recover(session, limit=self._batch) if self._recovers else None
                if found is None:
                    if self._scans:
                        await work.end_overdue(session, limit=self._batch)
                        handled, busy = await cancel_asked(session, limit=self._batch)
                    ends = await work.next_lease_end(session, self._identity) if self._recovers else None
                    break
            if found.runs:
                log.warning("recovered %d runs of worker %s, whose lease is over", found.runs, found.name)
                self._recovered(found)
            if not found.runs and not found.finished:
                # Somebody holds on to it: a flush of the dead worker, or a caller's transaction. Not waited for.
                return min(self._most, 0.25)
        if handled == self._batch:
            self._asked.set()
        if busy:
            # Others are at these rows, and mostly not for long.
            return 0.25
        spread = random.uniform(0.0, 0.1)
        if ends is None:
            return self._most + spread
        # Not before it can be over; and if it is renewed as it should be, the next look is a third of a lease away.
        return min(max(ends, 0.2), self._most) + spread
