"""Transactional activities as their callers see them: without the connection. Both type checkers must find nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, assert_type

import django.db  # type: ignore[import-untyped]
import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from holdfast import Activity, App, Client, Connection, RunHandle
from holdfast.integrations.django import Django
from holdfast.integrations.psycopg import Psycopg
from holdfast.integrations.sqlalchemy import SQLAlchemy

app = App()


@app.activity(transactional=True, isolation_level="repeatable read", timeout=timedelta(seconds=5))
async def transfer(connection: Connection, source: str, amount: int = 1, *, note: str | None = None) -> int:
    row = await connection.fetchrow("select amount from account where name = $1", source)
    return amount if row is None else int(row["amount"])


@app.activity(transactional=True)
async def in_psycopg(connection: psycopg.AsyncConnection[Any], amount: int) -> int:
    return amount


@app.activity(transactional=Psycopg(prepare_threshold=None))
def in_a_thread(connection: psycopg.Connection[Any], amount: int) -> int:
    return amount


@app.activity(transactional=True)
async def in_a_session(session: AsyncSession, amount: int) -> int:
    return amount


@app.activity(transactional=SQLAlchemy(driver="psycopg"), isolation_level="serializable")
async def on_a_connection(connection: AsyncConnection, amount: int) -> int:
    return amount


@app.activity(transactional=Django(using="default"))
def in_django(connection: BaseDatabaseWrapper, amount: int) -> int:
    return amount


@app.workflow
async def pays_in_all_of_them(amount: int) -> int:
    assert_type(await in_psycopg(amount), int)
    assert_type(await in_a_thread(amount), int)
    assert_type(await in_a_session(amount), int)
    assert_type(await on_a_connection(amount), int)
    return await in_django(amount)


async def starts_in_all_of_them(
    client: Client,
    coroutines: psycopg.AsyncConnection[Any],
    blocking: psycopg.Connection[Any],
    connection: AsyncConnection,
    session: AsyncSession,
) -> None:
    for one in (coroutines, blocking, connection, session):
        assert_type(await client.start(in_psycopg, 5, connection=one), RunHandle[int])
    assert_type(await client.start(in_psycopg, 5, connection=django.db.connection), RunHandle[int])


@app.workflow
async def pays(names: list[str]) -> int:
    assert_type(await transfer("ada", 5), int)
    assert_type(await transfer("ada", note="rent"), int)
    assert_type(await transfer.options(key="rent")("ada"), int)
    return sum(await asyncio.gather(*[transfer(name) for name in names]))


async def starts(client: Client) -> None:
    run = await client.start(transfer, "ada", 5)
    assert_type(run, RunHandle[int])
    assert_type(await client.start_many([transfer.call("ada", note="x")]), list[RunHandle[int]])
    assert_type(await run.result(), int)


async def by_hand(connection: Connection) -> None:
    await transfer.fn(connection, "ada", 5)


def of_an_app() -> Activity[..., int]:
    return transfer
