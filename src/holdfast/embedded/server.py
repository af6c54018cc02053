"""The embedded Postgres as its users see it."""

from __future__ import annotations

import threading
import time
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.binaries import Binaries, find_binaries
from holdfast.embedded.copy import open_state_dir, reachable_binaries
from holdfast.embedded.description import Description
from holdfast.embedded.launch import launch
from holdfast.embedded.lease import Lease, await_ready, knock
from holdfast.embedded.location import SOCKET_NAME, Location, locate, system_state_dir
from holdfast.embedded.lock import FileLock
from holdfast.embedded.plan import DATABASE, SUPERUSER, Plan
from holdfast.embedded.probe import probe
from holdfast.embedded.settings import EmbeddedSettings


class EmbeddedPostgres:
    """A Postgres that many processes share: the first to enter starts it, the last to leave stops it.

    All methods block and may be called from any thread; from a coroutine, through ``asyncio.to_thread``.
    The server stays while one process that has entered lives, and goes soon after the last is gone, also if they,
    the supervisor or the server itself are killed.
    """

    def __init__(self, settings: EmbeddedSettings | None = None, *, start: Path | None = None) -> None:
        self._settings = settings or EmbeddedSettings()
        self._start_dir = start
        self._lease: Lease | None = None
        self._binaries: Binaries | None = None
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Attaches to the server and returns when it takes connections; starts it if nobody has.

        Raises:
            BinariesNotFound: There are no Postgres programs.
            EmbeddedError: It cannot be started or used; the message says why and what to do.
        """
        with self._guard:
            if self._lease is None:
                self._lease = self._attach(None)

    def ensure(self) -> None:
        """Returns when the server takes connections: at once if it does, else after it has come back.

        For clients that lost their connection: a killed server is brought back by its supervisor, a killed supervisor
        by who calls this first.

        Raises:
            EmbeddedError: As ``start``.
        """
        with self._guard:
            lease, self._lease = self._lease, None
            self._lease = self._attach(lease)

    def stop(self) -> None:
        """Detaches. If no other process is attached, returns when the server has stopped."""
        with self._guard:
            lease, self._lease = self._lease, None
            if lease is not None:
                lease.give_up(time.monotonic() + self._settings.stop_timeout.total_seconds() + 15.0)

    @property
    def dsn(self) -> str:
        """How to connect to the database that always exists, as its superuser."""
        return self.dsn_for(DATABASE)

    def dsn_for(self, database: str, *, user: str = SUPERUSER, password: str | None = None) -> str:
        """How to connect to this database. Roles other than the superuser log in by password."""
        words = {"host": str(self._location.socket_dir), "port": "5432", "user": user}
        if password is not None:
            words["password"] = password
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in words.items())
        return f"postgresql:///{quote(database, safe='')}?{query}"

    def describe(self) -> Description:
        """Where everything is.

        Raises:
            BinariesNotFound: There are no Postgres programs.
        """
        location, lease = self._location, self._lease
        binaries = self._binaries or self._find_binaries()
        running = lease.running if lease is not None and lease.valid else None
        return Description(
            wanted=location.wanted,
            home=location.home,
            moved=location.moved,
            cluster=location.cluster,
            socket_dir=location.socket_dir,
            log=location.log,
            bin_dir=binaries.bin_dir,
            bin_origin=f"copied from {binaries.copied_from}" if binaries.copied_from else binaries.origin,
            version=running.version if running else binaries.version,
            account=str(location.account.server),
            durability=self._settings.durability,
            dsn=self.dsn,
            running=running is not None,
            supervisor=running.supervisor if running else None,
        )

    @cached_property
    def _location(self) -> Location:
        return locate(self._settings.data_dir, start=self._start_dir)

    def _attach(self, lease: Lease | None) -> Lease:
        """A lease of a server that takes connections: this one, if it is still good for that, or another."""
        deadline = time.monotonic() + self._settings.start_timeout.total_seconds()
        while True:
            if lease is None or not lease.valid:
                lease = self._knock(deadline) or self._start_or_join(deadline)
            if self._takes_connections(lease, deadline):
                return lease
            lease.give_up(time.monotonic())

    def _takes_connections(self, lease: Lease, deadline: float) -> bool:
        socket_path = self._location.socket_dir / SOCKET_NAME
        try:
            return probe(socket_path, SUPERUSER, DATABASE, deadline, hope=lambda: lease.valid)
        except BaseException:
            lease.give_up(time.monotonic())
            raise

    def _knock(self, deadline: float) -> Lease | None:
        return knock(self._location.control, self._settings.durability, deadline)

    def _start_or_join(self, deadline: float) -> Lease:
        """Starts a supervisor, unless somebody else does at this moment."""
        location = self._location
        while True:
            if location.moved and location.home.parent == system_state_dir():
                open_state_dir(location.home.parent)
            location.prepare()
            try:
                lock = FileLock(location.start_lock, what="the start of the embedded Postgres").acquire(deadline)
            except FileNotFoundError:
                # Temporary data has just been cleared away with its directory.
                continue
            with lock:
                lease = self._knock(deadline) or await_ready(launch(self._plan(deadline)), deadline + 5.0)
            if lease is None:
                raise EmbeddedError(f"the supervisor of the embedded Postgres ended at its start; log: {location.log}")
            return lease

    def _plan(self, deadline: float) -> Plan:
        location, settings = self._location, self._settings
        binaries = self._binaries = reachable_binaries(
            self._find_binaries(), location.account.server, system_state_dir(), deadline
        )
        return Plan(
            home=location.home,
            runtime=location.runtime,
            bin_dir=binaries.bin_dir,
            version=binaries.version,
            major=binaries.major,
            owner=location.account.owner,
            server=location.account.server,
            founder=location.account.founder,
            peers=location.account.peers,
            durability=settings.durability,
            temporary=settings.temporary,
            options={
                "max_connections": str(settings.max_connections),
                "shared_buffers": settings.shared_buffers,
                "max_wal_size": settings.max_wal_size,
                **settings.options,
            },
            start_timeout=settings.start_timeout.total_seconds(),
            stop_timeout=settings.stop_timeout.total_seconds(),
        )

    def _find_binaries(self) -> Binaries:
        try:
            major = int((self._location.cluster / "PG_VERSION").read_text())
        except (OSError, ValueError):
            major = None
        return find_binaries(self._settings.bin_dir, major)
