"""Many processes share one server, from the first to the last."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from tests.embedded.guest import Guest, alive, kill, nobody_left, wait_until

Guests = Callable[..., Guest]


def test_the_first_starts_it_and_the_last_stops_it(guest: Guests, place: Path) -> None:
    first, second = guest(), guest()
    assert first.supervisor == second.supervisor
    assert first.postmaster == second.postmaster

    first("stop")
    assert second.query("select 1") == ["1"]

    second("stop")
    assert not [path for path in place.rglob("*") if path.is_socket()]
    assert not (place / "data/postgres/cluster/postmaster.pid").exists()
    wait_until(lambda: nobody_left_but(first, second, place), "the supervisor has gone")


def nobody_left_but(first: Guest, second: Guest, place: Path) -> bool:
    first.close()
    second.close()
    return nobody_left(place)


def test_what_was_committed_is_there_the_next_time(guest: Guests) -> None:
    first = guest()
    first.query("create table kept (word text)")
    first.query("insert into kept values ('here')")
    first("stop")
    assert guest().query("select word from kept") == ["here"]


def test_it_stops_when_its_clients_are_killed(guest: Guests, place: Path) -> None:
    first, second = guest(), guest()
    supervisor, postmaster = first.supervisor, first.postmaster
    first.kill()
    assert second.query("select 1") == ["1"]
    second.kill()
    wait_until(lambda: not alive(postmaster) and not alive(supervisor), "the server has stopped")
    assert not (place / "data/postgres/cluster/postmaster.pid").exists()


def test_it_outlives_the_client_that_started_it(guest: Guests) -> None:
    starter = guest()
    other = guest()
    os.killpg(os.getpgid(starter.process.pid), 0)
    starter.kill()
    assert other.query("select 1") == ["1"]
    other("ensure")
    assert other.query("select 1") == ["1"]


def test_a_crowd_that_starts_at_once_gets_one_server(guest: Guests) -> None:
    crowd = [guest(started=False) for _ in range(8)]
    for one in crowd:
        one.send("start")
    for one in crowd:
        one.answer()
    assert len({one.supervisor for one in crowd}) == 1


@pytest.mark.parametrize("temporary", [False, True])
def test_comings_and_goings_at_the_same_time_all_find_a_server(guest: Guests, *, temporary: bool) -> None:
    crowd = [guest(started=False, settings={"temporary": temporary}) for _ in range(3)]
    for one in crowd:
        one.send("churn", times=4)
    for one in crowd:
        one.answer()


def test_a_forked_child_shares_the_lease_of_its_parent(guest: Guests) -> None:
    parent = guest()
    postmaster = parent.postmaster
    child = parent("fork", stop=False)
    parent.kill()
    newcomer = guest()
    assert newcomer.postmaster == postmaster
    newcomer("stop")
    assert alive(postmaster)
    kill(child)
    wait_until(lambda: not alive(postmaster), "the server has stopped")


def test_a_forked_child_that_stops_leaves_its_parent_attached(guest: Guests) -> None:
    parent = guest()
    postmaster = parent.postmaster
    child = parent("fork", stop=True)
    assert parent.query("select 1") == ["1"]
    assert parent.postmaster == postmaster
    parent.kill()
    wait_until(lambda: not alive(postmaster), "the server has stopped")
    kill(child)


def test_a_suspended_client_keeps_its_server(guest: Guests) -> None:
    first, second = guest(), guest()
    postmaster = first.postmaster
    os.kill(first.process.pid, signal.SIGSTOP)
    second("stop")
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.query("select 1") == ["1"]
    assert first.postmaster == postmaster


async def test_coroutines_use_it_through_a_thread(place: Path) -> None:
    server = EmbeddedPostgres(EmbeddedSettings(data_dir=place / "data", durability="test"))
    await asyncio.to_thread(server.start)
    try:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute('create database "an odd/name"')
        await connection.close()
        connection = await asyncpg.connect(server.dsn_for("an odd/name"))
        assert await connection.fetchval("select current_database()") == "an odd/name"
        await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


def test_starting_twice_and_stopping_twice_is_as_once(place: Path) -> None:
    with EmbeddedPostgres(EmbeddedSettings(data_dir=place / "data", durability="test")) as server:
        server.start()
        assert server.describe().running
        server.stop()
        assert not server.describe().running
        server.stop()


def test_temporary_data_goes_with_the_last_client(guest: Guests, place: Path) -> None:
    first = guest(settings={"temporary": True})
    second = guest(settings={"temporary": True})
    first("stop")
    second.query("create table gone ()")
    second("stop")
    assert list(place.iterdir()) == []


def test_a_directory_of_the_user_is_left_when_temporary_data_goes(guest: Guests, place: Path) -> None:
    (place / "data").mkdir(mode=0o755)
    guest(settings={"temporary": True})("stop")
    assert list((place / "data").iterdir()) == []


def test_temporary_data_that_a_killed_supervisor_left_is_not_found_again(guest: Guests) -> None:
    first = guest(settings={"temporary": True})
    first.query("create table gone ()")
    kill(first.supervisor)
    first("ensure")
    assert first.query("select to_regclass('gone')::text") == [None]


async def test_it_is_set_up_for_holdfast(place: Path) -> None:
    settings = EmbeddedSettings(data_dir=place / "data", max_connections=37, options={"work_mem": "7MB"})
    wanted = {
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "off",
        "listen_addresses": "",
        "max_connections": "37",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "work_mem": "7MB",
    }
    with EmbeddedPostgres(settings) as server:
        connection = await asyncpg.connect(server.dsn)
        found = {name: await connection.fetchval("select current_setting($1)", name) for name in wanted}
        await connection.execute("create extension pg_stat_statements")
        assert await connection.fetchval("select count(*) from pg_stat_statements") > 0
        await connection.close()
    assert found == wanted


@pytest.mark.parametrize("name", ["""a "quoted" spaced & 100 % ünusual'one""", "one, two"])
async def test_any_path_will_do(place: Path, name: str) -> None:
    with EmbeddedPostgres(EmbeddedSettings(data_dir=place / name, durability="test")) as server:
        assert place / name in server.describe().cluster.parents
        await select_one(server.dsn)


async def select_one(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_a_server_without_a_free_connection_can_still_be_shared(place: Path) -> None:
    settings = EmbeddedSettings(data_dir=place / "data", durability="test", max_connections=5)
    with EmbeddedPostgres(settings) as server:
        connections = [await asyncpg.connect(server.dsn) for _ in range(5)]
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(server.dsn)
        with EmbeddedPostgres(settings) as other:
            assert other.describe().supervisor == server.describe().supervisor
        for connection in connections:
            await connection.close()


def test_a_large_log_is_turned_over(guest: Guests, place: Path) -> None:
    one = guest()
    one("stop")
    log = place / "data" / "postgres" / "postgres.log"
    with log.open("ab") as file:
        file.truncate(11_000_000)
    one("start")
    assert log.stat().st_size < 100_000
    assert log.with_name("postgres.log.1").stat().st_size == 11_000_000
