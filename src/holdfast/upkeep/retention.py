"""Retention: removes the records of ended runs that are old enough, in one worker process of all each hour."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.states import Ending
from holdfast.store import retention as store
from holdfast.store.connect import said
from holdfast.store.partitions import prune_day
from holdfast.upkeep.background import Background

if TYPE_CHECKING:
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.retention")

EVERY = timedelta(hours=1)
_BATCH = 500
_LIMIT = 30.0
"""Seconds after which a connection that does not answer is given up."""
_REST = 4
"""After a step it rests for so many times as long as that took, so that it takes a fifth of the time at most."""


class Retention(Background):
    """Prunes now and then, for as long as the block lasts; it has a connection only while it does.

    Args:
        dsn: Where the database is.
        statements: The statements for its schema.
        keep: How long ended runs are kept, by the word for their end.
        keep_keys: How long their keys are refused after that.
        application: The connection's name in ``pg_stat_activity``.
        every: How often one of all processes does it.
    """

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        keep: Mapping[str, timedelta],
        keep_keys: timedelta,
        application: str,
        every: timedelta = EVERY,
    ) -> None:
        super().__init__(dsn=dsn, statements=statements, application=application)
        self._ages = {Ending[word.upper()]: age for word, age in keep.items()}
        self._keep_keys = keep_keys
        self._every = every
        self.asked = 0
        """How often it has asked whether it has the turn, and done what there was to do if so."""
        self.removed = 0
        """The records of so many runs."""

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
                self.asked += 1
            except Exception as error:
                log.warning("records that are old enough could not be removed: %s", said(error))
                self._link.discard()
            # Who comes first after the hour has the turn.
            await asyncio.sleep(self._every.total_seconds() / 6 * random.uniform(0.8, 1.2))

    async def _turn(self) -> None:
        async with asyncio.timeout(_LIMIT), self._link.session() as session:
            if not await store.take_turn(session, "prune", every=self._every):
                await self._link.close()
                return
        before = self.removed
        await self._prune_days()
        if await self._prune():
            # Children whose ids are lower than those of their roots, by a clock that is behind.
            await self._prune()
        if self.removed > before:
            log.info("removed the records of %d runs that ended long enough ago", self.removed - before)
        await self._link.close()

    async def _prune_days(self) -> None:
        loop = asyncio.get_running_loop()
        after: UUID | None = store.FIRST
        while after is not None:
            began = loop.time()
            # A day is read as a whole before it goes.
            async with asyncio.timeout(10 * _LIMIT), self._link.session() as session:
                day = await prune_day(session, self._ages, keep_keys=self._keep_keys, after=after, limit=_BATCH)
            self.removed += day.runs or 0
            after = day.last
            await asyncio.sleep(max(0.01, _REST * (loop.time() - began)))

    async def _prune(self) -> bool:
        loop = asyncio.get_running_loop()
        after: UUID | None = store.FIRST
        rest = False
        while after is not None:
            began = loop.time()
            async with asyncio.timeout(_LIMIT), self._link.session() as session:
                step = await store.prune(
                    session, self._ages, keep_keys=self._keep_keys, after=after, limit=_BATCH, dry_run=False
                )
                if step.last is None:
                    await store.prune_keys(session, limit=10 * _BATCH)
            self.removed += step.runs or 0
            rest = rest or step.rest
            after = step.last
            await asyncio.sleep(max(0.01, _REST * (loop.time() - began)))
        return rest
