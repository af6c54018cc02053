"""The real connections behind the simulated ones: a call at a time is executed on one of them, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")
Call: TypeAlias = "Callable[[Connection], Awaitable[Any]]"

_SETTINGS = {
    "application_name": "holdfast simulation",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",
    "timezone": "UTC",
    # What is in this schema takes the place of what Postgres has under the same name: the clock above all.
    "search_path": "simulated, pg_catalog, public",
    # So that a plan does not depend on how often a statement was executed before.
    "plan_cache_mode": "force_generic_plan",
}
_SET_CLOCK = "select pg_catalog.setval('simulated.clock', $1)"
_LOOK_EVERY = 0.001


class Blocked:
    """What a call comes to that waits for a lock."""


BLOCKED: Final = Blocked()


class Backend:
    """One session of the server, and what it was notified of by its own commits."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid = connection.get_server_pid()
        self.heard: list[str] = []
        self.call: asyncio.Task[Any] | None = None

    def hear(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        """Each session hears its own notifications before its call returns; those of others come at any time."""
        if pid == self.pid:
            self.heard.append(str(payload))


class Backends:
    """As many sessions as transactions are open, and one to look at the database from outside."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._io = _new_loop()
        self._free: list[Backend] = []
        self._all: list[Backend] = []
        self.admin: Connection = self.wait(self._connect())
        self.opened: dict[Backend, None] = {}
        """Those with an open transaction."""
        self.micros = 0
        """Where the database's clock stands."""

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives."""
        return self._io.run_until_complete(work)

    def close(self) -> None:
        """Cuts all of them."""

        async def cut() -> None:
            for backend in self._all:
                backend.connection.terminate()
            self.admin.terminate()
            await asyncio.sleep(0)

        self.wait(cut())
        self._io.close()

    async def _connect(self) -> Connection:
        # That of the invariants is longer than what is kept otherwise, and would be planned each time.
        return await asyncpg.connect(
            self._dsn, server_settings=_SETTINGS, statement_cache_size=1000, max_cacheable_statement_size=0
        )

    def take(self) -> Backend:
        """A session that nobody uses."""
        while self._free:
            backend = self._free.pop(0)
            if not backend.connection.is_closed():
                return backend
            self._all.remove(backend)
        return self.wait(self._open())

    def give(self, backend: Backend) -> None:
        """It is not used any more."""
        assert backend not in self._free
        self.opened.pop(backend, None)
        backend.call = None
        if backend.connection.is_closed():
            self._all.remove(backend)
        else:
            self._free.append(backend)
            self._free.sort(key=self._all.index)

    async def _open(self) -> Backend:
        backend = Backend(await self._connect())
        await backend.connection.add_listener("holdfast", backend.hear)
        self._all.append(backend)
        return backend

    def settle(self) -> None:
        """Ends whatever is under way, and forgets all plans: what follows does not depend on what was before."""
        for backend in self._all:
            if backend in self._free and not backend.connection.is_closed():
                self.wait(backend.connection.execute("discard plans"))
            else:
                backend.connection.terminate()
        self._all = [backend for backend in self._all if backend in self._free]
        self._free = [backend for backend in self._free if not backend.connection.is_closed()]
        self._all = list(self._free)
        self.opened.clear()

    # ---- calls

    def set_clock(self, micros: int) -> None:
        """The database's clock stands there from now on, for every session."""
        if micros != self.micros:
            self.wait(self.admin.fetchval(_SET_CLOCK, micros))
            self.micros = micros

    def begin(self, backend: Backend, call: Call, *, micros: int | None = None) -> Any:
        """What the call gives or raises; BLOCKED where it waits for the lock of an open transaction.

        Before that the clock is set to ``micros``.
        """
        if micros is not None and backend in self.opened:
            # Its transaction may have failed, and takes nothing more.
            self.set_clock(micros)
        set_clock = micros is not None and micros != self.micros
        backend.call = self._io.create_task(_call(call, backend.connection, micros if set_clock else None))
        if micros is not None:
            self.micros = micros
        return self.resume(backend)

    def resume(self, backend: Backend) -> Any:
        """As ``begin``, of a call that was blocked."""
        task = backend.call
        assert task is not None
        others = [one for one in self.opened if one is not backend]
        if not others:
            return self._io.run_until_complete(task)
        while not task.done():
            self.wait(_wait_for(task, _LOOK_EVERY))
            if not task.done() and self.wait(self._is_blocked(backend)):
                return BLOCKED
        return task.result()

    async def _is_blocked(self, backend: Backend) -> bool:
        blocked: bool = await self.admin.fetchval("select cardinality(pg_blocking_pids($1)) > 0", backend.pid)
        return blocked

    def cancel(self, backend: Backend) -> Any:
        """The call does not wait any longer: what it comes to."""
        self.wait(self.admin.fetchval("select pg_cancel_backend($1)", backend.pid))
        assert backend.call is not None
        self.wait(_wait_for(backend.call, 10.0))
        return backend.call.exception() or backend.call.result()

    def notice(self) -> None:
        """Lets the driver see which sessions with an open transaction are gone."""
        pids = [backend.pid for backend in self.opened]
        alive = {
            row["pid"] for row in self.look("select pid from pg_catalog.pg_stat_activity where pid = any ($1)", pids)
        }
        for backend in self.opened:
            while backend.pid not in alive and not backend.connection.is_closed():
                self.wait(asyncio.sleep(0.001))

    def look(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Rows, as they are now; outside of the simulation."""
        return self.wait(self.admin.fetch(query, *values))


async def _call(call: Call, connection: Connection, micros: int | None) -> Any:
    if micros is not None:
        await connection.fetchval(_SET_CLOCK, micros)
    return await call(connection)


async def _wait_for(task: asyncio.Task[Any], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
