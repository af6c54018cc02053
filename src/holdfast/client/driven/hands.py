"""The hands of a consumer: the runs that it has taken, and the heartbeat that keeps them there."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from holdfast.core.errors import HoldfastError, ReceiptLost, RunEnded
from holdfast.store import driven as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.driven.run import DrivenRun
    from holdfast.core.queue import Receipt
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.inbox import Hint
    from holdfast.store.session import Session

log = logging.getLogger("holdfast.client")

_BEATS = 3
"""Heartbeats in the time after which a run is not in these hands any more."""
_MOST = 500
"""So many runs are kept by one statement at most."""


class Write(Protocol):
    """Writes; ``again`` says that the same may have been written before, because its answer was lost."""

    async def __call__(self, session: Session, /, *, again: bool, hint: Hint | None) -> None: ...


class Hands:
    """What one consumer has in hand, for as long as anybody here knows the run: one that was forgotten is not kept."""

    def __init__(self, context: Context, *, visibility: timedelta) -> None:
        self.context = context
        self.visibility = visibility
        self._runs: WeakValueDictionary[UUID, DrivenRun] = WeakValueDictionary()
        self._lost: set[Receipt] = set()
        self._heart: asyncio.Task[None] | None = None
        self.handled = 0
        """How many were ended."""

    @property
    def runs(self) -> list[DrivenRun]:
        """What it has in hand."""
        return list(self._runs.values())

    def has_lost(self, receipt: Receipt) -> bool:
        """Whether it is known that somebody else has ended it, or taken it."""
        return receipt in self._lost

    def take(self, run: DrivenRun) -> None:
        """From now on it is kept."""
        before = self._runs.get(run.id)
        if before is not None:
            # Its time was over, and it has come back here.
            self._lose(before.receipt)
        self._runs[run.id] = run
        if self._heart is None:
            self._heart = asyncio.get_running_loop().create_task(self._beat(), name="holdfast hands")

    def let_go(self, receipt: Receipt) -> None:
        """It is ended or given back."""
        self._drop(receipt)

    async def write(self, receipt: Receipt, write: Write, connection: CallersConnection | None = None) -> None:
        """Writes, again and again while the database is away; in a transaction of the caller's, once."""
        again = False
        hint = self.context.hinter.add if connection is None else None

        async def work(session: Session) -> None:
            nonlocal again
            resent, again = again, True
            await write(session, again=resent, hint=hint)

        try:
            await self.context.database.call(work, connection)
        except (ReceiptLost, RunEnded):
            if connection is None:
                self._lose(receipt)
            raise

    async def close(self) -> None:
        """Stops keeping what it has."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])

    async def _beat(self) -> None:
        pause = self.visibility.total_seconds() / _BEATS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._keep_all()
            except HoldfastError as error:
                # Until the database is back; what others have taken meanwhile is lost, and says so when it writes.
                log.warning("runs could not be kept in hand: %s", error)

    async def _keep_all(self) -> None:
        receipts = [run.receipt for run in self.runs]
        for start in range(0, len(receipts), _MOST):
            some = receipts[start : start + _MOST]

            async def keep(session: Session, some: list[Receipt] = some) -> set[Receipt]:
                return await store.keep(session, some, visibility=self.visibility)

            for receipt in await self.context.database.call(keep, limit=self.visibility.total_seconds() / _BEATS):
                if self._lose(receipt):
                    log.warning("run %s is not in hand any more: it was ended, or others have taken it", receipt.run_id)

    def _lose(self, receipt: Receipt) -> bool:
        dropped = self._drop(receipt)
        if dropped:
            self._lost.add(receipt)
        return dropped

    def _drop(self, receipt: Receipt) -> bool:
        run = self._runs.get(receipt.run_id)
        if run is None or run.receipt != receipt:
            return False
        del self._runs[receipt.run_id]
        return True
