"""A server of its own that can be broken in each way in which a server breaks."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from holdfast.client.database import DRIVER_ERRORS
from holdfast.core.errors import DatabaseError
from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from holdfast.embedded.supervisor import CRASH_PERIOD, CRASHES
from holdfast.store.connect import connect
from tests.house import House, eventually, until


class Machine:
    """A server that can be ended and comes back by itself, and the house on it."""

    def __init__(self, postgres: EmbeddedPostgres, place: Path, house: House) -> None:
        self._place = place
        self.postgres = postgres
        self.house = house
        self._asks: asyncpg.Connection[asyncpg.Record] | None = None
        self._asking = asyncio.Lock()
        self._ends: deque[float] = deque([-CRASH_PERIOD] * (CRASHES - 1), maxlen=CRASHES - 1)

    @property
    def postmaster(self) -> int:
        """The process id of the server."""
        return int((self._place / "data/postgres/cluster/postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def comes_back(self) -> bool:
        """Whether the server is brought back if it ends now: not if it has ended too often of late."""
        return time.monotonic() - self._ends[0] > CRASH_PERIOD

    async def restart(self, number: signal.Signals) -> None:
        """Ends the server so, and returns when another one takes connections."""
        os.kill(self.postmaster, number)
        await self._back()
        self._ends.append(time.monotonic())

    async def crash(self) -> bool:
        """Kills the process that writes for a worker: the server ends all others too, and recovers.

        Gives whether there was one.
        """
        backend = await self.ask(
            "select pid from pg_stat_activity where application_name like 'holdfast flushes %' limit 1"
        )
        if backend is None:
            return False
        try:
            os.kill(backend, signal.SIGKILL)
        except ProcessLookupError:
            return False
        await self._back()
        return True

    async def ask(self, query: str, *arguments: object) -> Any:
        """The first column of the first row; None while the server is away."""
        try:
            async with self._asking:
                if self._asks is None or self._asks.is_closed():
                    self._asks = await connect(self.house.dsn, application="tests")
                return await self._asks.fetchval(query, *arguments)
        except (DatabaseError, *DRIVER_ERRORS):
            return None

    async def close(self) -> None:
        """Ends its connections."""
        for connection in (self._asks, self.house.db):
            if connection is not None:
                connection.terminate()

    async def _back(self) -> None:
        # As long as the old one is there, this connection is.
        await eventually(self.house.db.is_closed, "the server has gone")

        async def look() -> Any:
            try:
                return await connect(self.house.dsn, application="tests")
            except DatabaseError:
                return None

        self.house.db = await until(look, "the server is back")


@asynccontextmanager
async def open_machine(scratch: Path, *, bin_dir: Path | None = None) -> AsyncGenerator[Machine]:
    """One for as long as the block lasts; worker processes write their log into ``scratch``."""
    memory = Path("/dev/shm")  # noqa: S108 - made by mkdtemp
    place = Path(tempfile.mkdtemp(prefix="holdfast-", dir=memory if memory.is_dir() else None)).resolve()
    place.chmod(0o711)
    postgres = EmbeddedPostgres(
        EmbeddedSettings(
            data_dir=place / "data",
            bin_dir=bin_dir,
            durability="test",
            temporary=True,
            # What was said to be committed is in the hands of the kernel: the server may be killed, not the machine.
            options={"synchronous_commit": "on"},
        )
    )
    await asyncio.to_thread(postgres.start)
    try:
        db = await connect(postgres.dsn, application="tests")
        async with House(postgres.dsn, db, scratch) as house:
            machine = Machine(postgres, place, house)
            try:
                yield machine
            finally:
                await machine.close()
    finally:
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(place, ignore_errors=True)
