"""Databases whose tables are divided by day, and runs that were made on other days."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from holdfast.core.ids import made_at
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.connect import connect
from holdfast.store.partitions import make_days, partition_by_day
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.testing import Databases
from tests.house import House

DAY = timedelta(days=1)


async def divided_databases(server: EmbeddedPostgres, *, whole: str) -> Databases:
    """Copies of a database that is divided by day, which is itself a copy of the template ``whole``."""
    name = f"{whole}_by_day"
    async with Databases(server.dsn, template=whole):
        pass
    admin = await connect(server.dsn, application="tests")
    try:
        # Whoever comes second waits here, and finds it made.
        await admin.execute("select pg_advisory_lock(1000001)")
        if not await admin.fetchval("select 1 from pg_database where datname = $1", name):
            await admin.execute(f"drop database if exists {name}_unmade with (force)")
            await admin.execute(f"create database {name}_unmade template {whole}")
            connection = await connect(server.dsn_for(f"{name}_unmade"), application="tests")
            assert await partition_by_day(Session(connection, Statements()))
            assert len(await make_days(Session(connection, Statements()))) == 8
            await connection.close()
            await admin.execute(f"alter database {name}_unmade rename to {name}")
    finally:
        await admin.close()
    databases = Databases(server.dsn, template=name)
    await databases.__aenter__()
    return databases


async def make_past(house: House, days: int) -> list[date]:
    """The days up to today, so many of them, as if they had been made when they were to come."""
    await house.advance(-days * DAY)
    made = await make_days(Session(house.db, Statements()), ahead=days - 1)
    await house.advance(days * DAY)
    return made


async def remake(house: House, run: UUID, days: int) -> UUID:
    """The run, as if its id had been made so many days ago: with all that is its own it lies in that day."""
    new = UUID(int=run.int - (round(days * DAY / timedelta(milliseconds=1)) << 80))
    async with house.db.transaction():
        for table, columns in {
            "run": "id parent root continued_from",
            "task": "run_id",
            "journal": "run_id",
            "result": "run_id",
            "inbox": "run_id",
            "start_key": "run_id",
            "successor": "run_id next",
        }.items():
            for column in columns.split():
                await house.db.execute(f"update holdfast.{table} set {column} = $2 where {column} = $1", run, new)
    return new


async def end_earlier(house: House, *runs: UUID, by: timedelta) -> None:
    """As if they had ended so much earlier."""
    for table in ("result", "journal"):
        await house.db.execute(
            f"update holdfast.{table} set at = at - $2::interval where run_id = any ($1::uuid[])", runs, by
        )


async def table_of(house: House, run: UUID) -> str:
    """The table that the run itself lies in."""
    found: str = await house.value("select tableoid::regclass::text from holdfast.run where id = $1", run)
    return found.removeprefix("holdfast.")


async def day_tables(house: House) -> list[str]:
    """What the tables of days are called, without what they are of."""
    rows = await house.db.fetch("select suffix from holdfast.days() order by low")
    return [row["suffix"] for row in rows]


def day_name(run: UUID) -> str:
    """What the tables are called that belong to the run's day."""
    return made_at(run).strftime("%Y%m%d")
