"""What is started, sent or cancelled on a connection of the caller's is part of his transaction, in each library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from holdfast import App, Cancellation, Client, Effect, InvalidInput, KeyConflict, RunStatus, Signal
from tests.house import House, until
from tests.integrations.callers import BESIDE, CALLERS, Open
from tests.integrations.ways import TABLES

pytestmark = pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)

SOON = timedelta(seconds=20)
go = Signal[int]("go")


def app_on(house: House) -> App:
    app = house.app()

    @app.workflow
    async def greet(name: str) -> str:
        return f"hello {name}"

    @app.workflow
    async def waits() -> int:
        return await go.wait()

    return app


@pytest.fixture
def app(house: House) -> App:
    return app_on(house)


@pytest.fixture
async def client(house: House, app: App) -> Client:
    await house.db.execute(TABLES)
    return await house.client(app)


@pytest.fixture
async def hints(house: House) -> AsyncIterator[list[str]]:
    """What is said to those who listen."""
    connection = await asyncpg.connect(house.dsn)
    heard: list[str] = []

    def hear(_connection: object, _pid: int, _channel: str, said: object) -> None:
        heard.append(str(said))

    await connection.add_listener("holdfast", hear)
    yield heard
    await connection.close()


async def everything(app: App, client: Client, connection: Any) -> list[Any]:
    """A start of each kind; the handles."""
    greet: Any = app.definitions["greet"]
    at = datetime(2020, 2, 29, 12, tzinfo=UTC)
    return [
        await client.start(greet, "100 % Zoë", tags={"a": "ü"}, at=at, timeout=SOON, connection=connection),
        await client.start(greet, "keyed", key="k", connection=connection),
        *await client.start_many([greet.call(f"{n}") for n in range(3)], connection=connection),
        *await client.start_many([greet.call(f"{n}") for n in range(3)], keys=["x", "y", "z"], connection=connection),
        await client.start_by_name("greet", {"name": "by name"}, after=timedelta(0), connection=connection),
    ]


async def count(house: House) -> tuple[int, int, int]:
    run: int = await house.value("select count(*) from holdfast.run")
    keys: int = await house.value("select count(*) from holdfast.start_key")
    notes: int = await house.value("select count(*) from note")
    return run, keys, notes


async def test_all_of_it_exists_with_the_commit_and_is_told_then(
    house: House, app: App, client: Client, caller: Open, hints: list[str]
) -> None:
    async with caller(house.dsn) as call:
        handles = await everything(app, client, call.connection)
        await call.execute(BESIDE)
        assert await count(house) == (0, 0, 0)
        # A hint of somebody else's gets through, and theirs are not there before it.
        await house.db.execute("notify holdfast, 'other'")
        await until(lambda: _is_in("other", hints), "the other hint")
        assert hints == ["other"]
        await call.commit()
    await until(lambda: _is_in("due default", hints), "the hint")
    assert await count(house) == (9, 4, 1)
    row = await house.db.fetchrow("select input::text, tags::text from holdfast.run where id = $1", handles[0].id)
    assert row is not None
    assert json.loads(row["input"]) == {"name": "100 % Zoë"}
    assert json.loads(row["tags"]) == {"a": "ü"}
    await house.worker(app)
    results = await asyncio.gather(*[one.result(timeout=SOON) for one in handles])
    assert results == ["hello 100 % Zoë", "hello keyed", *(f"hello {n}" for n in (0, 1, 2, 0, 1, 2)), "hello by name"]
    await house.check_invariants()


async def _is_in(hint: str, hints: list[str]) -> bool:
    return hint in hints


async def test_nothing_of_it_is_left_by_a_rollback(house: House, app: App, client: Client, caller: Open) -> None:
    greet: Any = app.definitions["greet"]
    async with caller(house.dsn) as call:
        # First what needs a savepoint: it does not commit by itself, where it is what begins the transaction.
        await client.start_many([greet.call("a"), greet.call("b")], keys=["a", "b"], connection=call.connection)
        await everything(app, client, call.connection)
        await call.execute(BESIDE)
        await call.rollback()
    assert await count(house) == (0, 0, 0)


async def test_a_key_that_is_taken_leaves_the_transaction_usable(
    house: House, app: App, client: Client, caller: Open
) -> None:
    greet: Any = app.definitions["greet"]
    taken = await client.start(greet, "ada", key="k")
    async with caller(house.dsn) as call:
        again = await client.start(greet, "ada", key="k", connection=call.connection)
        assert (again.id, again.existing) == (taken.id, True)
        with pytest.raises(KeyConflict):
            await client.start(greet, "eve", key="k", connection=call.connection)
        with pytest.raises(KeyConflict):
            await client.start_many([greet.call("new"), greet.call("eve")], keys=["n", "k"], connection=call.connection)
        await client.start(greet, "bob", connection=call.connection)
        await call.execute(BESIDE)
        await call.commit()
    # Of the two of which one was refused there is none.
    assert await count(house) == (2, 1, 1)


async def test_signals_cancels_and_pauses_are_part_of_it(house: House, app: App, client: Client, caller: Open) -> None:
    waits: Any = app.definitions["waits"]
    told, cancelled, paused = [await client.start(waits) for _ in range(3)]
    for commits in (False, True):
        async with caller(house.dsn) as call:
            assert await client.signal(told.id, go, 7, key="once", connection=call.connection)
            assert not await client.signal(told.id, go, 8, key="once", connection=call.connection)
            assert await client.cancel(cancelled.id, connection=call.connection) is Cancellation.CANCELLED
            assert await paused.pause(connection=call.connection) is Effect.DONE
            assert [await one.status() for one in (told, cancelled, paused)] == [RunStatus.READY] * 3
            await (call.commit() if commits else call.rollback())
        if not commits:
            assert [await one.status() for one in (told, cancelled, paused)] == [RunStatus.READY] * 3
    assert await cancelled.status() is RunStatus.CANCELLED
    assert await paused.status() is RunStatus.PAUSED
    await house.worker(app)
    assert await told.result(timeout=SOON) == 7
    await house.check_invariants()


async def test_what_cannot_be_stored_is_refused_before_it_is_said(
    house: House, app: App, client: Client, caller: Open
) -> None:
    async with caller(house.dsn) as call:
        with pytest.raises(InvalidInput):
            await client.start(app.definitions["greet"].call(5), connection=call.connection)
        await call.execute(BESIDE)
        await call.commit()
    assert await count(house) == (0, 0, 1)
