"""Migrations: each is applied once, whole or not at all, and code and schema tell when they do not fit."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from holdfast.core.errors import SchemaMismatch
from holdfast.store import migrate as migrating
from holdfast.store.migrate import Migration, code_version, migrate, migrations, read_applied, setup_sql, verify
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.store.ground import Ground, both

OWN = code_version()

LOCKS = """
select count(*)
  from pg_locks l
  join pg_database d on d.oid = l.database
 where d.datname = current_database()
   and l.locktype = 'advisory'
"""

CATALOG = {
    "tables and views": """
        select c.relname, c.relkind::text, c.reloptions, c.relpersistence::text, obj_description(c.oid),
               pg_get_viewdef(c.oid)
          from pg_class c
         where c.relnamespace = $1::regnamespace
           and c.relkind in ('r', 'v')
    """,
    "columns": """
        select a.attrelid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid), a.attstorage::text, a.attcompression::text
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid
          left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where c.relnamespace = $1::regnamespace
           and c.relkind in ('r', 'v')
           and a.attnum > 0
    """,
    "indexes": """
        select c.relname, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisprimary, c.reloptions
          from pg_index i
          join pg_class c on c.oid = i.indexrelid
         where c.relnamespace = $1::regnamespace
    """,
    "constraints": """
        select c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid)
          from pg_constraint c
         where c.connamespace = $1::regnamespace
    """,
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), obj_description(p.oid), p.proacl::text
          from pg_proc p
         where p.pronamespace = $1::regnamespace
    """,
}


async def catalog(connection: Any, schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the server knows of a schema."""
    found = {what: await connection.fetch(query, schema) for what, query in CATALOG.items()}
    found["migrations"] = await connection.fetch(f"select version, name, checksum, oldest_code from {schema}.migration")
    return {what: sorted(map(tuple, rows), key=None if what == "migrations" else str) for what, rows in found.items()}


@pytest.fixture
async def empty(empty_dsn: str) -> Any:
    """A connection to a database without a schema."""
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    connection.terminate()


@pytest.fixture
def another_build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this code one that has other migrations."""

    def build(*changed: Migration, without: int = 0) -> tuple[Migration, ...]:
        own = {migration.version: migration for migration in migrations()[: len(migrations()) - without]}
        own |= {migration.version: migration for migration in changed}
        found = tuple(own[version] for version in sorted(own))
        monkeypatch.setattr(migrating, "migrations", lambda: found)
        return found

    return build


def next_migration(
    text: str = "create table holdfast.novelty (id int);", *, oldest_code: int = 1, ahead: int = 1
) -> Migration:
    """One that this code does not have yet."""
    return Migration(version=OWN + ahead, name="novelty", text=text, checksum=f"new {ahead}", oldest_code=oldest_code)


# -- once


async def test_many_at_once_apply_each_migration_once(empty_dsn: str, empty: Any) -> None:
    connections = [await asyncpg.connect(empty_dsn) for _ in range(8)]
    done = await both(*[migrate(Session(connection, Statements())) for connection in connections])
    assert sorted(m.version for some in done for m in some) == [m.version for m in migrations()]
    rows = await empty.fetch("select version, name, checksum, oldest_code from holdfast.migration order by version")
    assert [tuple(row) for row in rows] == [(m.version, m.name, m.checksum, m.oldest_code) for m in migrations()]
    # Nobody keeps the lock.
    assert await empty.fetchval(LOCKS) == 0
    for connection in connections:
        await connection.close()


async def test_a_schema_that_is_there_is_left_as_it_is(ground: Ground) -> None:
    before = await catalog(ground.db, "holdfast")
    assert await migrate(ground.session) == []
    assert await catalog(ground.db, "holdfast") == before


async def test_a_migration_waits_for_another_that_is_under_way(empty_dsn: str, empty: Any) -> None:
    session = Session(empty, Statements())
    await session.fetch("lock_migrations", schema="holdfast")
    # Another schema's is nobody else's business.
    other = await asyncpg.connect(empty_dsn)
    await migrate(Session(other, Statements("billing_jobs")))
    waiting = asyncio.ensure_future(migrate(Session(other, Statements())))
    async with Ground(empty_dsn, empty) as ground:
        await ground.waits(Session(other, Statements()))
    assert await read_applied(session) is None
    await session.fetch("unlock_migrations", schema="holdfast")
    assert len(await waiting) == len(migrations())
    await other.close()


# -- the same by other means


@pytest.mark.parametrize("schema", ["holdfast", "billing_jobs"])
async def test_the_script_makes_the_same_schema(empty_dsn: str, empty: Any, schema: str) -> None:
    await migrate(Session(empty, Statements(schema)))
    migrated = await catalog(empty, schema)
    await empty.execute(f"drop schema {schema} cascade")
    await empty.execute(setup_sql(schema))
    session = Session(empty, Statements(schema))
    assert await catalog(empty, schema) == migrated
    assert len(migrated["tables and views"]) > 12
    verify(await read_applied(session), schema)
    assert await migrate(session) == []


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
async def test_psql_takes_the_script(empty_dsn: str, empty: Any, tmp_path: Path) -> None:
    await migrate(Session(empty, Statements()))
    migrated = await catalog(empty, "holdfast")
    await empty.execute("drop schema holdfast cascade")
    script = tmp_path / "setup.sql"
    script.write_text(setup_sql("holdfast"), encoding="utf-8")
    done = await asyncio.to_thread(
        subprocess.run,
        ["psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-d", empty_dsn, "-f", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stderr} {parse_qs(urlsplit(empty_dsn).query)}"
    assert await catalog(empty, "holdfast") == migrated


async def test_the_script_is_applied_whole_or_not_at_all(empty: Any) -> None:
    script = setup_sql("holdfast").replace("create table holdfast.lane_floor", "create tabel holdfast.lane_floor")
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await empty.execute(script)
    await empty.execute("rollback")
    assert await empty.fetchval("select count(*) from pg_namespace where nspname = 'holdfast'") == 0


# -- failures


async def test_a_migration_that_fails_leaves_nothing_half_done(ground: Ground, another_build: Any) -> None:
    before = await catalog(ground.db, "holdfast")
    good = next_migration()
    bad = next_migration(
        "create table holdfast.half (id int); select 1 / 0; create table holdfast.done (id int);", ahead=2
    )
    another_build(good, bad)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(ground.session)
    after = await catalog(ground.db, "holdfast")
    # What came before the failure is there and recorded; of the failed one there is nothing.
    assert {row[0] for row in after["migrations"]} == {row[0] for row in before["migrations"]} | {good.version}
    assert {row[0] for row in after["tables and views"]} - {row[0] for row in before["tables and views"]} == {"novelty"}
    # The lock is free, and the next try, with the mistake mended, goes on where it ended.
    another_build(good, next_migration("create table holdfast.done (id int);", ahead=2))
    other = await ground.more()
    assert [migration.version for migration in await migrate(other)] == [bad.version]


async def test_a_setup_that_is_cancelled_can_be_made_again(ground: Ground, another_build: Any) -> None:
    another_build(
        next_migration("create table holdfast.half (id int); lock table holdfast.run in access exclusive mode;")
    )
    async with ground.db.transaction():
        await ground.execute("select count(*) from holdfast.run")
        other = await ground.more()
        setup = asyncio.ensure_future(migrate(other))
        await ground.waits(other)
        setup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await setup
    assert await ground.value("select to_regclass('holdfast.half')") is None
    await ground.until(f"select ({LOCKS}) = 0")
    assert len(await migrate(await ground.more())) == 1


# -- code and schema that do not fit


async def test_code_runs_on_its_own_version(ground: Ground) -> None:
    verify(await read_applied(ground.session), "holdfast")


async def test_code_says_what_to_do_where_there_is_no_schema(empty: Any) -> None:
    session = Session(empty, Statements("billing_jobs"))
    assert await read_applied(session) is None
    with pytest.raises(
        SchemaMismatch, match=r"there is no schema 'billing_jobs' in this database; run `holdfast db setup`"
    ):
        verify(None, "billing_jobs")


async def test_code_says_what_to_do_where_the_schema_is_older(ground: Ground, another_build: Any) -> None:
    build = another_build(next_migration())
    own = build[-1].version
    with pytest.raises(
        SchemaMismatch, match=rf"is at version {own - 1}, this code needs {own}; run `holdfast db setup`"
    ):
        verify(await read_applied(ground.session), "holdfast")
    assert [migration.version for migration in await migrate(ground.session)] == [own]
    verify(await read_applied(ground.session), "holdfast")


@pytest.mark.parametrize("ahead", [1, 2])
async def test_code_runs_on_a_later_schema_that_allows_it(ground: Ground, ahead: int) -> None:
    for number in range(1, ahead + 1):
        await _record(ground, next_migration(oldest_code=OWN, ahead=number))
    verify(await read_applied(ground.session), "holdfast")
    # And leaves it as it is.
    assert await migrate(ground.session) == []
    assert await ground.value("select max(version) from holdfast.migration") == OWN + ahead


@pytest.mark.parametrize("oldest", [[1, 0], [0, 1]])
async def test_code_does_not_run_on_a_later_schema_that_does_not_allow_it(ground: Ground, oldest: list[int]) -> None:
    # Any of the migrations that this code does not know may say so.
    for ahead, plus in enumerate(oldest, 1):
        await _record(ground, next_migration(oldest_code=OWN + plus, ahead=ahead))
    own = OWN
    expected = (
        f"is at version {own + 2}, which allows code from version {own + 1} on; this code is at {own}: "
        "deploy a newer release"
    )
    with pytest.raises(SchemaMismatch, match=expected):
        verify(await read_applied(ground.session), "holdfast")
    with pytest.raises(SchemaMismatch, match=expected):
        await migrate(ground.session)


async def test_old_and_new_code_work_on_one_schema_during_a_deploy(ground: Ground, another_build: Any) -> None:
    old = await ground.worker("old")
    run, other = await ground.start_many(2)
    await old.take(run)
    another_build(next_migration("alter table holdfast.task add column novelty text;", oldest_code=OWN))
    await migrate(await ground.more())
    await old.flush(old.end(run))
    await old.take(other)
    assert (await ground.start()) is not None


@pytest.mark.parametrize("version", [1, 4])
async def test_a_migration_that_was_changed_is_refused(ground: Ground, another_build: Any, version: int) -> None:
    changed = dataclasses.replace(migrations()[version - 1], checksum="changed")
    newer = next_migration()
    another_build(changed, newer)
    applied = await read_applied(ground.session)
    expected = rf"migration {version} \({changed.name}\) in schema 'holdfast' is not the one that this code has"
    with pytest.raises(SchemaMismatch, match=expected):
        await migrate(ground.session)
    # Nothing was put on top of it.
    assert await read_applied(ground.session) == applied
    another_build(changed)
    await _record(ground, newer)
    with pytest.raises(SchemaMismatch, match=expected):
        verify(await read_applied(ground.session), "holdfast")


async def test_a_checksum_is_that_of_the_file_whatever_the_schema_is_called(ground: Ground) -> None:
    other = Session(ground.db, Statements("billing_jobs"))
    await migrate(other)
    own, others = await read_applied(ground.session), await read_applied(other)
    assert own == others


async def _record(ground: Ground, migration: Migration) -> None:
    await ground.session.fetch(
        "record_migration",
        version=migration.version,
        name=migration.name,
        checksum=migration.checksum,
        oldest_code=migration.oldest_code,
    )
