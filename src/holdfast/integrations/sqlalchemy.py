"""SQLAlchemy: its asynchronous sessions and connections, over asyncpg or psycopg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

try:
    from sqlalchemy import Connection, event
except ImportError as error:
    raise ImportError(
        f"SQLAlchemy is needed for this; install the extra: pip install 'holdfast[sqlalchemy]' ({error})"
    ) from None
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncTransaction,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from holdfast.core.errors import DefinitionError, TransactionEnded
from holdfast.core.isolation import IsolationLevel
from holdfast.integrations.foreign import ForeignSession, Rows, as_driver_error, as_pyformat, cut_off, not_known
from holdfast.integrations.thread import in_thread
from holdfast.store.connect import connect_plainly

if TYPE_CHECKING:
    from holdfast.store.statements import Statement, Statements

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class SQLAlchemy:
    """Transactional activities that take an ``AsyncSession`` or ``AsyncConnection``, as their annotation says.

    ``transactional=True`` chooses it by itself, over asyncpg.

    Args:
        engine: of yours, to the database of the app, over asyncpg or psycopg. Its pool is then the limit, beside the
            worker's ``max_transactions``. Without one, it is made from the app's database URL.
        driver: of the engine that is made.
        session: makes the sessions; without one, they expire nothing.
        gives: what an activity is given, where its annotation does not say.
    """

    engine: AsyncEngine | None = None
    driver: Literal["asyncpg", "psycopg"] = "asyncpg"
    session: async_sessionmaker[Any] | None = None
    gives: Literal["session", "connection"] = "session"

    def __post_init__(self) -> None:
        if self.driver not in ("asyncpg", "psycopg"):
            raise DefinitionError(f"SQLAlchemy(driver={self.driver!r}): use 'asyncpg' or 'psycopg'")
        if self.gives not in ("session", "connection"):
            raise DefinitionError(f"SQLAlchemy(gives={self.gives!r}): use 'session' or 'connection'")
        if self.engine is not None and self.engine.dialect.driver not in _STYLES:
            raise DefinitionError(
                f"SQLAlchemy(engine=): an engine over {self.engine.dialect.driver!r} cannot be used; make one with "
                "create_async_engine('postgresql+asyncpg://...') or 'postgresql+psycopg://...'"
            )

    @property
    def is_async(self) -> bool:
        """Its activities are ``async def``."""
        return True

    def __str__(self) -> str:
        return "SQLAlchemy"

    def fitted(self, names: Sequence[str]) -> SQLAlchemy:
        """The same for an activity whose first parameter is one of these classes."""
        classes = {name.rpartition(".")[2] for name in names if name.startswith("sqlalchemy.")}
        if "AsyncConnection" in classes:
            return replace(self, gives="connection")
        return replace(self, gives="session") if "AsyncSession" in classes else self

    def source(self, dsn: str, statements: Statements, *, application: str, size: int) -> _Source:
        """Connections of the engine."""
        if self.engine is not None:
            return _Source(self, self.engine, statements)
        return _Source(self, _engine(dsn, self.driver, application, size), statements)


def _engine(dsn: str, driver: str, application: str, size: int) -> AsyncEngine:
    async def connect() -> Any:
        # The driver reads the URL itself: SQLAlchemy knows fewer forms of it.
        if driver == "asyncpg":
            return await connect_plainly(dsn, application=application)
        import psycopg

        return await psycopg.AsyncConnection.connect(dsn, application_name=application, connect_timeout=10)

    return create_async_engine(f"postgresql+{driver}://", async_creator=connect, pool_size=size, max_overflow=0)


_STYLES = {"asyncpg": "numbered", "psycopg": "pyformat", "psycopg_async": "pyformat"}


class SQLAlchemySession(ForeignSession):
    """The store's statements over a connection of SQLAlchemy."""

    def __init__(self, connection: AsyncConnection | AsyncSession, statements: Statements) -> None:
        super().__init__(connection, statements)
        self._given = connection

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """Passed to the driver as they are, so that no part of them is read as SQLAlchemy's own."""
        connection = await self._given.connection() if isinstance(self._given, AsyncSession) else self._given
        match _STYLES.get(connection.dialect.driver):
            case "numbered":
                result = await connection.exec_driver_sql(statement.text, tuple(statement.bind(values)))
            case "pyformat":
                result = await connection.exec_driver_sql(as_pyformat(statement), dict(values))
            case _:
                raise not_known(self._given)
        return Rows(list(result.keys()), result.all()) if result.returns_rows else Rows((), ())

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none."""
        return self._given.begin_nested()


class BlockingSQLAlchemySession(ForeignSession):
    """The store's statements over a connection of SQLAlchemy that blocks, whose thread waits for them."""

    def __init__(self, connection: Session | Connection, statements: Statements) -> None:
        super().__init__(connection, statements)
        self._given = connection

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        """In another thread, while that of the caller does nothing."""
        return await asyncio.to_thread(self._rows, statement, values)

    def _rows(self, statement: Statement, values: Mapping[str, object]) -> Rows:
        connection = self._given.connection() if isinstance(self._given, Session) else self._given
        if connection.dialect.driver not in ("psycopg", "psycopg2"):
            raise not_known(self._given)
        result = connection.exec_driver_sql(as_pyformat(statement), dict(values))
        return Rows(list(result.keys()), result.all()) if result.returns_rows else Rows((), ())

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All of the block or none."""
        return in_thread(self._given.begin_nested())


class _Source:
    def __init__(self, library: SQLAlchemy, engine: AsyncEngine, statements: Statements) -> None:
        self._library = library
        self._engine = engine
        self._statements = statements

    async def begin(self, isolation_level: IsolationLevel | None) -> _Transaction:
        connection: AsyncConnection | None = None
        try:
            connection = await self._engine.connect()
            if isolation_level is not None:
                await connection.execution_options(isolation_level=isolation_level.upper())
            transaction = await connection.begin()
            driver = (await connection.get_raw_connection()).driver_connection
        except BaseException as error:
            if connection is not None:
                await _drop(connection)
            if isinstance(error, Exception):
                raise as_driver_error(error) from error
            raise
        return _Transaction(self._library, connection, transaction, self._statements, driver)

    async def close(self) -> None:
        if self._library.engine is None:
            await self._engine.dispose()


class _Transaction:
    def __init__(
        self,
        library: SQLAlchemy,
        connection: AsyncConnection,
        transaction: AsyncTransaction,
        statements: Statements,
        driver: Any,
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._transaction = transaction
        self._orm: AsyncSession | None = None
        if library.gives == "session":
            make = library.session or async_sessionmaker(expire_on_commit=False)
            session: AsyncSession = make(bind=connection)
            event.listen(session.sync_session, "before_commit", _refuse_session)
            self._orm = session
        self._guarded = connection.sync_connection
        event.listen(self._guarded, "commit", _refuse)
        self._over = False
        self.session = SQLAlchemySession(connection, statements)
        self.busy = False

    async def run(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        return await fn(self._connection if self._orm is None else self._orm, *args, **kwargs)

    async def flush(self) -> None:
        if self._orm is not None:
            await self._orm.flush()

    async def commit(self) -> None:
        self._over = True
        event.remove(self._guarded, "commit", _refuse)
        try:
            await self._transaction.commit()
        except Exception as error:
            raise as_driver_error(error) from error

    async def rollback(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._transaction.is_active:
                    await self._transaction.rollback()
        except BaseException as error:
            await self._connection.invalidate()
            if not isinstance(error, Exception):
                raise

    def cut(self) -> None:
        cut_off(self._driver)

    async def close(self, *, drop: bool = False) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                if drop or not self._over:
                    await self._connection.invalidate()
                if self._orm is not None:
                    await self._orm.close()
                await self._connection.close()
        except BaseException as error:
            await _drop(self._connection)
            if not isinstance(error, Exception):
                raise


async def _drop(connection: AsyncConnection) -> None:
    try:
        await connection.invalidate()
    finally:
        await connection.close()


def _refuse(_connection: Any) -> None:
    raise TransactionEnded(
        "a transactional activity must not commit by itself: its transaction is committed together with its outcome "
        "when the function returns; for a part of it use begin_nested()"
    )


def _refuse_session(session: Any) -> None:
    if not session.in_nested_transaction():
        _refuse(session)
