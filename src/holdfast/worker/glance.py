"""The glance: one look at all lanes of a process in which nothing is expected, in the place of a poll of each.

A worker of one lane polls by itself. Where a process serves many, those that hold nothing, and know of nothing that is
due, leave it to the glance to find out when there is something for them, if no hint comes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.store import work
from holdfast.store.connect import said

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from holdfast.store.link import Link

log = logging.getLogger("holdfast.worker")

_SOON = timedelta(seconds=2)
"""How far ahead it looks at least: as far as claims do."""
_LIMIT = 10.0
"""Seconds after which a connection that does not answer is given up."""


class Glance:
    """Wakes those who rest when something is due, or will be before long, in one of their lanes."""

    def __init__(self, *, poll: timedelta, lead: timedelta) -> None:
        self._poll = poll.total_seconds()
        # Whoever is woken knows then what is due when, until it rests again.
        self._within = max(lead, 2 * poll, _SOON)
        self._resting: dict[Callable[[], None], Collection[str]] = {}

    @contextmanager
    def rest(self, wake: Callable[[], None], lanes: Collection[str]) -> Generator[None]:
        """For as long as the block lasts these lanes are looked at; ``wake`` is called when something is found."""
        self._resting[wake] = lanes
        try:
            yield
        finally:
            del self._resting[wake]

    def rouse(self) -> None:
        """There may be something for any of them."""
        for wake in list(self._resting):
            wake()

    async def run(self, link: Link) -> None:
        """Looks until it is cancelled, once in each poll."""
        while True:
            looked = time.monotonic()
            if lanes := sorted({lane for lanes in self._resting.values() for lane in lanes}):
                try:
                    async with asyncio.timeout(_LIMIT), link.session() as session:
                        self._found(set(await work.lanes_due(session, lanes, within=self._within)))
                except Exception as error:
                    log.warning("looking for what is due in %d lanes failed: %s", len(lanes), said(error))
                    link.discard()
            await asyncio.sleep(max(0.0, looked + self._poll * random.uniform(0.9, 1.1) - time.monotonic()))

    def _found(self, due: set[str]) -> None:
        for wake, lanes in list(self._resting.items()):
            if not due.isdisjoint(lanes):
                wake()
