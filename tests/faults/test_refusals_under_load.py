"""R12 while work is under way: no space, read-only, rights taken away. Nothing is lost, and the log says why."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from holdfast import DatabaseUnavailable
from holdfast.embedded import EmbeddedPostgres
from tests.client.shop import client_of, nothing
from tests.faults.load import Load
from tests.house import House, eventually

FULL = """
create or replace function holdfast.now() returns timestamptz language plpgsql volatile parallel safe as $$
begin
  raise disk_full using message = 'could not extend file "base/5/16384": No space left on device',
                        hint = 'Check free disk space.';
end $$
"""
"""Everything that writes asks for the time: claims, flushes, starts and signals fail as on a full disk."""

FREE = """
create or replace function holdfast.now() returns timestamptz language sql volatile parallel safe
as $$ select clock_timestamp() $$
"""

CLOSE = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and application_name like 'holdfast %'"
)


async def test_a_disk_that_is_full_for_a_while(load: Load) -> None:
    worker = await load.worker(None, "--lease", "30s")
    await load.add(10, jobs=5)
    await load.goes_on(random.Random(1))
    await load.house.db.execute(FULL)
    await eventually(lambda: "claim failed" in load.house.log(), "claims fail")
    async with client_of(load.house.dsn, patience=timedelta(seconds=0.3)) as client:
        with pytest.raises(
            DatabaseUnavailable, match=r"(?s)the disk of .* is full: .*No space left.*; free space there"
        ):
            await client.start(nothing)
    await load.house.db.execute(FREE)
    await load.ends_well()
    await load.called_once()
    log = load.house.log()
    assert "No space left on device" in log
    assert "Check free disk space" in log
    assert "Traceback" not in log
    assert await load.house.value("select count(*) from holdfast.worker where pid = $1", worker.pid) == 1


async def test_a_database_that_is_read_only_for_longer_than_a_lease(load: Load) -> None:
    house = load.house
    worker = await load.worker(None, "--lease", "1s")
    await load.add(10, jobs=5)
    await load.goes_on(random.Random(1))
    database = await house.value("select current_database()")
    await house.db.execute(f"alter database {database} set default_transaction_read_only = on")
    await house.db.fetch(CLOSE)
    await eventually(lambda: "cannot register" in house.log(), "its lease is over, and it tries to come back")
    await house.db.execute(f"alter database {database} reset default_transaction_read_only")
    await house.db.fetch(CLOSE)
    await load.ends_well()
    log = house.log()
    assert "is read-only: " in log
    assert "connect to the primary" in log
    assert "Traceback" not in log
    assert await house.value("select array_agg(distinct pid) from holdfast.worker") == [worker.pid]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("revoke all on all tables in schema holdfast from {role}", "holdfast db sql --roles"),
        ("alter schema holdfast rename to elsewhere", "holdfast db setup"),
    ],
    ids=["rights", "schema"],
)
async def test_a_worker_whose_rights_or_schema_are_taken_away_ends_with_its_lease_and_says_why(
    load: Load, server: EmbeddedPostgres, sql: str, words: str
) -> None:
    house = load.house
    database = await house.value("select current_database()")
    role = f"user_of_{database}"
    await house.db.execute(f"create role {role} login password 'right'")
    try:
        await house.db.execute(f"grant usage on schema holdfast to {role}")
        await house.db.execute(f"grant all on all tables in schema holdfast to {role}")
        poor = House(server.dsn_for(database, user=role, password="right"), house.db, house.place)
        async with poor:
            worker = await load.worker(poor, "--lease", "1s")
            await house.db.execute(sql.format(role=role))
            assert await worker.exit() == 3
        log = poor.log()
        assert words in log.splitlines()[-1]
        assert log.splitlines()[-1].startswith("holdfast: ")
        assert "Traceback" not in log
    finally:
        await house.db.execute(f"drop owned by {role}")
        await house.db.execute(f"drop role {role}")
