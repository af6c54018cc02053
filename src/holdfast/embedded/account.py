"""Under which operating system account each part of the embedded Postgres runs, and who may connect to it.

Postgres refuses to run as root. Then it runs under a numeric account of its own, which has no name and no other
process: existing accounts like ``nobody`` are shared with other services, which could read its files and signal it.
``initdb`` insists on a name, so the data is laid out by ``nobody`` in a directory that only the private group can
enter, and given to the numeric account before a server sees it.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import EmbeddedError

# Debian reserves 65000 to 65533, systemd documents 65520 to 65533 as unused by anybody, and containers that map only
# the ids of one 16 bit range still have them.
_PRIVATE_IDS = range(65529, 65519, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """A numeric user and group."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{name_of(self.uid) or 'an account without a name'} (uid {self.uid})"

    def may(self, path: Path, rights: int) -> bool:
        """Whether the mode of this file or directory gives these ids all of ``rights`` (4 read, 2 write, 1 pass)."""
        status = path.stat()
        if status.st_uid == self.uid:
            granted = status.st_mode >> 6
        elif status.st_gid == self.gid:
            granted = status.st_mode >> 3
        else:
            granted = status.st_mode
        return granted & rights == rights

    def can_reach(self, directory: Path) -> bool:
        """Whether these ids can pass through this directory and all above it."""
        resolved = directory.resolve()
        return all(self.may(place, 1) for place in (resolved, *resolved.parents))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who owns and supervises the server, who it runs as, who lays out its data, and whom it lets in.

    All three are the same for an ordinary user. ``peers`` are the names that the server accepts on its socket.
    """

    owner: Ids
    server: Ids
    founder: Ids
    peers: tuple[str, ...]

    @property
    def private(self) -> bool:
        """Whether the server runs as somebody else than its owner."""
        return self.server != self.owner


def own_account() -> Account:
    """The account of an ordinary user: everything runs as who asks."""
    return _account_of(Ids(uid=os.geteuid(), gid=os.getegid()))


def account_of_owner(directory: Path) -> Account:
    """The account that made this directory; root runs everything as that one, and is let in."""
    status = directory.stat()
    return _account_of(Ids(uid=status.st_uid, gid=status.st_gid))


def private_account(cluster: Path) -> Account:
    """The account for a server of root: the one that owns its data already, else the first private id that is free.

    Raises:
        EmbeddedError: This root has no other account to run it under.
    """
    server = _owner_of(cluster) or _free_private_ids()
    try:
        nobody = pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise EmbeddedError(
            "root cannot lay out the data of an embedded Postgres, because there is no account 'nobody' on this "
            "system; run as an ordinary user, or set a database URL"
        ) from None
    return Account(
        owner=Ids(uid=0, gid=0),
        server=server,
        founder=Ids(uid=nobody, gid=server.gid),
        peers=(_name_or_refuse(0),),
    )


def name_of(uid: int) -> str | None:
    """The name of this account, if it has one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _account_of(ids: Ids) -> Account:
    names = {_name_or_refuse(ids.uid), name_of(0) or "root"}
    return Account(owner=ids, server=ids, founder=ids, peers=tuple(sorted(names)))


def _name_or_refuse(uid: int) -> str:
    name = name_of(uid)
    if name is None:
        raise EmbeddedError(
            f"the account with uid {uid} has no name on this system (no entry in /etc/passwd), and Postgres knows its "
            "owner by name; add an entry, run as another user, or set a database URL"
        )
    return name


def _owner_of(cluster: Path) -> Ids | None:
    try:
        status = cluster.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Ids(uid=status.st_uid, gid=status.st_gid) if status.st_uid else None


def _free_private_ids() -> Ids:
    for number in _PRIVATE_IDS:
        if name_of(number) is None:
            return Ids(uid=number, gid=number)
    raise EmbeddedError(
        f"every id from {_PRIVATE_IDS[-1]} to {_PRIVATE_IDS[0]} belongs to an account, so root has none to run an "
        "embedded Postgres under; run as an ordinary user, or set a database URL"
    )
