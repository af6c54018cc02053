"""asyncpg: what Holdfast itself speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import asyncpg
import asyncpg.transaction

from holdfast.core.isolation import IsolationLevel
from holdfast.integrations.connections import Connections
from holdfast.store.connect import connect_plainly
from holdfast.store.session import Session

if TYPE_CHECKING:
    from holdfast.store.statements import Statements

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    """What an activity of asyncpg is given."""
else:
    # Its classes take no parameters at run time.
    Connection = asyncpg.Connection

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Asyncpg:
    """Transactional activities that take an ``asyncpg.Connection``: ``transactional=True`` chooses it by itself."""

    @property
    def is_async(self) -> bool:
        """Its activities are ``async def``."""
        return True

    def __str__(self) -> str:
        return "asyncpg"

    def fitted(self, names: Sequence[str]) -> Self:
        """As it is."""
        return self

    def source(self, dsn: str, statements: Statements, *, application: str, size: int) -> _Source:
        """Connections to the database of the app, without settings of ours."""
        return _Source(dsn, statements, application)


class _Source:
    def __init__(self, dsn: str, statements: Statements, application: str) -> None:
        self._statements = statements
        self._connections = Connections(
            open=lambda: connect_plainly(dsn, application=application),
            usable=lambda connection: not connection.is_closed(),
            drop=_drop,
        )

    async def begin(self, isolation_level: IsolationLevel | None) -> _Transaction:
        connection = await self._connections.take()
        try:
            transaction = connection.transaction(isolation=_level(isolation_level))
            await transaction.start()
        except BaseException:
            # It may have lain here while its other end went away; the next attempt gets another one.
            await _drop(connection)
            raise
        return _Transaction(connection, transaction, self._connections, self._statements)

    async def close(self) -> None:
        await self._connections.close()


class _Transaction:
    def __init__(
        self,
        connection: Connection,
        transaction: asyncpg.transaction.Transaction,
        connections: Connections[Connection],
        statements: Statements,
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._connections = connections
        self.session = Session(connection, statements)
        self.busy = False

    async def run(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        return await fn(self._connection, *args, **kwargs)

    async def flush(self) -> None:
        """It keeps nothing back."""

    async def commit(self) -> None:
        await self._transaction.commit()

    async def rollback(self) -> None:
        if self._connection.is_closed():
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._transaction.rollback()
        except BaseException as error:
            self._connection.terminate()
            if not isinstance(error, Exception):
                raise

    def cut(self) -> None:
        self._connection.terminate()

    async def close(self, *, drop: bool = False) -> None:
        if drop:
            self._connection.terminate()
        elif not self._connection.is_closed():
            try:
                # What the activity has set for the session is not left to the next one.
                await self._connection.reset(timeout=_PATIENCE)
            except BaseException as error:
                self._connection.terminate()
                if not isinstance(error, Exception):
                    raise
        await self._connections.give_back(self._connection)


def _level(level: IsolationLevel | None) -> Any:
    # The driver's own words for it.
    return None if level is None else level.replace(" ", "_")


async def _drop(connection: Connection) -> None:
    connection.terminate()
