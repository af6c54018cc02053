"""Tables that are divided by day: how they are made, what lies where, and what existing databases have to expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from holdfast import RunStatus, Signal
from holdfast.core.errors import DatabaseUnavailable
from holdfast.core.ids import lowest_id
from holdfast.store import partitions
from holdfast.store.connect import connect
from holdfast.store.migrate import migrate
from holdfast.store.partitions import make_days, partition_by_day, read_partition_state
from holdfast.store.roles import roles_sql
from holdfast.store.session import Session
from holdfast.store.starts import Manner, Start, start_plain
from holdfast.store.statements import Statements
from holdfast.upkeep import Days
from tests.house import House, eventually
from tests.partitions.divided import DAY, day_name, day_tables, remake, table_of
from tests.scenarios.soon import SOON

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

go = Signal[str]("go")

COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text,
       pg_get_expr(d.adbin, d.adrelid)
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where c.relnamespace = 'holdfast'::regnamespace and c.relname in ('run', 'journal', 'result', 'runs') and a.attnum > 0
 order by 1, a.attnum
"""
INDEXES = """
select c.relname, i.indisunique, i.indisprimary, replace(pg_get_indexdef(i.indexrelid), ' ONLY ', ' ')
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_class t on t.oid = i.indrelid
 where t.relnamespace = 'holdfast'::regnamespace and t.relname in ('run', 'journal', 'result')
 order by 1
"""
CHECKS = """
select c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid)
  from pg_constraint c
 where c.connamespace = 'holdfast'::regnamespace and c.contype in ('c', 'p')
   and c.conrelid in ('holdfast.run'::regclass, 'holdfast.journal'::regclass, 'holdfast.result'::regclass)
 order by 1, 2
"""
RIGHTS = """
select c.relname, a.attname, coalesce(a.attacl, c.relacl)::text as rights
  from pg_class c
  left join pg_attribute a on a.attrelid = c.oid and a.attacl is not null
 where c.relnamespace = 'holdfast'::regnamespace and c.relname in ('run', 'journal', 'result', 'runs')
 order by 1, 2
"""


async def shape(db: Connection) -> list[list[tuple[Any, ...]]]:
    """What the server says of the tables, and of the view on them."""
    return [[tuple(row) for row in await db.fetch(query)] for query in (COLUMNS, INDEXES, CHECKS)]


def session_of(house: House) -> Session:
    return Session(house.db, Statements())


@pytest.fixture
async def whole(empty_dsn: str) -> AsyncIterator[Connection]:
    """A connection to a database whose tables are not divided."""
    connection = await connect(empty_dsn, application="tests")
    await migrate(Session(connection, Statements()))
    yield connection
    await connection.close()


class Desk:
    """A workflow of two steps that waits for a word between them."""

    def __init__(self, house: House) -> None:
        self.app = house.app()

        @self.app.activity
        async def note(word: str) -> str:
            return word

        @self.app.workflow
        async def flow(word: str) -> str:
            first = await note(word)
            if word == "waits":
                word = await go.wait()
            return f"{first} {await note(word)}"

        self.flow = flow


# -- making them


async def test_divided_tables_are_what_they_were(whole: Connection) -> None:
    db, session = whole, Session(whole, Statements())
    before = await shape(db)
    assert (await read_partition_state(session)).partitioned is False
    assert await partition_by_day(session) is True
    assert await shape(db) == before
    # A second time there is nothing to do.
    assert await partition_by_day(session) is False
    today = await db.fetchval("select (holdfast.now() at time zone 'UTC')::date")
    assert await make_days(session, ahead=2) == [today, today + DAY, today + 2 * DAY]
    assert await make_days(session, ahead=2) == []
    state = await read_partition_state(session)
    assert (state.partitioned, state.past, state.strays) == (True, False, False)
    assert (state.first_day, state.last_day, state.ahead) == (today, today + 2 * DAY, 2)
    # So are the tables of the days, and the next version of the schema finds what it knows.
    leaves = await db.fetch(
        "select i.inhrelid::regclass::text as name, count(x.*) as indexes from pg_inherits i"
        " join pg_index x on x.indrelid = i.inhrelid where i.inhparent = 'holdfast.run'::regclass group by 1"
    )
    assert {row["indexes"] for row in leaves} == {sum(1 for row in before[1] if row[0].startswith("run"))}
    assert len(leaves) == 4
    assert await migrate(session) == []


async def test_what_is_there_stays_where_it_is_and_goes_on(whole: Connection, empty_dsn: str, tmp_path: Path) -> None:
    async with House(empty_dsn, whole, tmp_path) as house:
        desk = Desk(house)
        client = await house.client(desk.app)
        await house.worker(desk.app)
        ended = await client.start(desk.flow, "good", key="k")
        waits = await client.start(desk.flow, "waits")
        assert await ended.result(timeout=SOON) == "good good"
        await house.parked(waits.id)
        # A client whose clock is two days ahead.
        early = await client.start(desk.flow, "waits")
        await house.parked(early.id)
        early_id = await remake(house, early.id, -2)
        # Beside a worker and a client that are at work, with their statements prepared.
        assert await partition_by_day(session_of(house)) is True
        made = await make_days(session_of(house), ahead=3)
        tomorrow = await house.value("select (holdfast.now() at time zone 'UTC')::date + 1")
        # The day in which something lies already that is in no table of a day is left out.
        assert made == [tomorrow, tomorrow + 2 * DAY]
        assert (await read_partition_state(session_of(house))).past
        assert await table_of(house, ended.id) == f"run_before_{tomorrow:%Y%m%d}"
        assert await table_of(house, early_id) == "run_default"
        await waits.signal(go, "on")
        assert await waits.result(timeout=SOON) == "waits on"
        assert await ended.result(timeout=SOON) == "good good"
        assert (await client.start(desk.flow, "good", key="k")).id == ended.id
        await client.signal(early_id, go, "on")
        await house.ended(early_id)
        assert await (await client.start(desk.flow, "late")).result(timeout=SOON) == "late late"
        assert len(await client.list()) == 4
        await house.check_invariants()


async def test_rights_stay_as_they_were_given(whole: Connection) -> None:
    db, session = whole, Session(whole, Statements())
    await db.execute(roles_sql("holdfast"))
    try:
        before = await db.fetch(RIGHTS)
        assert any(row["attname"] for row in before)
        await partition_by_day(session)
        rights = [
            {tuple(row)[:2]: set(row["rights"].strip("{}").split(",")) for row in rows}
            for rows in (before, await db.fetch(RIGHTS))
        ]
        assert rights[1] == rights[0]
        # Who may make days, and who may drop them.
        can = "select has_function_privilege($1, $2::regprocedure, 'execute')"
        make = "holdfast.make_day(int)"
        drop = "holdfast.prune_day(smallint[], interval[], interval, uuid, int)"
        found = {
            part: [await db.fetchval(can, f"holdfast_{part}", what) for what in (make, drop)]
            for part in ("client", "driver", "worker", "operator", "consumer")
        }
        assert found == {
            "client": [False, False],
            "driver": [False, False],
            "worker": [True, False],
            "operator": [True, True],
            "consumer": [False, False],
        }
        # With the rights of a worker days are made, and belong to whom the schema belongs to.
        await db.execute("set role holdfast_worker")
        assert len(await make_days(session, ahead=1)) == 2
        await db.execute("reset role")
        owners = await db.fetch(
            "select distinct relowner from pg_class where relname ~ '^(run|journal|result)(_\\d+)?$'"
        )
        assert len(owners) == 1
    finally:
        for part in ("client", "driver", "worker", "operator", "consumer"):
            await db.execute(f"drop owned by holdfast_{part}; drop role holdfast_{part}")


async def test_somebody_who_reads_for_long_is_not_pushed_away(
    whole: Connection, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_TRIES", 2)
    monkeypatch.setattr(partitions, "_PAUSE", 0.0)
    session = Session(whole, Statements())
    await whole.execute("alter function holdfast.partition_by_day() set lock_timeout = '50ms'")
    reader = await connect(empty_dsn, application="tests")
    async with reader.transaction():
        await reader.fetch("select * from holdfast.run")
        with pytest.raises(DatabaseUnavailable, match="nothing was changed"):
            await partition_by_day(session)
        assert not (await read_partition_state(session)).partitioned
    await reader.close()
    assert await partition_by_day(session)


# -- what lies where


async def test_a_run_lies_in_its_day_with_all_that_is_its_own(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app)
    run = await client.start(desk.flow, "good")
    await run.result(timeout=SOON)
    day = day_name(run.id)
    for table, key in (("run", "id"), ("journal", "run_id"), ("result", "run_id")):
        found = await house.db.fetch(
            f"select distinct tableoid::regclass::text as name from holdfast.{table} where {key} = $1", run.id
        )
        assert [row["name"] for row in found] == [f"holdfast.{table}_{day}"]
    await house.check_invariants()


@pytest.mark.parametrize("distance", [timedelta(days=-400), timedelta(days=400)])
async def test_what_lies_in_no_day_is_kept_and_executed_like_all_else(house: House, distance: timedelta) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app)
    run = lowest_id(datetime.now(UTC) + distance)
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    for _ in range(2):
        # The second is the same call again: its answer was lost.
        await start_plain(session_of(house), [Start(run, '{"word": "waits"}', manner, None, None)], hint=True)
    await house.parked(run)
    assert await table_of(house, run) == "run_default"
    await client.signal(run, go, "on")
    await house.ended(run)
    assert await client.get(run).status() is RunStatus.SUCCEEDED
    assert len(await house.journal(run)) == 3
    await house.check_invariants()


# -- made ahead


async def test_a_worker_process_makes_the_days_to_come(house: House) -> None:
    before = await day_tables(house)
    await house.advance(3 * DAY)
    async with Days(
        dsn=house.dsn, statements=Statements(), application="holdfast days", every=timedelta(milliseconds=20)
    ) as days:
        await eventually(lambda: days.asked > 1, "it has looked twice")
    after = await day_tables(house)
    assert len(after) == len(before) + 3
    assert after[: len(before)] == before


async def test_where_tables_are_not_divided_nothing_is_made(whole: Connection) -> None:
    assert await make_days(Session(whole, Statements())) == []
    assert await whole.fetchval("select count(*) from pg_inherits where inhparent = 'holdfast.run'::regclass") == 0


async def test_many_make_each_day_once_beside_those_who_work(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app)
    await house.advance(20 * DAY)
    sessions = [Session(await connect(house.dsn, application="tests"), Statements()) for _ in range(4)]
    working = asyncio.gather(*[(await client.start(desk.flow, "good")).result(timeout=SOON) for _ in range(100)])
    made: list[Any] = []
    while not await house.value("select ahead >= 7 from holdfast.partition_state()"):
        done = await asyncio.gather(*[make_days(session) for session in sessions], return_exceptions=True)
        # One that finds no moment for its locks has changed nothing, and tries again.
        assert {type(one) for one in done} <= {list, asyncpg.LockNotAvailableError}
        made += [day for one in done if isinstance(one, list) for day in one]
    assert len(made) == len(set(made)) == 8
    assert await working == ["good good"] * 100
    for session in sessions:
        connection: Any = session.connection
        await connection.close()
    await house.check_invariants()


async def test_a_day_is_made_when_whoever_reads_has_done(house: House) -> None:
    await house.advance(20 * DAY)
    reader = await connect(house.dsn, application="tests")
    async with reader.transaction():
        await reader.fetch("select * from holdfast.run")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await make_days(session_of(house))
    assert len(await make_days(session_of(house))) == 8
    await reader.close()
