"""How a worker joins those that the database knows, and how it leaves them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import asyncpg

from holdfast.core.worker_state import Wish
from holdfast.store import work
from holdfast.store.connect import is_away, translate
from holdfast.store.survival import Survival, survive
from holdfast.supervise.backoff import Backoff
from holdfast.worker.lease_end import boot_time

if TYPE_CHECKING:
    from holdfast.core.settings import WorkerSettings
    from holdfast.store.link import Link
    from holdfast.worker.stop import Stop

log = logging.getLogger("holdfast.worker")


class Membership:
    """The place of one worker among the others, under the name ``name``."""

    def __init__(self, link: Link, settings: WorkerSettings, *, dsn: str, name: str) -> None:
        self._link = link
        self._settings = settings
        self._dsn = dsn
        self._name = name

    async def join(
        self,
        stop: Stop,
        *,
        names: Sequence[str],
        slots: Sequence[tuple[str, int]],
        schedules: str | None,
        paused: bool = False,
        survival: Survival | None = None,
    ) -> tuple[work.Identity, float] | None:
        """A new identity, and since when its lease counts; None where it was told to stop before it had one.

        First it says that it has survived the loss of the identity before, where that is so.
        """
        settings = self._settings
        backoff = Backoff(first=0.1, most=1.0)
        while True:
            # Of this very attempt: the database may have been away for longer than a lease before.
            leased_at = boot_time()
            try:
                async with asyncio.timeout(settings.lease.total_seconds() / 2), self._link.session() as session:
                    if survival is not None:
                        await survive(session, survival)
                    identity = await work.register(
                        session,
                        name=self._name,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        lane=settings.lane,
                        names=names,
                        lease=settings.lease,
                        slots=slots,
                        schedules=schedules,
                        mode=settings.mode,
                        version=version("holdfast"),
                        command=Wish.PAUSE.command if paused else None,
                    )
                return identity, leased_at
            except Exception as error:
                away = self._link.away(error)
                self._link.discard()
                refusal = translate(error, self._dsn)
                if not is_away(error) and not isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    raise refusal from error
                # A server that may only be read is a standby that waits to be promoted, or has no space left.
                if not away:
                    log.warning("worker %s cannot register: %s", self._name, refusal)
                try:
                    async with asyncio.timeout(backoff.delay()):
                        await stop.asked.wait()
                except TimeoutError:
                    continue
                return None

    async def leave(self, identity: work.Identity) -> int:
        """Gives back all that it still holds, and says how many runs that were."""
        backoff = Backoff()
        again = False
        while True:
            try:
                async with self._link.session() as session:
                    try:
                        given = await work.leave(session, identity)
                    except asyncpg.PostgresError as error:
                        # If it had been done before, its answer was lost.
                        if not again or error.sqlstate != "HF001":
                            raise
                        given = 0
                    if self._settings.hints:
                        await work.send_hints(session, [f"due {self._settings.lane}"])
                    return given
            except Exception as error:
                self._link.discard()
                if not is_away(error):
                    raise
                again = True
            await asyncio.sleep(backoff.delay())
