"""Nobody but the owner gets in."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from tests.embedded.guest import Guest
from tests.embedded.stranger import Stranger

Guests = Callable[..., Guest]

# What a client says first and what it hears: the kind of message, and a refusal in full.
CONNECT = """
import socket, struct, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    words = b"user\\0postgres\\0database\\0postgres\\0\\0"
    connection.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
    print(connection.recv(1000).replace(b"\\0", b" ").decode())
"""


def test_every_directory_is_closed_to_others(guest: Guests, place: Path) -> None:
    guest()
    home = place / "data" / "postgres"
    entries = [home, *home.iterdir(), *(home / "run").iterdir(), *(home / "cluster").iterdir()]
    assert {"cluster", "run", "control", ".s.PGSQL.5432"} <= {entry.name for entry in entries}
    assert [entry for entry in entries if stat.S_IMODE(entry.lstat().st_mode) & 0o007] == []


def test_it_opens_no_port(guest: Guests) -> None:
    one = guest()
    assert psutil.Process(one.postmaster).net_connections(kind="inet") == []
    assert one.query("show listen_addresses") == [""]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_server_inherits_nothing_but_the_lock_that_tells_it_alive(guest: Guests, place: Path) -> None:
    one = guest()
    files = Path(f"/proc/{one.postmaster}/fd")
    home = place / "data" / "postgres"
    inherited = {target for target in links(files) if target.parent == home}
    assert inherited == {home / "postgres.lock", home / "postgres.log"}


def links(files: Path) -> list[Path]:
    found: list[Path] = []
    for file in files.iterdir():
        try:
            found.append(file.readlink())
        except FileNotFoundError:
            continue
    return found


def test_another_user_cannot_get_to_the_socket(guest: Guests, place: Path, stranger: Stranger) -> None:
    guest()
    for socket in ("run/.s.PGSQL.5432", "control"):
        attempt = stranger.runs(CONNECT, str(place / "data" / "postgres" / socket))
        assert "PermissionError" in attempt.stderr
        assert attempt.stdout == ""


def test_another_user_is_refused_even_when_every_door_stands_open(
    guest: Guests, place: Path, stranger: Stranger
) -> None:
    one = guest()
    home = place / "data" / "postgres"
    socket = home / "run" / ".s.PGSQL.5432"
    home.chmod(0o755)
    socket.parent.chmod(0o755)
    socket.chmod(0o777)
    attempt = stranger.runs(CONNECT, str(socket))
    assert "Peer authentication failed" in attempt.stdout, attempt.stderr
    assert one.query("select 1") == ["1"]


def test_a_start_closes_what_was_opened(guest: Guests, place: Path) -> None:
    one = guest()
    one("stop")
    (place / "data" / "postgres").chmod(0o777)
    one("start")
    assert stat.S_IMODE((place / "data" / "postgres").stat().st_mode) & 0o007 == 0


async def test_other_roles_log_in_by_password(place: Path) -> None:
    with EmbeddedPostgres(EmbeddedSettings(data_dir=place / "data", durability="test")) as server:
        owner = await asyncpg.connect(server.dsn)
        await owner.execute("create role clerk login password 'a/b?c'")
        clerk = await asyncpg.connect(server.dsn_for("postgres", user="clerk", password="a/b?c"))
        assert await clerk.fetchval("select current_user::text") == "clerk"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn_for("postgres", user="clerk", password="wrong"))
        await clerk.close()
        await owner.close()


def test_the_callers_postgres_settings_do_not_reach_it(guest: Guests, place: Path) -> None:
    one = guest(
        environment={
            "PGDATA": "/nowhere",
            "PGHOST": "nowhere.invalid",
            "PGPORT": "1",
            "PGUSER": "nobody",
            "PGOPTIONS": "--no-such-option",
            "LC_ALL": "xx_YY.nonsense",
            "TZ": "Asia/Tokyo",
            "TMPDIR": "/nowhere",
        }
    )
    assert one.query("show timezone") == ["UTC"]
    assert one("describe")["home"] == str(place / "data" / "postgres")


def test_a_foreign_runtime_directory_is_refused(guest: Guests, place: Path, stranger: Stranger) -> None:
    settings = {"data_dir": place / ("x" * 100)}
    one = guest(settings=settings)
    runtime = Path(one("describe")["socket_dir"]).parent
    one("stop")
    assert not runtime.exists()
    stranger.makes(runtime)
    try:
        with pytest.raises(Exception, match="belongs to somebody else: remove it"):
            one("start")
    finally:
        runtime.rmdir()
    one("start")
    assert stat.S_IMODE(runtime.stat().st_mode) & 0o007 == 0
    assert runtime.stat().st_uid == os.geteuid()
