"""Concurrent starts of one client travel together.

Idle: a start is sent at once, with those that were asked for in the same turn of the loop. A batch in flight: further
starts collect, and are sent when it returns. So nobody waits for company, and a thousand who come together pay for one
commit. Starts with and without keys go separately, because a key may have to wait for another's transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import asyncpg

from holdfast.client.database import closed
from holdfast.store.connect import is_away, translate
from holdfast.store.starts import Start, Started, start_keyed, start_plain
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.store.session import Session

MOST_STARTS = 1000
"""So many starts make one statement at most."""
MOST_CHARACTERS = 8 * 1024 * 1024
"""So much input goes into one statement at most, unless a single one has more."""

_DATA_ERRORS = frozenset({"22", "23", "54"})


class Starter:
    """Sends starts, many at a time. One that cannot be stored fails alone.

    A lost connection is no reason to fail: ids are made here, so a batch can be sent again without making anything
    twice. That is done for as long as the client's patience lasts, from when the start was asked for; then its caller
    gets DatabaseUnavailable.
    """

    def __init__(self, database: Database, *, hints: bool) -> None:
        self._plain = _Line(database, start_plain, hints=hints)
        self._keyed = _Line(database, start_keyed, hints=hints)

    async def start(self, start: Start) -> Started:
        """Starts one run; returns after the commit.

        A caller that is cancelled while waiting here does not know whether its run was started.
        """
        return await (self._plain if start.key is None else self._keyed).ask(start)

    async def close(self) -> None:
        """Waits until what was asked for has been answered, and takes nothing more."""
        await asyncio.gather(self._plain.close(), self._keyed.close())


class _Send(Protocol):
    async def __call__(self, session: Session, starts: Sequence[Start], /, *, hint: bool) -> Sequence[Started]: ...


class _Asked:
    """A start that somebody waits for, until the time ``until`` of the loop's clock."""

    __slots__ = ("answer", "start", "until")

    def __init__(self, start: Start, answer: asyncio.Future[Started], until: float) -> None:
        self.start = start
        self.answer = answer
        self.until = until

    def fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        if not self.answer.done():
            error.__cause__ = cause
            self.answer.set_exception(error)


class _Line:
    """Starts that wait for one statement."""

    def __init__(self, database: Database, send: _Send, *, hints: bool) -> None:
        self._database = database
        self._send = send
        self._hints = hints
        self._waiting: deque[_Asked] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    async def ask(self, start: Start) -> Started:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        asked = _Asked(start, loop.create_future(), loop.time() + self._database.patience)
        self._waiting.append(asked)
        if self._pump is None:
            # A task begins in the next turn of the loop: what other callers ask for in this one goes along.
            self._pump = loop.create_task(self._deliver_all(), name="holdfast starts")
        return await asked.answer

    async def close(self) -> None:
        self._closed = True
        if self._pump is not None:
            await asyncio.wait([self._pump])

    async def _deliver_all(self) -> None:
        batch: list[_Asked] = []
        try:
            while self._waiting:
                batch = self._take()
                await self._deliver(batch)
        finally:
            # Only cancellation leaves anybody without an answer.
            self._pump = None
            for asked in (*batch, *self._waiting):
                asked.fail(closed())
            self._waiting.clear()

    def _take(self) -> list[_Asked]:
        batch: list[_Asked] = []
        size = 0
        while self._waiting and len(batch) < MOST_STARTS:
            size += len(self._waiting[0].start.input)
            if batch and size > MOST_CHARACTERS:
                break
            asked = self._waiting.popleft()
            # Who was cancelled before anything was sent leaves nothing behind.
            if not asked.answer.done():
                batch.append(asked)
        return batch

    async def _deliver(self, batch: list[_Asked]) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while batch:
            try:
                answers = await self._try(batch)
            except Exception as error:
                if is_data_error(error) and len(batch) > 1:
                    half = len(batch) // 2
                    await self._deliver(batch[:half])
                    await self._deliver(batch[half:])
                    return
                now = loop.time()
                batch = self._left(batch, error, now)
                if batch:
                    await asyncio.sleep(min(backoff.delay(), max(asked.until for asked in batch) - now))
            else:
                for asked, answer in zip(batch, answers, strict=True):
                    if not asked.answer.done():
                        asked.answer.set_result(answer)
                return

    async def _try(self, batch: Sequence[_Asked]) -> Sequence[Started]:
        # A try takes a part of the patience only, so that there is some left when a connection hangs.
        async with self._database.raw_session(limit=self._database.patience / 3) as session:
            return await self._send(session, [asked.start for asked in batch], hint=self._hints)

    def _left(self, batch: list[_Asked], error: Exception, now: float) -> list[_Asked]:
        """Those that another try may help; the others are told."""
        left: list[_Asked] = []
        for asked in batch:
            if is_away(error) and asked.until > now:
                left.append(asked)
            else:
                asked.fail(translate(error, self._database.dsn), error)
        return left


def is_data_error(error: BaseException) -> bool:
    """Whether something about the values is wrong, so that those of others might be stored without them."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in _DATA_ERRORS
