"""A consumer: the messages of a queue, one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from holdfast.client.attendance import TICK, Attendance
from holdfast.client.hands import Hands
from holdfast.client.message import Message
from holdfast.core.errors import DatabaseUnavailable, HoldfastError, InvalidInput
from holdfast.core.queue import ConsumerState
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.client.database import Database
    from holdfast.client.exchange import Delivery, Exchange
    from holdfast.client.settling import Settler

T = TypeVar("T")

log = logging.getLogger("holdfast.client")

_HORIZON = 1.0
"""Seconds: what can be begun within them is received ahead."""


class Consumer(Generic[T]):
    """Gives the messages of a queue one by one: ``async for message in queue.consume(): ...``.

    While a message is in your hands heartbeats extend its visibility timeout: from when it is given out until it is
    settled, or until you ask for the next one; with a ``concurrency`` above 1, until your code lets go of it. So what
    is forgotten comes back when its visibility timeout has passed.

    It is registered among the workers for as long as it consumes. When it ends, by ``break``, ``stop()`` or a cancel,
    what was received and not given out yet is given back. As a context (``async with queue.consume() as consumer``)
    that is done when the block ends.
    """

    def __init__(
        self,
        database: Database,
        exchange: Exchange,
        settler: Settler[T],
        *,
        batch: int,
        visibility: timedelta,
        wait: timedelta,
        concurrency: int,
        name: str | None,
    ) -> None:
        self._exchange = exchange
        self._settler = settler
        self._batch = batch
        self._visibility = visibility
        self._wait = wait
        self._concurrency = concurrency
        self._attendance = Attendance(database, exchange.lane, name)
        self._line: deque[Message[T]] = deque()
        self._told = asyncio.Event()
        self._hands: Hands[T] = Hands(self._tell)
        settler.settled = self._tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fetching: asyncio.Task[list[Delivery]] | None = None
        self._backoff = Backoff()
        self._pace: float | None = None
        self._suspended = False
        self._stopped = False
        self._begun = False
        self._ended = asyncio.Event()
        self._iterating: weakref.ref[AsyncGenerator[Message[T]]] | None = None
        """Weakly: a loop that is left is what ends it, and nobody else may hold on to it."""
        self.state = ConsumerState.READY
        """What it is doing."""

    @property
    def name(self) -> str:
        """Its name among the workers, a new one for each consumer."""
        return self._attendance.name

    @property
    def handled(self) -> int:
        """How many messages were acknowledged or archived."""
        return self._settler.handled

    def stop(self) -> None:
        """Gives out no more: what iterates over it ends after the message at hand."""
        self._stopped = True
        self._told.set()

    def __aiter__(self) -> AsyncIterator[Message[T]]:
        if self._iterating is not None:
            raise InvalidInput("a consumer is iterated over once: ask the queue for another one")
        messages = self._messages()
        self._iterating = weakref.ref(messages)
        return messages

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        messages = None if self._iterating is None else self._iterating()
        if messages is not None:
            await messages.aclose()
        if self._begun:
            # A loop that was left by ``break`` ends in a task of its own.
            await self._ended.wait()

    # ---- giving out

    async def _messages(self) -> AsyncGenerator[Message[T]]:
        self._loop = asyncio.get_running_loop()
        await self._attendance.begin()
        self._begun = True
        heart = asyncio.create_task(self._beat(), name=f"holdfast consumer {self.name}")
        try:
            while not self._stopped:
                self._told.clear()
                message = None if self._suspended or self._hands.count() >= self._concurrency else self._next()
                if message is None:
                    await self._more()
                    continue
                self.state = ConsumerState.READY
                self._hands.take(message)
                began = time.monotonic()
                if self._has_time_for_more():
                    self._fetch()
                yield message
                if self._concurrency == 1:
                    self._hands.let_go()
                del message
                self._measure(time.monotonic() - began)
        finally:
            try:
                heart.cancel()
                await asyncio.wait([heart])
                self._hands.let_go()
                self.state = ConsumerState.STOPPED
                await self._give_back()
                await self._attendance.end(self.handled)
            finally:
                self._ended.set()

    def _tell(self) -> None:
        """There may be room for another message; also from the thread of a blocking client."""
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._told.set)

    def _next(self) -> Message[T] | None:
        while self._line:
            message = self._line.popleft()
            # Beats may have failed for long: then others may have what has stood in line here.
            if message.ours_until > time.monotonic():
                return message
        return None

    async def _more(self) -> None:
        """Returns when there may be something to give out, or something else to do."""
        if self._suspended:
            self.state = ConsumerState.SUSPENDED
        if self._suspended or self._hands.count() >= self._concurrency:
            await self._told.wait()
            return
        self.state = ConsumerState.POLLING
        fetching = self._fetch()
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait([fetching, told], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        # It may have been given back meanwhile, because it is suspended.
        if not fetching.done() or self._fetching is not fetching:
            return
        self._fetching = None
        try:
            deliveries = fetching.result()
        except DatabaseUnavailable as error:
            log.warning("consumer %s: %s", self.name, error)
            await asyncio.sleep(self._backoff.delay())
            return
        self._backoff.reset()
        self._line.extend(Message(self._settler, delivery) for delivery in deliveries)

    def _fetch(self) -> asyncio.Task[list[Delivery]]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(
                self._exchange.receive(self._batch, self._visibility, self._wait, hands=self.name),
                name="holdfast receive",
            )
        return self._fetching

    def _has_time_for_more(self) -> bool:
        """Whether what would be received now could be begun within about a second: else it is left to others."""
        if self._fetching is not None or self._pace is None or len(self._line) * 2 > self._batch:
            return False
        return self._pace * (len(self._line) + 1) < _HORIZON

    def _measure(self, seconds: float) -> None:
        self._pace = seconds if self._pace is None else (self._pace + seconds) / 2

    async def _give_back(self) -> None:
        """What was received and not given out."""
        fetching, self._fetching = self._fetching, None
        deliveries = [message.delivery for message in self._line]
        self._line.clear()
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait([fetching])
            if not fetching.cancelled() and fetching.exception() is None:
                deliveries += fetching.result()
        with suppress(HoldfastError):
            self._exchange.give_back(deliveries)

    # ---- saying that it is there

    async def _beat(self) -> None:
        extend_every = self._visibility.total_seconds() / 3
        tick = min(extend_every, TICK)
        extended = time.monotonic()
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            try:
                if now - extended >= extend_every - tick / 2:
                    extended = now
                    await self._extend()
                await self._attendance.keep(self.state, self._hands.count, self.handled)
                self._obey(self._attendance.command)
                if self._suspended:
                    await self._give_back()
            except HoldfastError as error:
                log.warning("consumer %s: a heartbeat has failed: %s", self.name, error)
            except Exception:
                log.exception("consumer %s: a heartbeat has failed", self.name)

    async def _extend(self) -> None:
        messages = [*self._hands.messages(), *self._line]
        lost = await self._settler.try_to_extend(messages, self._visibility)
        if lost:
            log.warning(
                "consumer %s has lost %s messages of queue %r: %s",
                *(self.name, len(lost), self._settler.queue, ", ".join(sorted(set(lost.values())))),
            )
            self._hands.lose(lost)
            self._line = deque(message for message in self._line if message.id not in lost)

    def _obey(self, command: str | None) -> None:
        suspended = command == "pause"
        if suspended is not self._suspended:
            self._suspended = suspended
            self._told.set()
        if command in ("drain", "stop", "stop now"):
            self.stop()

    def __repr__(self) -> str:
        return f"<consumer {self.name} of {self._settler.queue!r}, {self.state}>"
