"""One database connection, together with the statements of one schema."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from holdfast.store.statements import Statements

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]


class Session:
    """A connection that knows its schema. It neither opens nor commits a transaction."""

    __slots__ = ("connection", "statements")

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self.connection = connection
        self.statements = statements

    async def fetch(self, name: str, /, **values: object) -> list[asyncpg.Record]:
        """The rows of the named statement."""
        statement = self.statements[name]
        return await self.connection.fetch(statement.text, *statement.bind(values))

    async def row(self, name: str, /, **values: object) -> asyncpg.Record | None:
        """The first row of the named statement, if there is one."""
        statement = self.statements[name]
        return await self.connection.fetchrow(statement.text, *statement.bind(values))

    async def value(self, name: str, /, **values: object) -> Any:
        """The first column of the first row of the named statement."""
        statement = self.statements[name]
        return await self.connection.fetchval(statement.text, *statement.bind(values))

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none; within a transaction, a savepoint."""
        return self.connection.transaction()

    async def call(self, name: str, /, values: Sequence[object], *, without: str = "") -> list[asyncpg.Record]:
        """As ``fetch``, with the values already in the statement's order: for hot paths.

        ``without`` names the groups of parameters that have none, see :meth:`Statements.without`.
        """
        return await self.connection.fetch(self.statements.without(name, without).text, *values)
