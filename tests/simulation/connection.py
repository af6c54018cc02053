"""Connections as the engine sees them: each thing that is asked is a round trip, which the server has in its hand."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import asyncpg

from tests.simulation.backends import Backend, Call

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.server import Server

_FUNCTION = re.compile(r"holdfast\.(\w+)")


class SimulatedConnection:
    """In the place of an asyncpg connection of one process."""

    def __init__(self, server: Server, process: Process, label: str) -> None:
        self.server = server
        self.process = process
        self.label = label
        self.lost = False
        """Whether it was cut from outside, or its process has died."""
        self.closed = False
        self.pinned: Backend | None = None
        """Where its open transaction is."""
        self.depth = 0
        self.arrives_at = 0.0
        """When the last thing that was asked arrives; nothing overtakes it."""
        self.told_at = 0.0
        self.listeners: list[Callable[..., object]] = []
        process.connections[self] = None

    # ---- what the engine calls

    async def fetch(self, query: str, *args: object, **_: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._ask(query, lambda db: db.fetch(query, *args), args)
        return rows

    async def fetchrow(self, query: str, *args: object, **_: Any) -> asyncpg.Record | None:
        row: asyncpg.Record | None = await self._ask(query, lambda db: db.fetchrow(query, *args), args)
        return row

    async def fetchval(self, query: str, *args: object, **_: Any) -> Any:
        return await self._ask(query, lambda db: db.fetchval(query, *args), args)

    async def execute(self, query: str, *args: object, **_: Any) -> str:
        status: str = await self._ask(query, lambda db: db.execute(query, *args), args)
        return status

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        await self._ask(f"listen {channel}", None)
        self.listeners.append(callback)

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> SimulatedTransaction:
        del deferrable
        words = ["begin"]
        if isolation is not None:
            words.append(f"isolation level {isolation.replace('_', ' ')}")
        if readonly:
            words.append("read only")
        return SimulatedTransaction(self, " ".join(words))

    async def reset(self, *, timeout: float | None = None) -> None:
        if self.depth:
            self.depth = 0
            await self._ask("rollback", lambda db: db.execute("rollback"))
        await self._ask("reset", None)

    def is_closed(self) -> bool:
        return self.closed or self.lost

    def get_server_version(self) -> object:
        return self.server.version

    def get_server_pid(self) -> int:
        return 1

    def terminate(self) -> None:
        self.closed = True
        self._forget()

    async def close(self, *, timeout: float | None = None) -> None:
        if not self.is_closed():
            self.closed = True
            self._forget()

    # ---- what becomes of it

    def lose(self) -> None:
        """It is cut from outside: what is under way there may or may not have been done."""
        if not self.is_closed():
            self.lost = True
            self._forget()
            self.server.broken(self)

    def _forget(self) -> None:
        self.process.connections.pop(self, None)
        self.listeners.clear()
        self.server.left(self)

    async def ask(self, query: str, call: Call | None) -> Any:
        """One round trip."""
        return await self._ask(query, call)

    async def _ask(self, query: str, call: Call | None, args: tuple[object, ...] = ()) -> Any:
        if self.is_closed():
            raise asyncpg.InterfaceError("connection is closed")
        return await self.server.ask(self, name_of(query), call, args)


class SimulatedTransaction:
    """As asyncpg's: all of the block or none, a savepoint within another one."""

    def __init__(self, connection: SimulatedConnection, beginning: str) -> None:
        self._connection = connection
        self._beginning = beginning
        self._savepoint: str | None = None

    async def start(self) -> None:
        connection = self._connection
        if connection.depth:
            self._savepoint = f"s{connection.depth}"
            await self._say(f"savepoint {self._savepoint}")
        else:
            await self._say(self._beginning)
        connection.depth += 1

    async def commit(self) -> None:
        self._connection.depth -= 1
        await self._say("commit" if self._savepoint is None else f"release savepoint {self._savepoint}")

    async def rollback(self) -> None:
        self._connection.depth -= 1
        await self._say("rollback" if self._savepoint is None else f"rollback to savepoint {self._savepoint}")

    async def _say(self, words: str) -> None:
        await self._connection.ask(words, lambda db: db.execute(words))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.commit()
        elif not self._connection.is_closed():
            await self.rollback()


class SimulatedPool:
    """In the place of an asyncpg pool."""

    def __init__(self, server: Server, process: Process, label: str, size: int) -> None:
        self._server = server
        self._process = process
        self._label = label
        self._places = asyncio.Semaphore(size)
        self._free: list[SimulatedConnection] = []
        self._used: dict[SimulatedConnection, None] = {}
        self._closed = False

    def acquire(self, *, timeout: float | None = None) -> _Acquired:
        return _Acquired(self, timeout)

    async def take(self, timeout: float | None) -> SimulatedConnection:
        if self._closed:
            raise asyncpg.InterfaceError("pool is closed")
        async with asyncio.timeout(timeout):
            await self._places.acquire()
            try:
                while self._free:
                    connection = self._free.pop()
                    if not connection.is_closed():
                        break
                else:
                    connection = await self._server.connect(self._process, self._label)
            except BaseException:
                self._places.release()
                raise
        self._used[connection] = None
        return connection

    def give(self, connection: SimulatedConnection) -> None:
        self._used.pop(connection, None)
        if not connection.is_closed():
            self._free.append(connection)
        self._places.release()

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        self._closed = True
        for connection in [*self._free, *self._used]:
            connection.terminate()


class _Acquired:
    def __init__(self, pool: SimulatedPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: SimulatedConnection | None = None

    async def __aenter__(self) -> SimulatedConnection:
        self._connection = await self._pool.take(self._timeout)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        self._pool.give(self._connection)


def name_of(query: str) -> str:
    """A word for what is asked: the function that is called, or how it begins."""
    function = _FUNCTION.search(query)
    return function[1] if function else " ".join(query.split()[:2])


def shown(answer: object) -> str:
    """What came back, in a few words for the trace."""
    if isinstance(answer, BaseException):
        return f"{type(answer).__name__}: {str(answer).splitlines()[0] if str(answer) else ''}"
    return f"{len(cast('list[object]', answer))} rows" if isinstance(answer, list) else "done"


def digest(name: str, answer: object) -> str:
    """All that came back, in eight characters for the trace; but for what is another number each time."""
    if isinstance(answer, BaseException) or name in ("begin_activity", "migration") or "current_setting" in name:
        # The pid of a backend; when the schema was made; what server this is, and the name of the database.
        return ""
    if name == "record":
        rows = cast("list[dict[str, object]]", answer if isinstance(answer, list) else [answer])
        answer = [{**row, "xid": None} for row in rows]
    return hashlib.blake2b(repr(answer).encode(), digest_size=4).hexdigest()
