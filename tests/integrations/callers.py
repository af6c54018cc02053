"""Connections of a caller's own, of each library, with what he does on them beside: all of it as he would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import asyncpg
import psycopg
from sqlalchemy import Engine, NullPool, create_engine, orm, text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.integrations.ways import arguments, engine, set_up_django

BESIDE = "insert into note (text) values ('beside')"


@dataclass(frozen=True)
class Call:
    """A transaction of the caller's, open, with an effect of his in it."""

    connection: Any
    commit: Callable[[], Awaitable[object]]
    rollback: Callable[[], Awaitable[object]]
    execute: Callable[[str], Awaitable[object]]


Open = Callable[[str], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def of_asyncpg(dsn: str) -> AsyncGenerator[Call]:
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield Call(connection, transaction.commit, transaction.rollback, connection.execute)
    await connection.close()


@asynccontextmanager
async def of_psycopg(dsn: str) -> AsyncGenerator[Call]:
    async with await psycopg.AsyncConnection[Any].connect(dsn) as connection:
        yield Call(connection, connection.commit, connection.rollback, lambda sql: connection.execute(sql.encode()))


@asynccontextmanager
async def of_psycopg_that_blocks(dsn: str) -> AsyncGenerator[Call]:
    with psycopg.Connection[Any].connect(dsn) as connection:
        yield Call(
            connection,
            lambda: asyncio.to_thread(connection.commit),
            lambda: asyncio.to_thread(connection.rollback),
            lambda sql: asyncio.to_thread(connection.execute, sql.encode()),
        )


def of_a_connection(driver: str) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncGenerator[Call]:
        async with engine(dsn, driver) as made, made.connect() as connection:
            yield Call(connection, connection.commit, connection.rollback, lambda sql: connection.execute(text(sql)))

    return opened


def of_a_session(driver: str) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncGenerator[Call]:
        async with engine(dsn, driver) as made, AsyncSession(made) as session:
            yield Call(session, session.commit, session.rollback, lambda sql: session.execute(text(sql)))

    return opened


def blocking_engine(dsn: str) -> Engine:
    return create_engine("postgresql+psycopg://", connect_args=arguments(dsn, "psycopg"), poolclass=NullPool)


@asynccontextmanager
async def of_a_connection_that_blocks(dsn: str) -> AsyncGenerator[Call]:
    made = blocking_engine(dsn)
    with made.connect() as connection:
        yield Call(
            connection,
            lambda: asyncio.to_thread(connection.commit),
            lambda: asyncio.to_thread(connection.rollback),
            lambda sql: asyncio.to_thread(connection.execute, text(sql)),
        )


@asynccontextmanager
async def of_a_session_that_blocks(dsn: str) -> AsyncGenerator[Call]:
    made = blocking_engine(dsn)
    with orm.Session(made) as session:
        yield Call(
            session,
            lambda: asyncio.to_thread(session.commit),
            lambda: asyncio.to_thread(session.rollback),
            lambda sql: asyncio.to_thread(session.execute, text(sql)),
        )


@asynccontextmanager
async def of_django(dsn: str) -> AsyncGenerator[Call]:
    from holdfast.integrations.thread import OwnThread

    set_up_django(dsn)
    thread = OwnThread()
    db: Any = import_module("django.db")

    def begin() -> Any:
        db.connections["default"].inc_thread_sharing()
        atomic = db.transaction.atomic()
        atomic.__enter__()
        return db.connections["default"], atomic

    connection, atomic = await thread.do(begin)

    def execute(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def rollback() -> None:
        db.transaction.set_rollback(True)
        atomic.__exit__(None, None, None)

    yield Call(
        connection,
        lambda: thread.do(lambda: atomic.__exit__(None, None, None)),
        lambda: thread.do(rollback),
        lambda sql: thread.do(lambda: execute(sql)),
    )
    await thread.do_last(connection.close)


CALLERS: dict[str, Open] = {
    "asyncpg": of_asyncpg,
    "psycopg": of_psycopg,
    "psycopg that blocks": of_psycopg_that_blocks,
    "a connection over asyncpg": of_a_connection("asyncpg"),
    "a connection over psycopg": of_a_connection("psycopg"),
    "a connection that blocks": of_a_connection_that_blocks,
    "a session over asyncpg": of_a_session("asyncpg"),
    "a session over psycopg": of_a_session("psycopg"),
    "a session that blocks": of_a_session_that_blocks,
    "Django": of_django,
}
