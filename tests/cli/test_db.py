"""Setting up the database from the command line, and looking whether all is well."""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.cli.findings import Level, of_horizon, of_rights, of_server
from holdfast.embedded import EmbeddedPostgres
from holdfast.store.check import HorizonHolder, Server
from holdfast.store.connect import connect
from holdfast.store.migrate import code_version, setup_sql
from holdfast.store.roles import CLIENT
from tests.cli.conftest import Holdfast, Said
from tests.house import House


def finding(said: Said, topic: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [one for one in said.json["findings"] if one["topic"] == topic]
    assert len(found) == 1
    return found[0]


async def test_setup_makes_the_schema_and_can_be_repeated(holdfast: Holdfast, house: House) -> None:
    said = await holdfast("db", "setup", "--schema", "orders", "--json")
    assert said.code == 0
    assert (said.json["schema"], said.json["version"]) == ("orders", code_version())
    assert [one["version"] for one in said.json["applied"]] == list(range(1, code_version() + 1))
    assert await house.value("select count(*) from orders.run") == 0
    again = await holdfast("db", "setup", "--schema", "orders")
    assert "nothing to do" in again.out


async def test_the_tables_are_divided_by_day_at_the_setup_or_later(holdfast: Holdfast, house: House) -> None:
    divided = "select relkind = 'p' from pg_class where oid = to_regclass($1)"
    assert (await holdfast("db", "setup", "--schema", "orders", "--partition-by", "day")).code == 0
    assert await house.value(divided, "orders.result")
    assert await house.value("select count(*) from orders.days()") == 8
    assert (await holdfast("db", "setup", "--schema", "bills")).code == 0
    assert not await house.value(divided, "bills.result")
    assert not [
        one
        for one in (await holdfast("db", "check", "--schema", "bills", "--json")).json["findings"]
        if one["topic"] == "days"
    ]
    said = await holdfast("db", "partition", "--by", "day", "--ahead", "2", "--schema", "bills", "--json")
    days = [str(await house.value("select (bills.now() at time zone 'UTC')::date + $1::int", n)) for n in range(3)]
    assert said.json == {
        "divided": True,
        "made": days,
        "first_day": days[0],
        "last_day": days[2],
        "past": False,
        "strays": False,
    }
    again = await holdfast("db", "partition", "--by", "day", "--ahead", "2", "--schema", "bills")
    assert f"divided by day before: the days from {days[0]} to {days[2]} have tables, 0 of them made now" in again.out
    found = finding(await holdfast("db", "check", "--schema", "bills", "--json"), "days")
    assert (found["level"], found["text"]) == ("ok", f"tables for each day from {days[0]} to {days[2]}")


async def test_check_finds_that_nobody_makes_days(holdfast: Holdfast, house: House) -> None:
    assert (await holdfast("db", "setup", "--schema", "orders", "--partition-by", "day")).code == 0
    await house.db.execute(
        "create or replace function orders.now() returns timestamptz language sql volatile parallel safe "
        "as $$ select clock_timestamp() + interval '7 days' $$"
    )
    found = finding(await holdfast("db", "check", "--schema", "orders", "--json"), "days")
    assert found["level"] == "warning"
    assert "holdfast db partition --by day" in found["advice"]


async def test_the_printed_sql_makes_the_same_schema(holdfast: Holdfast, empty_dsn: str) -> None:
    printed = await holdfast("db", "sql")
    assert printed.out == setup_sql("holdfast")
    connection = await connect(empty_dsn, application="tests")
    await connection.execute(printed.out)
    await connection.close()
    said = await holdfast("db", "setup", "--database-url", empty_dsn, "--json")
    assert said.json["applied"] == []


async def test_printing_sql_needs_no_database(holdfast: Holdfast) -> None:
    said = await holdfast("db", "sql", "--roles", "--database-url", "postgresql://localhost:1/x", "--schema", "orders")
    assert said.code == 0
    assert "create role orders_worker nologin" in said.out
    assert "grant select, insert on orders.run to orders_client;" in said.out


async def test_check_says_where_each_setting_comes_from(holdfast: Holdfast, shop: Path) -> None:
    (shop / "holdfast.toml").write_text("[holdfast]\npayload_limit = 1000\n")
    said = await holdfast("db", "check", "--json")
    assert (said.code, said.json["ok"]) == (0, True)
    assert finding(said, "database_url")["data"] == {
        "value": said.json["findings"][0]["data"]["value"],
        "origin": "HOLDFAST_DATABASE_URL",
    }
    assert finding(said, "payload_limit")["data"] == {"value": 1000, "origin": str(shop / "holdfast.toml")}


async def test_check_finds_a_missing_schema(holdfast: Holdfast) -> None:
    said = await holdfast("db", "check", "--schema", "nowhere")
    assert said.code == 1
    assert "there is no schema 'nowhere' in this database; run `holdfast db setup` (this user may make it)" in said.out


async def test_check_finds_a_schema_of_another_build(holdfast: Holdfast, house: House) -> None:
    await house.db.execute("update holdfast.migration set checksum = 'other' where version = 3")
    said = await holdfast("db", "check")
    assert said.code == 1
    assert "migration 3 (claim) in schema 'holdfast' is not the one that this code has" in said.out


async def test_check_without_a_database_gives_exit_code_3(holdfast: Holdfast) -> None:
    said = await holdfast("db", "check", "--database-url", "postgresql://ada:secret@localhost:1/x")
    assert said.code == 3
    assert "cannot be reached" in said.out
    assert "secret" not in said.out + said.err


async def test_check_shows_the_workers_that_are_alive(holdfast: Holdfast, house: House) -> None:
    assert "none is alive: what is started waits" in (await holdfast("db", "check")).out
    app = house.app()

    @app.activity
    def idle() -> None: ...

    await house.worker(app, name="till-3", lane="tills")
    await house.until("select count(*) = 1 from holdfast.worker")
    said = await holdfast("db", "check", "--json")
    data = finding(said, "worker")["data"]
    assert (data["lane"], data["held"], data["state"]) == ("tills", 0, "active")
    assert data["name"].startswith("till-3-")


async def test_check_says_what_a_user_lacks(
    holdfast: Holdfast, house: House, server: EmbeddedPostgres, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    name = await house.value("select current_database()")
    role = f"viewer_{name}"
    await db.execute(f"create role {role} login password 'secret'")
    url = server.dsn_for(name, user=role, password="secret")
    try:
        said = await holdfast("db", "check", "--database-url", url)
        assert said.code == 1
        assert "this user lacks a right" in said.out
        await db.execute(f"grant usage on schema holdfast to {role}")
        await db.execute(f"grant select on all tables in schema holdfast to {role}")
        said = await holdfast("db", "check", "--database-url", url)
        assert said.code == 1
        assert "not enough for a client: insert on run" in said.out.replace("\n", " ")
    finally:
        await db.execute(f"drop owned by {role}; drop role {role}")


async def test_check_shows_where_an_embedded_postgres_lives(
    holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as place:
        # Open for passing, so that the server's account gets there when the tests run as root.
        Path(place).chmod(0o711)
        monkeypatch.setenv("HOLDFAST_DATA_DIR", f"{place}/data")
        said = await holdfast("db", "check", "--database-url", "embedded", "--json")
    assert said.code == 1
    assert "there is no schema" in said.out
    home = Path(place) / "data" / "postgres"
    assert finding(said, "embedded data")["data"] == {"value": str(home / "cluster")}
    assert finding(said, "embedded log")["data"] == {"value": str(home / "postgres.log")}
    for topic in ("embedded programs", "embedded socket", "embedded account"):
        assert finding(said, topic)["level"] == "ok"


SERVER = Server(
    version="15.4",
    major=15,
    role="ada",
    database="shop",
    standby=False,
    read_only=False,
    may_create=True,
    max_connections=100,
    usable=97,
    used=10,
)


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, Level.OK, "PostgreSQL 15.4"),
        ({"major": 13, "version": "13.1"}, Level.FAULT, "PostgreSQL 13.1"),
        ({"major": 99}, Level.WARNING, "newer than what this release was tested on"),
        ({"standby": True}, Level.FAULT, "it is a standby"),
        ({"read_only": True}, Level.FAULT, "default_transaction_read_only is on"),
        ({"used": 95}, Level.FAULT, "95 of 100 in use, 3 free"),
    ],
)
def test_what_is_wrong_with_a_server_is_told(change: dict[str, Any], level: Level, words: str) -> None:
    findings = of_server(dataclasses.replace(SERVER, **change))
    assert any(one.level is level and words in one.text for one in findings)
    if level is Level.OK:
        assert {one.level for one in findings} == {Level.OK}


async def test_who_pins_the_horizon_is_found(house: House, holdfast: Holdfast) -> None:
    pin = await connect(house.dsn, application="forgotten")
    await pin.execute("begin isolation level repeatable read")
    await pin.execute("select 1")
    await house.db.execute("create table public.t (); drop table public.t")
    said = await holdfast("db", "check", "--json")
    data = finding(said, "oldest snapshot")["data"]
    assert "forgotten" in data["who"]
    assert data["age"] >= 1
    await pin.close()


def test_a_horizon_that_has_stood_still_is_a_warning() -> None:
    young = HorizonHolder(kind="session", who="x", age=5, held=timedelta(seconds=3))
    old = HorizonHolder(kind="session", who="x", age=5, held=timedelta(hours=1))
    slot = HorizonHolder(kind="replication slot", who="x", age=5_000_000, held=None)
    assert [of_horizon([one])[0].level for one in (young, old, slot)] == [Level.OK, Level.WARNING, Level.WARNING]
    assert of_horizon([])[0].level is Level.OK


def test_a_user_for_one_part_only_is_no_fault() -> None:
    half = of_rights({"client": [], "worker": list(CLIENT)}, "holdfast")
    assert [one.level for one in half] == [Level.OK, Level.WARNING]
    none = of_rights({"client": list(CLIENT), "worker": list(CLIENT)}, "holdfast")
    assert {one.level for one in none} == {Level.FAULT}
