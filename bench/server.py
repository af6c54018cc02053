"""The database server that everything of one sitting is measured on."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from bench.database import Database
from holdfast import App, EmbeddedSettings
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from holdfast.store.partitions import make_days, partition_by_day
from holdfast.store.session import Session
from holdfast.store.statements import Statements

_URL = re.compile(r"^(postgres(?:ql)?://[^/?]*)(?:/[^?]*)?")
_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "max_connections",
    "autovacuum",
)


class Server:
    """Scratch databases on one server: each repetition gets a fresh one, so that all begin alike."""

    def __init__(self, url: str, settings: Mapping[str, str], prefix: str, *, data: Path | None) -> None:
        self._url = url
        self._prefix = prefix
        self._count = 0
        self.settings = settings
        self.data = data
        """Where its data is, if that is known."""

    @asynccontextmanager
    async def database(self, *, empty: bool = False) -> AsyncGenerator[Database]:
        """A database that lasts as long as the block: with Holdfast's schema in it, or with nothing at all."""
        self._count += 1
        name = f"{self._prefix}_{self._count}"
        await self.execute(f"create database {name} template {'template1' if empty else self.template}")
        try:
            address = url_of(self._url, name)
            connection = await asyncpg.connect(address)
            try:
                yield Database(address, connection)
            finally:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await connection.close(timeout=5)
        finally:
            await self.execute(f"drop database {name} with (force)")

    @property
    def template(self) -> str:
        """The database that others are copies of."""
        return f"{self._prefix}_template"

    async def execute(self, statement: str) -> None:
        """Executes a statement about databases."""
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def open_server(url: str | None, *, days: int = 0) -> AsyncGenerator[Server]:
    """The server at this URL, or an embedded one with full durability and data that goes with it."""
    if url is not None:
        async with _prepared(url, days, data=None) as server:
            yield server
        return
    place = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        # The server may run under another account than ours, and has to get through.
        await asyncio.to_thread(place.chmod, 0o711)
        postgres = EmbeddedPostgres(EmbeddedSettings(data_dir=place / "data", durability="full", temporary=True))
        await asyncio.to_thread(postgres.start)
        try:
            async with _prepared(postgres.dsn, days, data=place) as server:
                yield server
        finally:
            await asyncio.to_thread(postgres.stop)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


@asynccontextmanager
async def _prepared(url: str, days: int, *, data: Path | None) -> AsyncGenerator[Server]:
    server = Server(url, await _read_settings(url), f"holdfast_bench_{uuid.uuid4().hex[:8]}", data=data)
    await server.execute(f"create database {server.template}")
    try:
        async with App(url_of(url, server.template), schema="holdfast").client():
            pass  # opening it has made the schema
        if days:
            await _divide(url_of(url, server.template), days)
        yield server
    finally:
        await server.execute(f"drop database {server.template} with (force)")


async def _divide(url: str, days: int) -> None:
    connection = await connect(url, application="bench")
    try:
        session = Session(connection, Statements())
        await partition_by_day(session)
        await make_days(session, ahead=days - 1)
    finally:
        await connection.close()


async def _read_settings(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        return {name: str(await connection.fetchval(f"show {name}")) for name in _SETTINGS}
    finally:
        await connection.close()


def url_of(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    if not _URL.match(url):
        raise ValueError("the database URL looks like postgresql://user:password@host:5432/database")
    return _URL.sub(rf"\1/{database}", url, count=1)
