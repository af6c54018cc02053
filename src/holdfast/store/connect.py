"""Opening connections, and telling in words what is wrong where that fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from holdfast.core.errors import (
    AccessDenied,
    DatabaseError,
    DatabaseUnavailable,
    HoldfastError,
    SchemaMismatch,
    WorkerFenced,
)
from holdfast.store.driver import DriverConnection

if TYPE_CHECKING:
    from holdfast.store.session import Connection

_CONNECT_TIMEOUT = 10.0


async def connect(
    dsn: str, *, application: str, transaction_timeout: timedelta | None = None
) -> asyncpg.Connection[asyncpg.Record]:
    """A connection under READ COMMITTED; a DatabaseError says what is wrong and what to do.

    The server ends it when a transaction takes longer than ``transaction_timeout``; not every server can.
    """
    settings = _server_settings(application)
    if transaction_timeout is not None:
        settings["transaction_timeout"] = f"{round(transaction_timeout.total_seconds() * 1000)}ms"
    async with translated(dsn):
        try:
            return await _connect(dsn, server_settings=settings)
        except asyncpg.PostgresError as error:
            if not _is_from_pooler(error):
                raise
        return await _connect(dsn, server_settings=_pooled(application), statement_cache_size=0)


async def _connect(dsn: str, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT, connection_class=DriverConnection, **options)


async def connect_plainly(dsn: str, *, application: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection as the user would open it, with none of our settings; errors are those of the driver."""
    try:
        # One that only Postgres itself takes, so that a pooler is recognised; each transaction sets a limit of its own.
        settings = {"application_name": application, "idle_in_transaction_session_timeout": "0"}
        return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT, server_settings=settings)
    except asyncpg.PostgresError as error:
        if not _is_from_pooler(error):
            raise
    return await asyncpg.connect(
        dsn, timeout=_CONNECT_TIMEOUT, server_settings=_pooled(application), statement_cache_size=0
    )


def has_transaction_timeout(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether the server knows the setting: Postgres 17 and later."""
    return connection.get_server_version() >= (17,)


async def create_pool(dsn: str, *, application: str, size: int) -> asyncpg.Pool[asyncpg.Record]:
    """A pool of at most ``size`` connections, opened as they are needed."""
    async with translated(dsn):
        try:
            return await _create_pool(dsn, size, server_settings=_server_settings(application))
        except asyncpg.PostgresError as error:
            if not _is_from_pooler(error):
                raise
        return await _create_pool(dsn, size, server_settings=_pooled(application), statement_cache_size=0)


async def _create_pool(dsn: str, size: int, **options: Any) -> asyncpg.Pool[asyncpg.Record]:
    pool = await asyncpg.create_pool(
        dsn,
        # None is kept open for its own sake: while the server is away the driver would log a traceback for each try.
        min_size=0,
        max_size=size,
        timeout=_CONNECT_TIMEOUT,
        connection_class=DriverConnection,
        # Nothing of ours changes a session's settings, so nothing has to be reset: it would cost a round trip.
        reset=_keep,
        **options,
    )
    try:
        # The first is opened all the same: so whatever is wrong is known here.
        async with pool.acquire():
            return pool
    except BaseException:
        pool.terminate()
        raise


def _is_from_pooler(error: asyncpg.PostgresError) -> bool:
    """Whether a pooler such as PgBouncer refused the settings: Postgres itself takes them."""
    return error.sqlstate == "08P01" and "startup parameter" in str(error)


def _pooled(application: str) -> dict[str, str]:
    """What a pooler takes. It may hand each transaction to another session, so no statement is prepared there either.

    The fence asks for READ COMMITTED itself, and the functions of the schema carry the settings that they need.
    """
    return {"application_name": application}


def _server_settings(application: str) -> dict[str, str]:
    return {
        "application_name": application,
        # Whatever the database's default is: the fence must see what was committed after its lock was granted.
        "default_transaction_isolation": "read committed",
        # Every statement of ours has an index to look into. A plan that was made while its tables were small would read
        # them from one end to the other, and a session keeps its plans while they grow.
        "enable_seqscan": "off",
        "timezone": "UTC",
    }


async def _keep(_connection: Connection) -> None:
    return None


@asynccontextmanager
async def translated(dsn: str | None = None) -> AsyncGenerator[None]:
    """Errors of the driver leave this block as errors of Holdfast, with the cause and the remedy."""
    try:
        yield
    except HoldfastError:
        raise
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        # Of a connection that broke at an inconvenient moment.
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
        ValueError,
    ) as error:
        if isinstance(error, ValueError) and dsn is None:
            raise
        raise translate(error, dsn) from error


def translate(error: BaseException, dsn: str | None = None) -> HoldfastError:
    """The error of Holdfast that says what this error of the driver means and what to do."""
    if isinstance(error, HoldfastError):
        return error
    where = f" at {hide_password(dsn)}" if dsn else ""
    for kinds, make in _TRANSLATIONS:
        if isinstance(error, kinds):
            return make(error, where)
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str) and state.startswith("HF"):
        return _own(error, state)
    if is_away(error):
        return DatabaseUnavailable(
            f"the database{where} cannot be reached: {said(error)}; check that the server runs and that the address, "
            "port and socket directory in the database URL are right"
        )
    if isinstance(error, asyncpg.InterfaceError | ValueError):
        return DatabaseError(
            f"the database URL{where} cannot be used: {said(error)}; "
            "it looks like postgresql://user:password@host:5432/database"
        )
    return DatabaseError(f"the database{where} refused: {said(error)}")


def is_away(error: BaseException) -> bool:
    """Whether the same call may succeed once the server or the network is back."""
    if isinstance(error, DatabaseUnavailable | OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return "clos" in str(error) or "another operation" in str(error)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # 25P04: its transaction took longer than the server allows.
        return state[:2] in {"08", "57", "53", "40", "55"} or state == "25P04"
    return isinstance(error, asyncpg.InternalClientError)


def hide_password(dsn: str) -> str:
    """The DSN without its password: for messages."""
    return re.sub(r"(password=)[^&\s]+", r"\1***", re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", dsn))


def said(error: BaseException) -> str:
    """What the error says, or its class where it says nothing."""
    return str(error).strip() or type(error).__name__


def _own(error: BaseException, state: str) -> HoldfastError:
    match state:
        case "HF001":
            return WorkerFenced(f"{said(error)}; another worker has its runs")
        case "HF002":
            return DatabaseError(said(error))
        case _:
            return DatabaseError(said(error))


def _denied(error: BaseException, where: str) -> HoldfastError:
    return AccessDenied(
        f"the database{where} refuses this user: {said(error)}; check user and password in the database URL, "
        "and pg_hba.conf on the server"
    )


def _no_right(error: BaseException, where: str) -> HoldfastError:
    return AccessDenied(
        f"this user lacks a right in the database{where}: {said(error)}; "
        "`holdfast db sql --roles` prints the grants for a client, a worker and a consumer role"
    )


def _read_only(error: BaseException, where: str) -> HoldfastError:
    return AccessDenied(
        f"the database{where} is read-only: {said(error)}; connect to the primary, "
        "or end default_transaction_read_only for this user"
    )


def _no_database(error: BaseException, where: str) -> HoldfastError:
    return DatabaseUnavailable(f"{said(error)}{where}; create it (createdb), or correct the database URL")


def _no_schema(error: BaseException, where: str) -> HoldfastError:
    return SchemaMismatch(
        f"Holdfast's schema is missing or not complete in the database{where}: {said(error)}; run `holdfast db setup`"
    )


def _full(error: BaseException, where: str) -> HoldfastError:
    return DatabaseUnavailable(f"the disk of the database{where} is full: {said(error)}; free space there")


def _crowded(error: BaseException, where: str) -> HoldfastError:
    return DatabaseUnavailable(
        f"the database{where} takes no more connections: {said(error)}; raise max_connections, "
        "start fewer workers, or put a pooler in front"
    )


_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Callable[[BaseException, str], HoldfastError]], ...] = (
    ((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError), _denied),
    ((asyncpg.InsufficientPrivilegeError,), _no_right),
    ((asyncpg.ReadOnlySQLTransactionError,), _read_only),
    ((asyncpg.InvalidCatalogNameError,), _no_database),
    ((asyncpg.InvalidSchemaNameError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError), _no_schema),
    ((asyncpg.DiskFullError,), _full),
    ((asyncpg.TooManyConnectionsError,), _crowded),
)
