"""Whoever is killed with -9, nothing is left behind and nothing that was committed is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.embedded.guest import (
    SOURCE,
    Guest,
    Refused,
    alive,
    is_supervisor,
    kill,
    nobody_left,
    processes_of,
    segment_of,
    shared_memory_segments,
    wait_until,
)

Guests = Callable[..., Guest]

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def keeper(guest: Guests) -> Guest:
    """A client of a server that has something to lose."""
    keeper = guest(settings={"durability": "full"})
    keeper.query("create table kept (word text)")
    keeper.query("insert into kept values ('here')")
    return keeper


def has_its_data(guest: Guest) -> bool:
    return guest.query("select word from kept") == ["here"]


def test_a_killed_server_is_brought_back_by_its_supervisor(keeper: Guest) -> None:
    supervisor, postmaster = keeper.supervisor, keeper.postmaster
    kill(postmaster)
    wait_until(lambda: keeper.postmaster not in (0, postmaster), "another server has started")
    keeper("ensure")
    assert has_its_data(keeper)
    assert keeper.supervisor == supervisor


@needs_linux
def test_a_backend_that_computes_on_after_its_server_was_killed_is_ended(keeper: Guest, guest: Guests) -> None:
    postmaster = keeper.postmaster
    busy = guest(settings={"durability": "full"})
    busy.send("query", sql="do $$ begin loop end loop; end $$")
    activity = "select pid from pg_stat_activity where query like 'do %' and state = 'active'"
    wait_until(lambda: keeper.query(activity), "the backend computes")
    backend = int(keeper.query(activity)[0] or 0)
    kill(postmaster)
    with pytest.raises(Refused, match="ConnectionReset"):
        busy.answer()
    wait_until(lambda: not alive(backend), "the backend has ended")
    keeper("ensure")
    assert has_its_data(keeper)


@needs_linux
def test_a_server_dies_with_its_supervisor_and_leaves_no_shared_memory(keeper: Guest, place: Path) -> None:
    supervisor, postmaster = keeper.supervisor, keeper.postmaster
    segment = segment_of(place / "data/postgres/cluster")
    assert segment in shared_memory_segments()
    kill(supervisor)
    wait_until(lambda: not alive(postmaster), "the server has died")
    assert segment not in shared_memory_segments()
    keeper.close()
    assert nobody_left(place)


def test_a_client_brings_back_what_died_with_the_supervisor(keeper: Guest, guest: Guests) -> None:
    other = guest(settings={"durability": "full"})
    supervisor = keeper.supervisor
    kill(supervisor)
    keeper.send("ensure")
    other.send("ensure")
    keeper.answer()
    other.answer()
    assert has_its_data(keeper)
    assert keeper.supervisor == other.supervisor != supervisor


def test_a_newcomer_starts_anew_after_the_supervisor_was_killed(keeper: Guest, guest: Guests) -> None:
    kill(keeper.supervisor)
    newcomer = guest(settings={"durability": "full"})
    assert has_its_data(newcomer)


def test_everything_killed_at_once_is_recovered_by_the_next_start(keeper: Guest, guest: Guests, place: Path) -> None:
    cluster = place / "data/postgres/cluster"
    segment = segment_of(cluster)
    kill(keeper.supervisor, keeper.postmaster, keeper.process.pid)
    newcomer = guest(settings={"durability": "full"})
    assert has_its_data(newcomer)
    assert segment == segment_of(cluster) or segment not in shared_memory_segments()


def test_a_server_killed_with_its_clients_is_cleared_up_after(keeper: Guest, place: Path) -> None:
    segment = segment_of(place / "data/postgres/cluster")
    kill(keeper.process.pid, keeper.postmaster)
    keeper.process.wait()
    wait_until(lambda: nobody_left(place), "the supervisor has cleared up")
    assert segment not in shared_memory_segments()
    assert not list(place.rglob("postmaster.pid"))


def test_a_supervisor_that_is_told_to_stop_stops_cleanly(keeper: Guest, place: Path) -> None:
    os.kill(keeper.supervisor, signal.SIGTERM)
    keeper.process.stdin.close()  # type: ignore[union-attr]
    wait_until(lambda: nobody_left(place), "everything has stopped")
    assert "database system is shut down" in (place / "data/postgres/postgres.log").read_text()


@needs_linux
def test_a_layout_that_was_killed_half_way_is_begun_again(guest: Guests, place: Path) -> None:
    first = guest(started=False)
    first.send("start")
    staging = place / "data/postgres/cluster.new"
    wait_until((staging / "base").exists, "initdb is at work")
    kill(*(process.pid for process in processes_of(place) if is_supervisor(process)))
    with pytest.raises(Refused, match="ended at its start"):
        first.answer()
    assert not (place / "data/postgres/cluster").exists()
    wait_until(lambda: not [p for p in processes_of(place) if p.name() in ("initdb", "postgres")], "initdb has died")
    assert guest().query("select 1") == ["1"]
    assert not staging.exists()


def test_a_server_that_keeps_dying_is_given_up_and_the_next_start_tries_again(keeper: Guest) -> None:
    supervisor = keeper.supervisor
    while alive(supervisor):
        postmaster = keeper.postmaster
        if postmaster and alive(postmaster):
            kill(postmaster)
    keeper("ensure")
    assert has_its_data(keeper)


def test_a_watcher_ends_the_server_where_the_kernel_does_not() -> None:
    story = """
import signal, subprocess, sys, types
for name in ("holdfast", "holdfast.embedded"):
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + name.removeprefix("holdfast").replace(".", "/")]
    sys.modules[name] = package
from holdfast.embedded.deathbond import Watcher
watcher = Watcher(signal.SIGQUIT)
child = subprocess.Popen(["sleep", "600"])
watcher.watch(child.pid)
print(child.pid, flush=True)
sys.stdin.read()
watcher.close()
print("closed", flush=True)
"""
    for killed in (True, False):
        teller = subprocess.Popen(
            [sys.executable, "-c", story, SOURCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert teller.stdout
        assert teller.stdin
        child = int(teller.stdout.readline())
        with teller:
            if killed:
                teller.kill()
                wait_until(lambda: not alive(child), "the child has died")  # noqa: B023
            else:
                teller.stdin.close()
                assert teller.stdout.readline() == "closed\n"
                assert alive(child)
                kill(child)


@needs_linux
def test_a_server_dies_with_its_supervisor_also_through_the_watcher(guest: Guests, place: Path) -> None:
    source = place / "source" / "holdfast"
    shutil.copytree(SOURCE / "embedded", source / "embedded")
    (source / "core").mkdir()
    shutil.copy(SOURCE / "core" / "errors.py", source / "core")
    libc = source / "embedded" / "libc.py"
    libc.write_text(libc.read_text().replace('if sys.platform == "linux" else None', "if not sys.platform else None"))

    one = guest(source=source)
    postmaster = one.postmaster
    assert one.query("select 1") == ["1"]
    kill(one.supervisor)
    wait_until(lambda: not alive(postmaster), "the server has died")
    one("ensure")
    assert one.query("select 1") == ["1"]


@needs_linux
def test_temporary_data_of_a_killed_server_leaves_no_shared_memory(guest: Guests, place: Path) -> None:
    one = guest(settings={"temporary": True})
    segment = segment_of(place / "data/postgres/cluster")
    kill(one.supervisor, one.postmaster)
    assert segment in shared_memory_segments()
    one("ensure")
    one("stop")
    assert segment not in shared_memory_segments()
    assert not (place / "data/postgres").exists()
