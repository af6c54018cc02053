"""``--processes N``: worker processes under one supervisor, which has the runs of a dead one recovered at once."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence

from holdfast.app import App
from holdfast.app.database import Database, open_database
from holdfast.cli.exit_code import ExitCode
from holdfast.store.link import Link
from holdfast.store.work import expire, recover
from holdfast.supervise import Death, Fleet

_log = logging.getLogger("holdfast.cli")

_BATCH = 1000
_PATIENCE = 15.0
"""Seconds for the recovery of one process; what is not done by then is done by other workers when the lease ends."""


async def run_fleet(app: App, command: Sequence[str], *, count: int, patience: float) -> int:
    """Keeps ``count`` processes of ``command`` alive until SIGTERM or SIGINT; gives the exit code.

    Raises:
        HoldfastError: the database cannot be used; nothing has been started then.
    """
    async with open_database(app.settings()) as database:
        recovery = _Recovery(database)
        fleet = Fleet(
            command,
            count=count,
            on_death=recovery.after,
            hopeless=frozenset({int(ExitCode.USAGE)}),
            patience=patience,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fleet.stop)
        try:
            return await fleet.run()
        finally:
            await recovery.close()


class _Recovery:
    """Ends the leases of a process that was seen to die, and makes its runs due again.

    That is safe because the process was waited for: nothing of it can still write, but what its backends have begun,
    and recovery waits for the lock that those hold.
    """

    def __init__(self, database: Database) -> None:
        self._link = Link(database.dsn, database.statements, application="holdfast supervisor")

    async def after(self, death: Death) -> None:
        """Recovers the runs of that process."""
        try:
            async with asyncio.timeout(_PATIENCE), self._link.session() as session:
                for worker in await expire(session, host=socket.gethostname(), pid=death.pid):
                    while (found := await recover(session, limit=_BATCH, only=worker)) is not None:
                        if found.runs:
                            _log.warning("recovered %d runs of worker %s", found.runs, found.name)
                        if found.finished:
                            break
                        if not found.runs:
                            # A backend of it is still at its last statement.
                            await asyncio.sleep(0.05)
        except BaseException:
            self._link.discard()
            raise

    async def close(self) -> None:
        """Ends the connection."""
        await self._link.close()
