"""The blocking client: each type is the one written here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import django.db  # type: ignore[import-untyped]
import psycopg
import sqlalchemy
import sqlalchemy.orm

from holdfast import (
    App,
    BlockingClient,
    BlockingRunHandle,
    Cancellation,
    Effect,
    Key,
    Page,
    Progress,
    Retry,
    RunDescription,
    RunStatus,
    RunSummary,
    Signal,
)

app = App()
approve = Signal[bool]("approve")


@app.activity
def weigh(order: int, *, twice: bool = False) -> float:
    return order * 1.5


@app.workflow
async def buy(order: int, company: str) -> str:
    return f"{order} {company}"


client = app.blocking_client(pool_size=2)
assert_type(client, BlockingClient)


def script() -> None:
    with app.blocking_client() as own:
        assert_type(own, BlockingClient)
    run = client.start(buy, 5, "Acme", key="5", priority="high")
    assert_type(run, BlockingRunHandle[str])
    assert_type(run.result(timeout=timedelta(seconds=5)), str)
    assert_type(run.status(), RunStatus)
    assert_type(run.describe(), RunDescription)
    assert_type(run.signal(approve, value=True), bool)
    assert_type(run.cancel(), Cancellation)
    assert_type(run.retry(), BlockingRunHandle[str])
    assert_type(run.reschedule(after=timedelta(hours=1)), Effect)
    assert_type(run.next_progress(run.progress()), Progress | None)
    assert_type(next(run.watch_progress()), Progress)
    assert_type(client.start(weigh, 5, key=Key("k", window="open"), retry=Retry()).result(), float)
    assert_type(client.start(weigh.call(5, twice=True)).result(), float)
    assert_type(client.start_many([buy.call(1, "A"), buy.call(2, company="B")]), list[BlockingRunHandle[str]])
    assert_type(client.start_by_name("buy"), BlockingRunHandle[Any])
    assert_type(client.get(run.id, buy), BlockingRunHandle[str])
    assert_type(client.list(status="failed"), Page[RunSummary])
    client.close()


def in_transactions(
    connection: psycopg.Connection[Any],
    core: sqlalchemy.Connection,
    session: sqlalchemy.orm.Session,
    scoped: sqlalchemy.orm.scoped_session[sqlalchemy.orm.Session],
) -> None:
    assert_type(client.start(buy, 5, "Acme", connection=connection), BlockingRunHandle[str])
    assert_type(client.start(buy, 5, "Acme", connection=core).signal(approve, value=True, connection=core), bool)
    assert_type(client.start_many([buy.call(1, "A")], connection=session), list[BlockingRunHandle[str]])
    assert_type(client.start_by_name("buy", connection=scoped), BlockingRunHandle[Any])
    assert_type(client.start(buy, 5, "Acme", connection=django.db.connection).cancel(), Cancellation)
