"""A connection of its own for one purpose, which comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from holdfast.core.errors import DatabaseError
from holdfast.store.connect import connect, is_away, translated
from holdfast.store.outage import Outage
from holdfast.store.session import Session

if TYPE_CHECKING:
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.store")

Notice = Callable[[str], None]


class Link:
    """One connection, opened when it is first needed and again after it broke; used by one caller at a time.

    With ``notice`` it listens on the schema's channel, and hands over each payload; ``listening`` is called each
    time that it begins to, since what was said before is lost. With ``transaction_timeout`` the server lets go of what
    a client that is gone has locked. Links that share an ``outage`` say together that the database is away.
    """

    def __init__(
        self,
        dsn: str,
        statements: Statements,
        *,
        application: str,
        notice: Notice | None = None,
        listening: Callable[[], None] | None = None,
        transaction_timeout: timedelta | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._outage = Outage() if outage is None else outage
        self._opened_at: float | None = None
        self._dsn = dsn
        self._statements = statements
        self._application = application
        self._notice = notice
        self._listening = listening
        self._transaction_timeout = transaction_timeout
        self._warned = False
        self._listens = False
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """The session, for as long as the block runs; driver errors leave it as errors of the driver."""
        async with self._lock:
            if self._session is None or self._connection is None or self._connection.is_closed():
                await self._open()
            assert self._session is not None
            yield self._session
            if self._outage.began_at is not None and self._opened_at is not None:
                self._outage.works(self, self._opened_at)

    def away(self, error: BaseException) -> bool:
        """Whether what was done over it has failed because the database is away; of that nothing more is to be said."""
        return self._outage.fails(self, self._opened_at, error)

    async def _open(self) -> None:
        self.discard()
        self._listens = False
        connection = await connect(
            self._dsn, application=self._application, transaction_timeout=self._transaction_timeout
        )
        self._connection = connection
        self._opened_at = time.monotonic()
        self._session = Session(connection, self._statements)
        if self._notice is not None:
            try:
                async with translated(self._dsn):
                    await connection.add_listener(self._statements.schema, self._noticed)
                self._listens = True
                if self._listening is not None:
                    self._listening()
            except DatabaseError as error:
                if is_away(error):
                    raise
                # A pooler may refuse it, or a standby. All is found by polling too.
                if not self._warned:
                    log.warning("no hints arrive, so everything is found by polling: %s", error)
                self._warned = True

    def _noticed(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if self._notice is not None:
            self._notice(str(payload))

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now that is not known to be broken."""
        return self._connection is not None and not self._connection.is_closed()

    @property
    def is_listening(self) -> bool:
        """Whether notices are to be expected: it is open, and the server did not refuse to be listened to."""
        return self._listens and self.is_open

    def discard(self) -> None:
        """Drops the connection at once, whatever it is doing; the next use opens another."""
        connection, self._connection, self._session = self._connection, None, None
        self._opened_at = None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Ends the connection in order, or drops it where that takes too long."""
        connection, self._connection, self._session = self._connection, None, None
        if connection is None:
            return
        try:
            # The driver's own limit does not hold while a statement is being cancelled.
            async with asyncio.timeout(1.5):
                await connection.close(timeout=1.0)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            connection.terminate()
