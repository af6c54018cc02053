"""The client's connections: a small pool on a schema that this code runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import asyncpg

from holdfast.core.errors import HoldfastError
from holdfast.integrations.catalogue import session_over
from holdfast.store.connect import create_pool, is_away, translate, translated
from holdfast.store.migrate import read_applied, verify
from holdfast.store.session import Session
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.statements import Statements

T = TypeVar("T")
Work: TypeAlias = Callable[[Session], Awaitable[T]]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

LIMIT = 60.0
"""Seconds after which a call is given up: long for anything that a client asks, short for a connection that hangs."""


class Database:
    """Sessions on pooled connections; errors leave as errors of Holdfast, with cause and remedy."""

    def __init__(self, dsn: str, statements: Statements, *, application: str, size: int, patience: float) -> None:
        self.dsn = dsn
        self.statements = statements
        self.application = application
        self.patience = patience
        """For how many seconds a call is tried again while the database is away."""
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connects and looks at the schema's version.

        Raises:
            DatabaseError: it cannot be reached, refuses, or has no schema that this code runs on.
        """
        pool = await create_pool(self.dsn, application=self.application, size=self._size)
        try:
            async with translated(self.dsn), pool.acquire() as connection:
                verify(await read_applied(Session(connection, self.statements)), self.statements.schema)
        except BaseException:
            pool.terminate()
            raise
        self._pool = pool

    async def close(self, *, patience: float) -> None:
        """Closes every connection; those still in use after ``patience`` seconds are cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(patience):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def raw_session(self, *, limit: float = LIMIT) -> AsyncGenerator[Session]:
        """A session whose errors are those of the driver: for who decides by them whether to try again.

        After ``limit`` seconds its connection is cut, and what is under way there fails.
        """
        if self._pool is None:
            raise closed()
        async with self._pool.acquire(timeout=limit) as connection:
            # Not a timeout, which would cancel: to end a call in order takes an answer from the server, and where the
            # network is gone there will be none.
            late = False

            def cut() -> None:
                nonlocal late
                late = True
                connection.terminate()

            timer = asyncio.get_running_loop().call_later(limit, cut)
            try:
                yield Session(connection, self.statements)
            except asyncio.CancelledError:
                connection.terminate()
                raise
            except (AttributeError, asyncpg.InterfaceError) as error:
                # Cut between two steps of a call, the driver stumbles over what it does not have any more.
                if late:
                    raise TimeoutError(f"no answer within {limit:g} s") from error
                raise
            finally:
                timer.cancel()

    async def call(self, work: Work[T], connection: CallersConnection | None = None, *, limit: float = LIMIT) -> T:
        """What ``work`` gives, on the caller's own connection if there is one.

        On one of ours it is done again while the database is away, for as long as the patience lasts; so it must be
        such that doing it twice is like doing it once.
        """
        if connection is not None:
            with self.translated():
                return await work(session_over(connection, self.statements))
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience
        while True:
            try:
                async with self.raw_session(limit=limit) as session:
                    return await work(session)
            except DRIVER_ERRORS as error:
                delay = backoff.delay()
                if not is_away(error) or loop.time() + delay > until:
                    raise translate(error, self.dsn) from error
            await asyncio.sleep(delay)

    async def call_once(self, work: Work[T], connection: CallersConnection | None = None) -> T:
        """As ``call``, for what may have been done where the answer is lost: it is not done again."""
        if connection is not None:
            return await self.call(work, connection)
        with self.translated():
            async with self.raw_session() as session:
                return await work(session)

    @contextmanager
    def translated(self) -> Generator[None]:
        """Errors of the driver leave this block as errors of Holdfast."""
        try:
            yield
        except DRIVER_ERRORS as error:
            raise translate(error, self.dsn) from error


def closed() -> HoldfastError:
    """What is said to those who use a client that is not open, or wait for something while it closes."""
    return HoldfastError("this client is closed: use it inside `async with app.client() as client:`")
