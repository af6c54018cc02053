"""One queue: messages are sent to it, and received from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast.client.consumer import Consumer
from holdfast.client.consumer_info import ConsumerInfo
from holdfast.client.dead_letters import DeadLetters
from holdfast.client.exchange import MOST_MESSAGES
from holdfast.client.message import Message
from holdfast.client.options import StartOptions, key_mistakes, name_mistakes, start_options
from holdfast.client.queue_view import MessageView, QueueMetrics, metrics_of, view_of
from holdfast.client.settling import LONGEST_VISIBILITY, Settler, span_mistake, visibility_mistake
from holdfast.core.digest import canonical, digest_of
from holdfast.core.errors import InvalidInput
from holdfast.core.headers import options_with
from holdfast.core.returns import Returns
from holdfast.core.states import RunKind
from holdfast.store import lines
from holdfast.store.consumers import read_consumers
from holdfast.store.starts import Manner, Start

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client.context import Context
    from holdfast.client.exchange import Exchange
    from holdfast.client.launch import Launch
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import CallersConnection

T = TypeVar("T")

VISIBILITY = timedelta(seconds=30)
"""How long a message is invisible to others, unless it is said otherwise."""
WAIT = timedelta(seconds=20)
"""How long a receive waits, unless it is said otherwise."""
_LONGEST_WAIT = timedelta(hours=1)
_SHORTEST_CONSUMED = timedelta(seconds=1)
_MOST = 1_000_000
_KEYED = '{"keyed":true}'
"""Among the options of a message that was sent with a key: so that its row stays when it is acknowledged."""
_OUTPUT: Returns[Any] = Returns(Any, what="what a message is archived with", misfit=InvalidInput)


class Queue(Generic[T]):
    """A queue by its name: ``client.queue("emails")``. It needs not be made; it is there when something is sent to it.

    Messages come in the order of their priorities, and of the times at which they are due among those of one priority.
    Each is delivered at least once, and again when its visibility timeout has passed before it was settled.
    """

    def __init__(self, context: Context, launch: Launch, exchange: Exchange, name: str, body: Returns[T]) -> None:
        self._context = context
        self._launch = launch
        self._exchange = exchange
        self._body = body
        self._settler: Settler[T] = Settler(context, exchange, body, _OUTPUT)
        self.name = name
        self.dead_letters: DeadLetters[T] = DeadLetters(context, exchange.lane, self._settler)
        """What nobody receives any more: list, get, redrive and purge."""

    async def send(
        self,
        body: T,
        *,
        key: str | None = None,
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: CallersConnection | None = None,
    ) -> UUID:
        """Sends a message and gives its id; returns after its commit.

        Sends that are asked for at the same time travel together. If the connection is lost meanwhile, they are sent
        again. That makes a second message only where the first was received and acknowledged before it, and so is
        gone; with a ``key`` not even then.

        Args:
            body: What it says: anything that fits the type of the queue, or JSON where it has none.
            key: A second send with the same key makes no second message: it gives the id of the first.
            priority: Its class inside the queue.
            at: When it is due; or else ``after`` a while, otherwise now.
            after: In how long it is due.
            headers: A small map of text that goes with it.
            connection: A connection of the caller's own: the message is there if and when its transaction commits.

        Raises:
            InvalidInput: the body does not fit, or an option cannot be used; nothing is written.
            Unstorable: the body cannot be stored, or is too large; nothing is written.
            KeyConflict: the key belongs to a message with another body.
            DatabaseUnavailable: the database was away for too long; the message may have been sent.
        """
        options = self._options(priority=priority, at=at, after=after, key=key, headers=headers)
        make = partial(self._start, body, key=key)
        sent = await self._launch.one(self._exchange.lane, make, options, key=key, connection=connection)
        return sent.id

    async def send_many(
        self,
        bodies: Iterable[T],
        *,
        keys: Iterable[str] | None = None,
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: CallersConnection | None = None,
    ) -> list[UUID]:
        """Sends a message for each body, all of them or none, in one transaction; gives their ids in this order.

        ``keys`` has one for each body; the other options hold for all.

        Raises:
            As ``send``, for the first that cannot be sent.
        """
        options = self._options(priority=priority, at=at, after=after, headers=headers)
        listed = list(bodies)
        given: list[str | None] = [None] * len(listed) if keys is None else list(keys)
        if len(given) != len(listed):
            raise InvalidInput(f"send_many was given {len(listed)} bodies and {len(given)} keys: one for each")
        if keys is not None:
            mistakes = [mistake for n, key in enumerate(given) for mistake in key_mistakes(f"keys[{n}]", key or "")]
            if mistakes:
                raise InvalidInput(f"these messages cannot be sent: {'; '.join(mistakes[:10])}")

        def make(options: StartOptions) -> Iterable[Start]:
            return [self._start(body, options, key=key) for body, key in zip(listed, given, strict=True)]

        names = [self._exchange.lane] * len(listed)
        sent = await self._launch.many(names, make, options, keyed=keys is not None, connection=connection)
        return [one.id for one in sent]

    async def receive(
        self, *, batch: int = 10, visibility: timedelta = VISIBILITY, wait: timedelta = WAIT
    ) -> list[Message[T]]:
        """At most ``batch`` messages as soon as there are any; an empty list where none have come within ``wait``.

        They are invisible to others for ``visibility``, and come back by themselves after that. A receive that is
        cancelled gives back what was taken for it.

        Args:
            batch: Of 1 to 1000.
            visibility: From 1 ms to 7 days.
            wait: From zero, which does not wait, to an hour.

        Raises:
            InvalidInput: an argument cannot be used.
            DatabaseUnavailable: the database was away for too long.
        """
        count_mistake("batch", batch)
        visibility_mistake(visibility)
        span_mistake("wait", wait, least=timedelta(0), most=_LONGEST_WAIT)
        deliveries = await self._exchange.receive(batch, visibility, wait)
        return [Message(self._settler, delivery) for delivery in deliveries]

    async def ack(self, messages: Sequence[Message[T]], *, connection: CallersConnection | None = None) -> None:
        """Acknowledges many messages of this queue in one statement; each as ``Message.ack`` does.

        Raises:
            ReceiptLost: says which were not acknowledged, and why; all others are.
        """
        self._refuse_others(messages)
        await self._settler.ack(messages, connection=connection)

    async def archive(self, messages: Sequence[Message[T]], *, connection: CallersConnection | None = None) -> None:
        """Archives many messages of this queue in one statement; each as ``Message.archive`` does.

        Raises:
            ReceiptLost: says which were not archived, and why; all others are.
        """
        self._refuse_others(messages)
        await self._settler.archive(messages, None, connection=connection)

    def consume(
        self,
        *,
        batch: int = 10,
        visibility: timedelta = VISIBILITY,
        wait: timedelta = WAIT,
        concurrency: int = 1,
        name: str | None = None,
    ) -> Consumer[T]:
        """Messages one by one, for ``async for``: it receives ``batch`` of them at once, and ahead of time.

        Args:
            batch: Of 1 to 1000.
            visibility: From a second to 7 days; extended while a message is in hands.
            wait: How long one receive waits; then it asks again.
            concurrency: How many messages may be in hands at once, if your code begins a task for each: another one is
                given out when one of them is settled.
            name: What the consumer is called among the workers; a suffix makes each a new one.

        Raises:
            InvalidInput: an argument cannot be used.
        """
        count_mistake("batch", batch)
        count_mistake("concurrency", concurrency)
        span_mistake("visibility", visibility, least=_SHORTEST_CONSUMED, most=LONGEST_VISIBILITY)
        span_mistake("wait", wait, least=timedelta(0), most=_LONGEST_WAIT)
        for mistake in () if name is None else name_mistakes("the name of a consumer", name):
            raise InvalidInput(mistake)
        return Consumer(
            self._context.database,
            self._exchange,
            Settler(self._context, self._exchange, self._body, _OUTPUT),
            batch=batch,
            visibility=visibility,
            wait=wait,
            concurrency=concurrency,
            name=name,
        )

    async def peek(self, *, limit: int = 10) -> list[MessageView[T]]:
        """The first messages in the order in which they would be received, without taking them; dead letters apart."""
        count_mistake("limit", limit)
        rows = await self._context.database.call(lambda session: lines.peek(session, self._exchange.lane, count=limit))
        return [view_of(row, self._settler.read) for row in rows]

    async def purge(self) -> int:
        """Removes all messages that were sent before, also those in somebody's hands; gives how many.

        Whoever settles one of them later is refused: it is gone. Dead letters stay.
        """
        database, lane = self._context.database, self._exchange.lane
        before = await database.call(lines.read_clock)
        count = 0
        while purged := await database.call(lambda session: lines.purge(session, lane, before)):
            count += purged
        return count

    async def pause(self) -> None:
        """Nobody receives anything until it is resumed. What is sent waits, and what is in hands can be settled."""
        lane = self._exchange.lane
        await self._context.database.call(lambda session: lines.pause(session, lane, paused=True))

    async def resume(self) -> None:
        """Messages can be received again."""
        lane = self._exchange.lane
        await self._context.database.call(lambda session: lines.pause(session, lane, paused=False))
        self._context.hinter.add(f"due {lane}")

    async def configure(self, *, max_deliveries: int | None) -> None:
        """How often a message is delivered before it becomes a dead letter; None: as often as elsewhere, 20 times."""
        if max_deliveries is not None and (type(max_deliveries) is not int or not 1 <= max_deliveries <= _MOST):
            raise InvalidInput(f"max_deliveries is {max_deliveries!r}: use 1 to {_MOST}")
        lane = self._exchange.lane
        await self._context.database.call(lambda session: lines.configure(session, lane, max_deliveries=max_deliveries))

    async def metrics(self) -> QueueMetrics:
        """How the queue stands now: depth, in flight, oldest, rate and more. It counts every message."""
        (row,) = await self._context.database.call(lambda session: lines.measure(session, [self._exchange.lane]))
        return metrics_of(row)

    async def consumers(self, *, all: bool = False) -> list[ConsumerInfo]:
        """Who consumes this queue; with ``all`` also those that have stopped or were lost, as long as that is known."""
        lane = self._exchange.lane
        found = await self._context.database.call(lambda session: read_consumers(session, lane=lane, all_=all))
        return [ConsumerInfo(queue=self.name, **one._asdict()) for one in found]

    def _options(
        self,
        *,
        priority: str,
        at: datetime | None,
        after: timedelta | None,
        key: object = None,
        headers: Mapping[str, str] | None,
    ) -> StartOptions:
        if not isinstance(key, str | None):
            raise InvalidInput(f"a message to {self.name!r} cannot be sent: key is {key!r}: use text")
        options = start_options(
            f"a message to {self.name!r}",
            lane="default",
            priority=priority,
            at=at,
            after=after,
            tags=None,
            timeout=None,
            key=key,
            headers=headers,
        )
        return replace(options, lane=self._exchange.lane)

    def _start(self, body: T, options: StartOptions, *, key: str | None) -> Start:
        text, _ = self._body.encode(body)
        stored = options_with(None if key is None else _KEYED, options.headers)
        digest = None if key is None else digest_of(canonical(text))
        text = self._context.seal.close(text, what=f"a message to {self.name!r}")
        lane = self._exchange.lane
        manner = Manner(RunKind.MESSAGE, lane, lane, options.priority, options.due, options.after, None, None)
        return Start(self._context.encoder.next_id(), text, manner, key, digest, stored)

    def _refuse_others(self, messages: Sequence[Message[T]]) -> None:
        ids = {message.id for message in messages}
        if len(ids) < len(messages):
            raise InvalidInput("a message stands twice among these: settle it once")
        for message in messages:
            if message.queue != self.name:
                raise InvalidInput(f"message {message.id} is one of {message.queue!r}, and this is queue {self.name!r}")

    def __repr__(self) -> str:
        return f"<queue {self.name!r}>"


def count_mistake(name: str, count: object) -> None:
    """Refuses what is no number of messages."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_MESSAGES:
        raise InvalidInput(f"{name} is {count!r}: use 1 to {MOST_MESSAGES}")
