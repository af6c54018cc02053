"""The database of an app, made ready to be used: found, if need be started, and with its schema in place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from holdfast.app.settings import AppSettings
from holdfast.core.errors import AccessDenied, BinariesNotFound, EmbeddedError, SchemaMismatch
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect, translated
from holdfast.store.migrate import code_version, migrate, read_applied, verify
from holdfast.store.session import Session
from holdfast.store.statements import Statements

_log = logging.getLogger("holdfast.app")

_CARE = timedelta(seconds=1)
"""How often the embedded server is looked after, should its supervisor have been killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where to connect, and the statements for its schema."""

    dsn: str
    statements: Statements


@asynccontextmanager
async def open_database(settings: AppSettings) -> AsyncGenerator[Database]:
    """The database, with a schema that this code runs on, for as long as the block lasts.

    Raises:
        DatabaseError: it cannot be reached, or its schema is not there and may not be made.
        EmbeddedError: the embedded Postgres cannot be started.
    """
    async with reach_database(settings) as database:
        await ensure_schema(database, auto_setup=settings.auto_setup.value)
        yield database


@asynccontextmanager
async def reach_database(settings: AppSettings) -> AsyncGenerator[Database]:
    """The database, whatever is in it; an embedded one runs for as long as the block lasts."""
    statements = Statements(settings.schema.value)
    if settings.database_url.value is not None:
        yield Database(dsn=settings.database_url.value, statements=statements)
        return
    server = EmbeddedPostgres(settings.embedded)
    await _start(server)
    try:
        care = asyncio.create_task(_care_for(server), name="holdfast care for embedded postgres")
        try:
            yield Database(dsn=server.dsn, statements=statements)
        finally:
            care.cancel()
            with suppress(asyncio.CancelledError):
                await care
    finally:
        # Shielded: the last one to leave has to stop the server, also when it leaves under cancellation.
        await asyncio.shield(asyncio.to_thread(server.stop))


async def _start(server: EmbeddedPostgres) -> None:
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A thread cannot be cancelled; what it has started is given back.
        with suppress(EmbeddedError):
            await starting
        await asyncio.to_thread(server.stop)
        raise
    except BinariesNotFound as error:
        raise BinariesNotFound(
            "no database is configured, and there are no Postgres programs for an embedded one: set "
            "HOLDFAST_DATABASE_URL or DATABASE_URL (in the environment or .env, or database_url in holdfast.toml), "
            f"or install the extra: pip install 'holdfast[embedded]' ({error})"
        ) from error


async def _care_for(server: EmbeddedPostgres) -> None:
    failing = False
    while True:
        await asyncio.sleep(_CARE.total_seconds())
        try:
            await asyncio.to_thread(server.ensure)
            failing = False
        except EmbeddedError as error:
            if not failing:
                _log.warning("the embedded Postgres cannot be started again: %s", error)
            failing = True


async def ensure_schema(database: Database, *, auto_setup: bool) -> None:
    """Makes or upgrades the schema where that is needed and allowed.

    Raises:
        SchemaMismatch: it is missing or older, and ``auto_setup`` is off; or it is not one for this code.
        AccessDenied: this user may not make it.
    """
    async with translated(database.dsn):
        connection = await connect(database.dsn, application="holdfast setup")
        try:
            session = Session(connection, database.statements)
            applied = await read_applied(session)
            if applied is not None and applied.version >= code_version():
                verify(applied, database.statements.schema)
                return
            if not auto_setup:
                try:
                    verify(applied, database.statements.schema)
                except SchemaMismatch as error:
                    raise SchemaMismatch(f"{error} (auto_setup is off)") from None
            try:
                async with translated():
                    await migrate(session)
            except AccessDenied as error:
                raise AccessDenied(
                    f"schema {database.statements.schema!r} has to be set up, and this user may not do that: {error}; "
                    "run `holdfast db setup` once as the owner of the database, or apply what `holdfast db sql` prints"
                ) from error
        finally:
            await connection.close()
