"""psycopg 3: its asynchronous connections, and those that block, each in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

try:
    import psycopg
except ImportError as error:
    raise ImportError(
        f"psycopg is needed for this; install the extra: pip install 'holdfast[psycopg]' ({error})"
    ) from None
from psycopg.rows import tuple_row

from holdfast.core.errors import DefinitionError
from holdfast.core.isolation import IsolationLevel
from holdfast.integrations.connections import Connections
from holdfast.integrations.foreign import ForeignSession, Rows, as_driver_error, as_pyformat, cut_off
from holdfast.integrations.thread import OwnThread, ThreadedCode, in_thread

if TYPE_CHECKING:
    from holdfast.store.statements import Statement, Statements

_PATIENCE = 5.0
_LEVELS = {
    "read committed": psycopg.IsolationLevel.READ_COMMITTED,
    "repeatable read": psycopg.IsolationLevel.REPEATABLE_READ,
    "serializable": psycopg.IsolationLevel.SERIALIZABLE,
}


_AS_IT_WAS = "select pg_advisory_unlock_all(); close all; unlisten *; reset all"
"""What an activity has set for the session is not left to the next one."""


@dataclass(frozen=True, slots=True)
class Psycopg:
    """Transactional activities that take a ``psycopg.AsyncConnection``, or in a thread a ``psycopg.Connection``.

    ``transactional=True`` chooses it by itself, as the annotation of the first parameter says.

    Args:
        prepare_threshold: how often a statement is executed before it is prepared; None: never, as some poolers want.
        gives: an ``AsyncConnection``, or a ``Connection``, which blocks, where the annotation does not say.
    """

    prepare_threshold: int | None = 5
    gives: Literal["async", "blocking"] = "async"

    def __post_init__(self) -> None:
        if self.gives not in ("async", "blocking"):
            raise DefinitionError(f"Psycopg(gives={self.gives!r}): use 'async' or 'blocking'")

    @property
    def is_async(self) -> bool:
        """Whether its activities are ``async def``."""
        return self.gives == "async"

    def __str__(self) -> str:
        return "psycopg" if self.gives == "async" else "psycopg that blocks"

    def fitted(self, names: Sequence[str]) -> Psycopg:
        """The same for an activity whose first parameter is one of these classes."""
        classes = {name.rpartition(".")[2] for name in names if name.startswith("psycopg.")}
        if "AsyncConnection" in classes:
            return replace(self, gives="async")
        return replace(self, gives="blocking") if "Connection" in classes else self

    def source(self, dsn: str, statements: Statements, *, application: str, size: int) -> _Source | _BlockingSource:
        """Connections to the database of the app."""
        options = {
            # Transactions are blocks: in one of those psycopg refuses commit() and rollback().
            "autocommit": True,
            "application_name": application,
            "prepare_threshold": self.prepare_threshold,
            "connect_timeout": 10,
        }
        return (_Source if self.is_async else _BlockingSource)(dsn, statements, options)


class PsycopgSession(ForeignSession):
    """The store's statements over psycopg."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], statements: Statements) -> None:
        super().__init__(connection, statements)
        self._psycopg = connection

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """Whatever rows the connection makes by default: here they are tuples."""
        async with self._psycopg.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(cast("Any", as_pyformat(statement)), values)
            if cursor.description is None:
                return Rows((), ())
            return Rows([column.name for column in cursor.description], await cursor.fetchall())

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none."""
        return self._block()

    @asynccontextmanager
    async def _block(self) -> AsyncGenerator[None]:
        if _begins_with_a_statement(self._psycopg):
            await self._psycopg.execute("select")
        async with self._psycopg.transaction():
            yield


class BlockingPsycopgSession(ForeignSession):
    """The store's statements over a connection of psycopg that blocks, whose thread waits for them."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        statements: Statements,
        do: Callable[[Callable[[], Any]], Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        super().__init__(connection, statements)
        self._psycopg = connection
        self._do = do

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """In another thread, while that of the caller does nothing."""
        rows: Rows = await self._do(lambda: self._rows(statement, values))
        return rows

    def _rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        with self._psycopg.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(cast("Any", as_pyformat(statement)), values)
            if cursor.description is None:
                return Rows((), ())
            return Rows([column.name for column in cursor.description], cursor.fetchall())

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none."""
        return in_thread(self._block())

    @contextmanager
    def _block(self) -> Generator[None]:
        if _begins_with_a_statement(self._psycopg):
            self._psycopg.execute("select")
        with self._psycopg.transaction():
            yield


class _Source:
    def __init__(self, dsn: str, statements: Statements, options: Mapping[str, Any]) -> None:
        self._dsn = dsn
        self._statements = statements
        self._options = options
        self._connections = Connections(open=self._open, usable=_is_usable, drop=_drop)

    async def begin(self, isolation_level: IsolationLevel | None) -> _Transaction:
        connection: psycopg.AsyncConnection[Any] | None = None
        try:
            connection = await self._connections.take()
            await connection.set_isolation_level(_level(isolation_level))
            block = connection.transaction()
            await block.__aenter__()
        except BaseException as error:
            if connection is not None:
                await _drop(connection)
            if isinstance(error, Exception):
                raise as_driver_error(error) from error
            raise
        return _Transaction(connection, block, self._connections, self._statements)

    async def close(self) -> None:
        await self._connections.close()

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._dsn, **self._options)


class _Transaction:
    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        block: AbstractAsyncContextManager[object],
        connections: Connections[psycopg.AsyncConnection[Any]],
        statements: Statements,
    ) -> None:
        self._connection = connection
        self._block = block
        self._connections = connections
        self._restore = _looks(connection)
        self._over = False
        self.session = PsycopgSession(connection, statements)
        self.busy = False

    async def run(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        return await fn(self._connection, *args, **kwargs)

    async def flush(self) -> None:
        """It keeps nothing back."""

    async def commit(self) -> None:
        self._over = True
        try:
            await self._block.__aexit__(None, None, None)
        except Exception as error:
            raise as_driver_error(error) from error

    async def rollback(self) -> None:
        if self._over or self._connection.closed:
            return
        self._over = True
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)
        except BaseException as error:
            await _drop(self._connection)
            if not isinstance(error, Exception):
                raise

    def cut(self) -> None:
        cut_off(self._connection)

    async def close(self, *, drop: bool = False) -> None:
        if drop or not self._over:
            await _drop(self._connection)
        elif not self._connection.closed:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._connection.execute(_AS_IT_WAS)
                self._restore()
            except BaseException as error:
                await _drop(self._connection)
                if not isinstance(error, Exception):
                    raise
        await self._connections.give_back(self._connection)


class _Threaded(NamedTuple):
    """A connection that blocks, and the thread in which it is used."""

    thread: OwnThread
    connection: psycopg.Connection[Any]


class _BlockingSource:
    def __init__(self, dsn: str, statements: Statements, options: Mapping[str, Any]) -> None:
        self._dsn = dsn
        self._statements = statements
        self._options = options
        self._connections = Connections(
            open=self._open, usable=lambda one: not one.thread.ended and _is_usable(one.connection), drop=self._end
        )

    async def begin(self, isolation_level: IsolationLevel | None) -> _BlockingTransaction:
        taken: _Threaded | None = None
        try:
            taken = await self._connections.take()
            thread, connection = taken
            block = await thread.do(lambda: self._enter(connection, isolation_level))
        except BaseException as error:
            if taken is not None:
                await self._end(taken)
            if isinstance(error, Exception):
                raise as_driver_error(error) from error
            raise
        return _BlockingTransaction(taken, block, self._connections, self._statements)

    async def close(self) -> None:
        await self._connections.close()

    def _enter(
        self, connection: psycopg.Connection[Any], isolation_level: IsolationLevel | None
    ) -> AbstractContextManager[object]:
        connection.isolation_level = _level(isolation_level)
        block = connection.transaction()
        block.__enter__()
        return block

    async def _open(self) -> _Threaded:
        thread = OwnThread()
        try:
            connection = await thread.do(lambda: psycopg.Connection[Any].connect(self._dsn, **self._options))
        except BaseException:
            await thread.do_last(lambda: None)
            raise
        return _Threaded(thread, connection)

    async def _end(self, one: _Threaded) -> None:
        await one.thread.do_last(one.connection.close)


class _BlockingTransaction(ThreadedCode):
    def __init__(
        self,
        taken: _Threaded,
        block: AbstractContextManager[object],
        connections: Connections[_Threaded],
        statements: Statements,
    ) -> None:
        super().__init__(*taken)
        self._taken = taken
        self._block = block
        self._connections = connections
        self._restore = _looks(taken.connection)
        self._over = False
        self.session = BlockingPsycopgSession(taken.connection, statements, taken.thread.do)

    async def flush(self) -> None:
        """It keeps nothing back."""

    async def commit(self) -> None:
        self._over = True
        try:
            await self._thread.do(lambda: self._block.__exit__(None, None, None))
        except Exception as error:
            raise as_driver_error(error) from error

    async def rollback(self) -> None:
        if self._over or self._connection.closed:
            return
        self._over = True
        try:
            await self._thread.do(lambda: self._block.__exit__(psycopg.Rollback, psycopg.Rollback(), None))
        except BaseException as error:
            await self._thread.do_last(self._connection.close)
            if not isinstance(error, Exception):
                raise

    def cut(self) -> None:
        cut_off(self._connection)

    async def close(self, *, drop: bool = False) -> None:
        if drop or not self._over:
            await self._thread.do_last(self._connection.close)
        elif not self._connection.closed:
            try:
                await self._thread.do(lambda: self._connection.execute(_AS_IT_WAS))
                self._restore()
            except BaseException as error:
                await self._thread.do_last(self._connection.close)
                if not isinstance(error, Exception):
                    raise
        await self._connections.give_back(self._taken)


def _level(level: IsolationLevel | None) -> psycopg.IsolationLevel | None:
    return None if level is None else _LEVELS[level]


def _is_usable(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> bool:
    return not connection.closed and not connection.broken


def _begins_with_a_statement(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> bool:
    """Whether the caller's transaction has yet to begin: else a block would be a transaction of its own, and commit."""
    idle = psycopg.pq.TransactionStatus.IDLE
    return not connection.autocommit and connection.info.transaction_status is idle


def _looks(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> Callable[[], None]:
    """Gives the connection the looks back that it has now."""
    given: Any = connection
    names = ("row_factory", "cursor_factory", "server_cursor_factory", "prepare_threshold")
    were = {name: getattr(given, name) for name in names}

    def restore() -> None:
        for name, value in were.items():
            setattr(given, name, value)

    return restore


async def _drop(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.close()
