"""Transactional activities as their callers see them: without the connection. Both type checkers must find nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import assert_type

from holdfast import Activity, App, Client, Connection, RunHandle

app = App()


@app.activity(transactional=True, isolation_level="repeatable read", timeout=timedelta(seconds=5))
async def transfer(connection: Connection, source: str, amount: int = 1, *, note: str | None = None) -> int:
    row = await connection.fetchrow("select amount from account where name = $1", source)
    return amount if row is None else int(row["amount"])


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
