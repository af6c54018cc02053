"""Where the data, the sockets, the locks and the log of one embedded Postgres live."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.account import Account, account_of_owner, own_account, private_account
from holdfast.embedded.plan import OWN_MARK, OWN_MARK_TEXT

SOCKET_NAME = ".s.PGSQL.5432"

# What the kernel takes for the path of a Unix socket, without the closing zero byte.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103

# How often a directory may vanish under our hands before we say so.
_PATIENCE = 50

_PROJECT_FOLDER = ".holdfast"

_PROJECT_MARKS = ("pyproject.toml", "holdfast.toml", ".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The directories of one embedded Postgres, and the account that they are laid out for.

    ``wanted`` is the data directory that was asked for; ``home`` is where things really are, inside it or, for the
    reason in ``moved``, in a state directory. ``runtime`` holds the sockets and is ``home`` unless its path does not
    fit one.
    """

    wanted: Path
    home: Path
    runtime: Path
    account: Account
    moved: str | None = None

    @property
    def cluster(self) -> Path:
        """The data directory in the sense of Postgres."""
        return self.home / "cluster"

    @property
    def socket_dir(self) -> Path:
        """The directory of the socket that clients connect to."""
        return self.runtime / "run"

    @property
    def control(self) -> Path:
        """The socket over which clients hold their lease."""
        return self.runtime / "control"

    @property
    def log(self) -> Path:
        """The log of the server and of its supervisor."""
        return self.home / "postgres.log"

    @property
    def start_lock(self) -> Path:
        """Held by who starts a supervisor."""
        return self.home / "start.lock"

    def prepare(self) -> None:
        """Makes the directories that are missing, and sees to it that those of ours are closed to others.

        Raises:
            EmbeddedError: A directory cannot be made, or belongs to somebody else.
        """
        for patience in reversed(range(_PATIENCE)):
            try:
                _make_parents(self.home.parent, private=self.account.private)
                self.home.mkdir(mode=0o700, exist_ok=True)
                self._close(self.home)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and patience:
                    # Temporary data is just being cleared away with its directory.
                    continue
                raise EmbeddedError(
                    f"the embedded Postgres cannot use {self.home}: {error.strerror or error}; "
                    "make it writable, or set data_dir to another place"
                ) from error
            return

    def _close(self, directory: Path) -> None:
        status = directory.lstat()
        owner = self.account.owner
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner.uid:
            raise EmbeddedError(
                f"{directory} belongs to uid {status.st_uid} and not to {owner}; remove it, or set data_dir to "
                "another place"
            )
        # The private group is a door for the server alone: it has no members.
        mode = 0o710 if self.account.private else 0o700
        if self.account.private and status.st_gid != self.account.server.gid:
            self._give_to_private_group(directory)
        if stat.S_IMODE(status.st_mode) != mode:
            directory.chmod(mode)

    def _give_to_private_group(self, directory: Path) -> None:
        try:
            os.chown(directory, self.account.owner.uid, self.account.server.gid)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise EmbeddedError(
                "this root has no other account to run Postgres under (a user namespace in which "
                f"{self.account.server} does not exist), and Postgres refuses to run as root; "
                "run as an ordinary user, or set a database URL"
            ) from error


def locate(data_dir: Path | None, *, start: Path | None = None) -> Location:
    """Where the embedded Postgres of this data directory, or of the project around ``start``, has its things.

    It looks and makes nothing. Data that exists is found again; a place that the server's account cannot reach is
    replaced by one under the system's (or the user's) state directory.

    Raises:
        EmbeddedError: Existing data cannot be reached any more, or there is no account to run under.
    """
    wanted = (data_dir or find_project(start or Path.cwd()) / _PROJECT_FOLDER).expanduser().resolve()
    if os.geteuid() == 0:
        return _locate_for_root(wanted)
    return _locate_for_user(wanted, given=data_dir is not None)


def find_project(start: Path) -> Path:
    """The nearest directory from ``start`` upwards that looks like a project, else ``start``."""
    start = start.resolve()
    for directory in (start, *start.parents):
        if any((directory / mark).exists() for mark in _PROJECT_MARKS):
            return directory
    return start


def system_state_dir() -> Path:
    """The directory for what root keeps outside projects."""
    preferred = Path("/var/lib")
    if preferred.is_dir() and os.access(preferred, os.W_OK | os.X_OK):
        return preferred / "holdfast"
    return Path("/var/tmp/holdfast-0")  # noqa: S108 - its owner and mode are checked before use


def user_state_dir() -> Path:
    """The directory for what an ordinary user keeps outside projects."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "holdfast"


def _locate_for_root(wanted: Path) -> Location:
    home = wanted / "postgres"
    if home.is_dir() and home.stat().st_uid != 0:
        return _location(wanted, home, account_of_owner(home))
    state = system_state_dir() / _key(wanted)
    if (state / "cluster").is_dir():
        return _location(
            wanted,
            state,
            private_account(state / "cluster"),
            moved=f"its data is there since {wanted} was closed to its account",
        )
    account = private_account(home / "cluster")
    if account.server.can_reach(_nearest_existing(wanted)):
        return _location(wanted, home, account)
    if (home / "cluster").is_dir():
        raise EmbeddedError(
            f"the data in {home} belongs to {account.server}, which cannot get there any more: a directory above it "
            "is closed to others; open it for passing (chmod o+x), or move the data"
        )
    return _location(
        wanted, state, private_account(state / "cluster"), moved=f"{wanted} is closed to the account of the server"
    )


def _locate_for_user(wanted: Path, *, given: bool) -> Location:
    home = wanted / "postgres"
    account = own_account()
    state = user_state_dir() / _key(wanted)
    nearest = _nearest_existing(home)
    usable = nearest == home or os.access(nearest, os.W_OK | os.X_OK)
    if given or (usable and not (state / "cluster").is_dir()):
        return _location(wanted, home, account)
    reason = f"its data is there since {wanted} was not writable" if usable else f"{nearest} is not writable"
    return _location(wanted, state, account, moved=reason)


def _location(wanted: Path, home: Path, account: Account, moved: str | None = None) -> Location:
    runtime = home
    # A comma parts two hosts in a DSN, and cannot be quoted there.
    if len(os.fsencode(home / "run" / SOCKET_NAME)) > _LONGEST_SOCKET_PATH or "," in str(home):
        # Not under TMPDIR: every process of this account has to come to the same name.
        runtime = Path(f"/tmp/holdfast-{account.owner.uid}-{_digest(home)}")  # noqa: S108 - owner and mode are checked
    return Location(wanted=wanted, home=home, runtime=runtime, account=account, moved=moved)


def _nearest_existing(path: Path) -> Path:
    for place in (path, *path.parents):
        # Below a directory that is closed to us nothing exists as far as we can know.
        with suppress(PermissionError):
            if place.exists():
                return place
    return Path("/")


def _make_parents(directory: Path, *, private: bool) -> None:
    """Makes this directory and those above it that are missing.

    Nobody sees one of them with another mode than its last: others decide by it where they look for the data.
    """
    if directory.is_dir():
        return
    _make_parents(directory.parent, private=private)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    # The server has to pass through, and finds nothing to read on the way.
    staging.chmod(0o711 if private else 0o700)
    (staging / OWN_MARK).write_text(OWN_MARK_TEXT)
    try:
        staging.rename(directory)
    except OSError:
        shutil.rmtree(staging)
        if not directory.is_dir():
            raise


def _key(wanted: Path) -> str:
    project = wanted.parent if wanted.name == _PROJECT_FOLDER else wanted
    return f"{project.name or 'root'}-{_digest(wanted)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
