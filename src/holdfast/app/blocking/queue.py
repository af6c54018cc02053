"""The verbs of a queue, blocking. Written by `./dev write` from holdfast.client.queue: change it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from uuid import UUID

from holdfast.app.blocking.consumer import BlockingConsumer
from holdfast.app.blocking.dead_letters import BlockingDeadLetters
from holdfast.app.blocking.message import BlockingMessage
from holdfast.client.queue import VISIBILITY, WAIT
from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.consumer_info import ConsumerInfo
    from holdfast.client.queue import Queue
    from holdfast.client.queue_view import MessageView, QueueMetrics
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import BlockingConnection

T = TypeVar("T")


class BlockingQueues:
    """Gives queues by their names: ``client.queue("emails")``; ``client.queue("emails", Email)`` has typed bodies."""

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    @overload
    def __call__(self, name: str, body: type[T], /) -> BlockingQueue[T]: ...
    @overload
    def __call__(self, name: str, body: None = None, /) -> BlockingQueue[Any]: ...
    def __call__(self, name: str, body: Any = None, /) -> BlockingQueue[Any]:
        """The queue of this name; nothing is looked up or made."""
        return BlockingQueue(self._bridge, name, body)

    def list(self) -> Sequence[QueueMetrics]:
        """How every queue stands that has messages or consumers, is paused or was configured, by their names."""
        return self._bridge.call(lambda client: client.queue.list())


class BlockingQueue(Generic[T]):
    """A queue by its name: ``client.queue("emails")``, for code that is not async.

    Every verb of :class:`Queue`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], name: str, body: type[T] | None) -> None:
        self._bridge = bridge
        self._body = body
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def dead_letters(self) -> BlockingDeadLetters[T]:
        """What nobody receives any more."""
        return BlockingDeadLetters(self._bridge, self._on)

    def _on(self, client: Client) -> Queue[T]:
        return cast("Queue[T]", client.queue(self._name, cast("Any", self._body)))

    def send(
        self,
        body: T,
        *,
        key: str | None = None,
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> UUID:
        """Sends a message and gives its id; returns after its commit."""
        connection = of_this_thread(connection)
        return self._bridge.call(
            lambda client: self._on(client).send(
                body, key=key, priority=priority, at=at, after=after, headers=headers, connection=connection
            )
        )

    def send_many(
        self,
        bodies: Iterable[T],
        *,
        keys: Iterable[str] | None = None,
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: BlockingConnection | None = None,
    ) -> list[UUID]:
        """Sends a message for each body, all of them or none, in one transaction; gives their ids in this order."""
        connection = of_this_thread(connection)
        return self._bridge.call(
            lambda client: self._on(client).send_many(
                bodies, keys=keys, priority=priority, at=at, after=after, headers=headers, connection=connection
            )
        )

    def receive(
        self, *, batch: int = 10, visibility: timedelta = VISIBILITY, wait: timedelta = WAIT
    ) -> list[BlockingMessage[T]]:
        """At most ``batch`` messages as soon as there are any; an empty list where none have come within ``wait``."""
        return [
            BlockingMessage(self._bridge, one)
            for one in self._bridge.call(
                lambda client: self._on(client).receive(batch=batch, visibility=visibility, wait=wait)
            )
        ]

    def ack(self, messages: Sequence[BlockingMessage[T]], *, connection: BlockingConnection | None = None) -> None:
        """Acknowledges many messages of this queue in one statement; each as ``Message.ack`` does."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda client: self._on(client).ack([one.message for one in messages], connection=connection))

    def archive(self, messages: Sequence[BlockingMessage[T]], *, connection: BlockingConnection | None = None) -> None:
        """Archives many messages of this queue in one statement; each as ``Message.archive`` does."""
        connection = of_this_thread(connection)
        self._bridge.call(
            lambda client: self._on(client).archive([one.message for one in messages], connection=connection)
        )

    def consume(
        self,
        *,
        batch: int = 10,
        visibility: timedelta = VISIBILITY,
        wait: timedelta = WAIT,
        concurrency: int = 1,
        name: str | None = None,
    ) -> BlockingConsumer[T]:
        """Messages one by one, for ``async for``: it receives ``batch`` of them at once, and ahead of time."""
        return BlockingConsumer(
            self._bridge,
            lambda client: self._on(client).consume(
                batch=batch, visibility=visibility, wait=wait, concurrency=concurrency, name=name
            ),
        )

    def peek(self, *, limit: int = 10) -> list[MessageView[T]]:
        """The first messages in the order in which they would be received, without taking them; dead letters apart."""
        return self._bridge.call(lambda client: self._on(client).peek(limit=limit))

    def purge(self) -> int:
        """Removes all messages that were sent before, also those in somebody's hands; gives how many."""
        return self._bridge.call(lambda client: self._on(client).purge())

    def pause(self) -> None:
        """Nobody receives anything until it is resumed."""
        self._bridge.call(lambda client: self._on(client).pause())

    def resume(self) -> None:
        """Messages can be received again."""
        self._bridge.call(lambda client: self._on(client).resume())

    def configure(self, *, max_deliveries: int | None) -> None:
        """How often a message is delivered before it becomes a dead letter; None: as often as elsewhere, 20 times."""
        self._bridge.call(lambda client: self._on(client).configure(max_deliveries=max_deliveries))

    def metrics(self) -> QueueMetrics:
        """How the queue stands now: depth, in flight, oldest, rate and more."""
        return self._bridge.call(lambda client: self._on(client).metrics())

    def consumers(self, *, all: bool = False) -> list[ConsumerInfo]:
        """Who consumes this queue; with ``all`` also those that have stopped or were lost."""
        return self._bridge.call(lambda client: self._on(client).consumers(all=all))
