"""Days: where the tables are divided by day, those to come are made ahead, by any worker process."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.store.connect import said
from holdfast.store.partitions import AHEAD, make_days
from holdfast.upkeep.background import Background

if TYPE_CHECKING:
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.days")

EVERY = timedelta(hours=1)
_LIMIT = 30.0
"""Seconds after which a connection that does not answer is given up."""


class Days(Background):
    """Makes the days that are missing, now and then, for as long as the block lasts.

    It asks for the first time a while after it has begun, and has a connection only while it does. It is of no
    consequence when nobody does for a week: what then has no day goes to the default partition.

    Args:
        dsn: Where the database is.
        statements: The statements for its schema.
        application: The connection's name in ``pg_stat_activity``.
        every: How often it asks.
        turn: Where several share a process, the one that has it does it.
    """

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        application: str,
        every: timedelta = EVERY,
        turn: asyncio.Lock | None = None,
    ) -> None:
        super().__init__(dsn=dsn, statements=statements, application=application)
        self._every = every
        self._turn = turn or asyncio.Lock()
        self.asked = 0
        """How often it has made what was missing."""

    async def _run(self) -> None:
        async with self._turn:
            await self._look_now_and_then()

    async def _look_now_and_then(self) -> None:
        pause = self._every / 20
        while True:
            await asyncio.sleep(pause.total_seconds() * random.uniform(0.8, 1.2))
            # Soon again where no moment was found for the locks.
            pause = self._every / 20
            try:
                async with asyncio.timeout(_LIMIT), self._link.session() as session:
                    made = await make_days(session, ahead=AHEAD)
                await self._link.close()
                self.asked += 1
                pause = self._every
                if made:
                    log.info("made the tables of %s", ", ".join(map(str, made)))
            except Exception as error:
                log.warning("the tables of days to come could not be made: %s", said(error))
                self._link.discard()
