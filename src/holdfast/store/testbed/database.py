"""Making and dropping databases, from another one of the same server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.store.connect import connect, translated
from holdfast.store.migrate import migrate
from holdfast.store.session import Session
from holdfast.store.statements import Statements

if TYPE_CHECKING:
    import asyncpg

_APPLICATION = "holdfast tests"


async def make_template(server: str, name: str, unfinished: str) -> None:
    """Makes the database ``name`` with Holdfast's schema, unless it is there.

    Until that is done it has another name, with ``_unfinished`` at its end; ``unfinished`` is the URL for that one.

    Raises:
        DatabaseError: the server cannot be reached, or refuses.
    """
    async with translated(server):
        admin = await connect(server, application=_APPLICATION)
        try:
            # Of those that share it one makes it; the lock goes with the connection.
            await admin.execute("select pg_advisory_lock(hashtextextended($1, 0))", name)
            if not await admin.fetchval("select 1 from pg_database where datname = $1", name):
                await _make(admin, name, unfinished)
        finally:
            await admin.close()


async def _make(admin: asyncpg.Connection[asyncpg.Record], name: str, url: str) -> None:
    await admin.execute(f"drop database if exists {name}_unfinished with (force)")
    await admin.execute(f"create database {name}_unfinished")
    connection = await connect(url, application=_APPLICATION)
    try:
        await migrate(Session(connection, Statements()))
    finally:
        await connection.close()
    await admin.execute(f"alter database {name}_unfinished rename to {name}")


async def copy_database(server: str, name: str, template: str) -> None:
    """Makes a database as a copy of another one that nobody is connected to.

    Raises:
        DatabaseError: the server cannot be reached, or refuses.
    """
    async with translated(server):
        admin = await connect(server, application=_APPLICATION)
        try:
            # What the default, since Postgres 15, writes to the log page by page need not survive a crash here.
            copies = admin.get_server_version() >= (15,) and await admin.fetchval("show fsync") == "off"
            strategy = " strategy file_copy" if copies else ""
            await admin.execute(f"create database {name} template {template}{strategy}")
        finally:
            await admin.close()


async def drop_database(server: str, name: str) -> None:
    """Drops a database; who is connected to it is cut off."""
    await _execute(server, f"drop database if exists {name} with (force)")


async def _execute(server: str, statement: str) -> None:
    async with translated(server):
        admin = await connect(server, application=_APPLICATION)
        try:
            await admin.execute(statement)
        finally:
            await admin.close()
