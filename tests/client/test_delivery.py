"""How starts get to the database: together, without delay, and once, also when the connection is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from holdfast.client import Client
from holdfast.client.options import StartOptions
from holdfast.core.errors import DatabaseError, DatabaseUnavailable, HoldfastError
from holdfast.store.session import Session
from holdfast.store.starts import Manner, Start, start_plain
from holdfast.store.statements import Statements
from tests.client.shop import Connection, Signup, charge, client_of, count, nothing, onboard
from tests.house import eventually, until

COMMITS = "select count(distinct xmin::text) from holdfast.run"
pytestmark = pytest.mark.usefixtures("sound")

BLOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
BLOCKED_PID = "select max(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def test_concurrent_starts_share_commits(client: Client, db: Connection) -> None:
    await client.start(nothing)
    await asyncio.gather(*(client.start(charge, n) for n in range(500)))
    assert await count(db) == 501
    # One for the first, one for the five hundred.
    assert await db.fetchval(COMMITS) == 2


async def test_a_batch_has_an_upper_bound(client: Client, db: Connection) -> None:
    await asyncio.gather(*(client.start(charge, n) for n in range(2_500)))
    assert await count(db) == 2_500
    assert await db.fetchval(COMMITS) == 3


async def test_what_comes_while_a_batch_is_in_flight_goes_with_the_next(client: Client, db: Connection) -> None:
    async def in_turn() -> None:
        for n in range(20):
            await client.start(charge, n)

    await asyncio.gather(*(in_turn() for _ in range(50)))
    assert await count(db) == 1_000
    assert await db.fetchval(COMMITS) <= 25


async def test_a_start_that_cannot_be_stored_fails_alone(client: Client, db: Connection) -> None:
    starts = [client._encoder.call(charge.call(n), StartOptions()) for n in range(64)]
    starts[17] = starts[17]._replace(input="{")
    answers = await asyncio.gather(*(client._launch._starter.start(start) for start in starts), return_exceptions=True)
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [17]
    assert isinstance(answers[17], DatabaseError)
    assert await count(db) == await count(db, "task") == 63


async def test_a_key_that_waits_for_another_transaction_holds_up_no_start_without_one(
    client: Client, db: Connection
) -> None:
    transaction = db.transaction()
    await transaction.start()
    await client.start(nothing, key="k", connection=db)
    blocked = asyncio.create_task(client.start(nothing, key="k"))
    await eventually(lambda: client._launch._starter._keyed._pump is not None, "the keyed start is on its way")
    handle = await client.start(nothing)
    assert not blocked.done()
    await transaction.commit()
    assert (await blocked).existing
    assert handle.id != (await blocked).id


async def test_a_start_whose_connection_is_lost_is_sent_again(client: Client, dsn: str, db: Connection) -> None:
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await client.start(nothing, key="k", connection=other)
    starting = asyncio.create_task(client.start(nothing, key="k"))
    killed: set[int] = set()
    for _ in range(3):
        # Blocked by the other transaction's key, so that it is surely under way.
        await until(lambda: db.fetchval(BLOCKED), "the start is under way")
        pid = await db.fetchval(BLOCKED_PID)
        assert pid not in killed
        killed.add(pid)
        await db.execute("select pg_terminate_backend($1)", pid)
        await _gone(db, pid)
    await transaction.rollback()
    handle = await starting
    assert not handle.existing
    assert await count(db) == await count(db, "task") == 1
    await other.close()


async def test_the_task_of_a_run_is_made_by_a_look_into_a_hash_table(client: Client, db: Connection) -> None:
    # As a join it would be planned for a few rows, and be a nested loop over a thousand times a thousand.
    statement = Statements()["start_plain"]
    values: dict[str, object] = {name: ["1"] for name in statement.parameters}
    values |= {name: [] for name in ("ids", "due", "after", "timeouts", "tags", "hints")}
    values |= {name: [1] for name in ("kinds", "priorities", "manners")}
    await db.execute("set plan_cache_mode = force_generic_plan")
    plan = await db.fetch("explain " + statement.text, *statement.bind(values))
    text = "\n".join(row[0] for row in plan)
    assert "hashed SubPlan" in text, text
    assert "Join" not in text, text


@pytest.mark.parametrize("ended", [False, True])
async def test_the_same_starts_sent_twice_make_each_run_once(client: Client, db: Connection, ended: bool) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    starts = [Start(client._encoder._ids.next(), "{}", manner, None, None) for _ in range(5)]
    session = Session(db, Statements())
    await start_plain(session, starts, hint=True)
    if ended:
        await asyncio.gather(*(client.cancel(start.id) for start in starts))
    answers = await start_plain(session, starts, hint=True)
    assert [answer.id for answer in answers] == [start.id for start in starts]
    assert await count(db) == 5
    assert await count(db, "task") == (0 if ended else 5)


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_start_gives_up_when_the_database_is_away_for_too_long(
    dsn: str, server_db: Connection, key: str
) -> None:
    async with client_of(dsn, patience=timedelta(milliseconds=900)) as client:
        await _close_door(server_db, client)
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            await client.start(nothing, key=key)
        with pytest.raises(DatabaseUnavailable):
            await client.start_many([nothing.call()] * 3)
        with pytest.raises(DatabaseUnavailable):
            await client.list()
        await _open_door(server_db, client)
        await client.start(nothing, key=key)
        assert len(await client.list()) == 1


async def test_a_connection_that_is_cut_between_two_steps_of_the_driver_is_one_that_is_away(
    dsn: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = asyncpg.Connection
    prepare = driver._get_statement
    cut: list[Any] = []

    async def prepare_slowly(self: Any, *arguments: object, **named: object) -> object:
        statement: object = await prepare(self, *arguments, **named)
        if not cut:
            cut.append(self)
            await eventually(self.is_closed, "the client gives up on this connection")
        return statement

    async with client_of(dsn, patience=timedelta(seconds=3)) as client:
        monkeypatch.setattr(driver, "_get_statement", prepare_slowly)
        # It is sent again on another one.
        await client.start(nothing)
        assert await count(db) == len(cut) == 1

        cut.clear()
        database = client._database
        with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
            async with database.raw_session(limit=0.1) as session:
                await session.connection.fetchval("select 1")
        cut.clear()
        with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
            async with database.raw_session(limit=0.1) as session, session.transaction():
                await session.connection.fetchval("select 2")


async def test_starts_wait_for_the_database_to_come_back(dsn: str, server_db: Connection) -> None:
    async with client_of(dsn) as client:
        await _close_door(server_db, client)
        starts = [asyncio.create_task(client.start(onboard, Signup("Acme", n))) for n in range(20)]
        listing = asyncio.create_task(client.list())
        await eventually(lambda: client._launch._starter._plain._pump is not None, "the starts are on their way")
        await _open_door(server_db, client)
        await asyncio.gather(*starts)
        await listing
        assert len(await client.list()) == 20


async def test_who_is_cancelled_before_sending_leaves_nothing(client: Client, db: Connection) -> None:
    transaction = db.transaction()
    await transaction.start()
    await client.start(nothing, key="k", connection=db)
    blocked = asyncio.create_task(client.start(nothing, key="k"))
    line = client._launch._starter._keyed
    await eventually(lambda: line._pump is not None and not line._waiting, "the first is on its way")
    cancelled = asyncio.create_task(client.start(nothing, key="other"))
    await eventually(lambda: line._waiting, "the second waits")
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await transaction.rollback()
    await blocked
    await client.start(nothing, key="last")
    assert [row["key"] for row in await db.fetch("select key from holdfast.start_key order by key")] == ["k", "last"]


async def test_a_connection_that_hangs_is_given_up(client: Client, db: Connection) -> None:
    async with client._database.raw_session() as session:
        pid = session.connection.get_server_pid()

    async def hang(session: Session) -> int:
        own = session.connection.get_server_pid()
        async with session.connection.transaction():
            await session.connection.execute(f"select pg_sleep({3600 if own == pid else 0})")
        return own

    began = asyncio.get_running_loop().time()
    own = await client._database.call(hang, limit=0.3)
    assert own != pid
    assert asyncio.get_running_loop().time() - began >= 0.3
    await client.start(nothing)


async def test_closing_waits_for_the_starts_that_are_under_way(dsn: str, db: Connection) -> None:
    client = client_of(dsn)
    async with client:
        starts = [asyncio.create_task(client.start(charge, n)) for n in range(100)]
        await eventually(lambda: client._launch._starter._plain._pump is not None, "the starts are on their way")
    handles = await asyncio.gather(*starts)
    assert len(handles) == await count(db) == 100
    with pytest.raises(HoldfastError, match="this client is closed"):
        await client.start(nothing)
    with pytest.raises(HoldfastError, match="this client is closed"):
        await client.list()


@pytest.mark.parametrize("hints", [True, False])
async def test_workers_are_told_which_lanes_have_work(dsn: str, db: Connection, hints: bool) -> None:
    heard: list[object] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(payload)

    await db.add_listener("holdfast", hear)
    async with client_of(dsn, hints=hints) as client:
        await asyncio.gather(*(client.start(nothing, lane=f"lane-{n % 2}") for n in range(50)))
        await client.start(nothing, key="k")
        await client.start_many([nothing.call()] * 2_500, lane="bulk")
    await db.execute("select pg_notify('holdfast', 'the end')")
    await eventually(lambda: "the end" in heard, "the last notification")
    told = sorted(str(one) for one in heard[:-1])
    assert told == (["due bulk", "due default", "due lane-0", "due lane-1"] if hints else [])


async def _gone(db: Connection, pid: int) -> None:
    query = "select not exists (select from pg_stat_activity where pid = $1)"
    await until(lambda: db.fetchval(query, pid), "the connection is gone")


async def _close_door(admin: Connection, client: Client) -> None:
    """As if the server were gone: nobody is let in, and who is in is thrown out."""
    name = _database(client)
    await admin.execute(f"alter database {name} with allow_connections false")
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)


async def _open_door(admin: Connection, client: Client) -> None:
    await admin.execute(f"alter database {_database(client)} with allow_connections true")


def _database(client: Client) -> str:
    return client._database.dsn.partition("?")[0].rpartition("/")[2]
