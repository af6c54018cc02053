"""Floors: how low a sweep has to look, worked out by one worker at a time for all that serve the same lines."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from holdfast.store import work
from holdfast.store.connect import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.store.link import Link

log = logging.getLogger("holdfast.worker")

_EVERY = 5.0  # seconds


class Floors:
    """Raises the floors of a worker's lines now and then, if it has claimed something since."""

    def __init__(self, link: Link, lines: Sequence[tuple[str, int]], *, claims: Callable[[], int]) -> None:
        self._link = link
        self._lines = lines
        self._claims = claims

    async def run(self) -> None:
        """Raises floors until it is cancelled."""
        before = 0
        while True:
            await asyncio.sleep(_EVERY * random.uniform(0.9, 1.1))
            claimed = self._claims()
            if claimed == before:
                continue
            before = claimed
            try:
                async with asyncio.timeout(_EVERY), self._link.session() as session:
                    await work.raise_floors(session, self._lines)
            except Exception as error:
                log.debug("the floors could not be raised: %s", said(error))
                self._link.discard()
