"""What there is to say about an embedded Postgres, for people who look for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Where everything is.

    Attributes:
        wanted: The data directory that was asked for.
        home: The directory in which everything lives.
        moved: Why ``home`` is not inside ``wanted``, if it is not.
        cluster: The data directory in the sense of Postgres.
        socket_dir: The directory of the socket, for ``psql --host``.
        log: The log of the server and its supervisor.
        bin_dir: The programs that run, or would be run.
        bin_origin: Where they come from.
        version: Their version.
        account: The operating system account of the server.
        durability: ``full`` or ``test``.
        dsn: How to connect.
        running: Whether we hold a running server.
        supervisor: The process id of its supervisor.
    """

    wanted: Path
    home: Path
    moved: str | None
    cluster: Path
    socket_dir: Path
    log: Path
    bin_dir: Path
    bin_origin: str
    version: str
    account: str
    durability: str
    dsn: str
    running: bool
    supervisor: int | None
