"""The verbs of a message, blocking. Written by `./dev write` from holdfast.client.message: change it there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from holdfast.client.message import AT_ONCE
from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.exchange import Delivery
    from holdfast.client.message import Message
    from holdfast.core.priority import PriorityName
    from holdfast.core.queue import Receipt
    from holdfast.integrations.catalogue import BlockingConnection

T = TypeVar("T")


class BlockingMessage(Generic[T]):
    """One delivery of a message, for code that is not async.

    Every verb of :class:`Message`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("__weakref__", "_bridge", "message")

    def __init__(self, bridge: Bridge[Client], message: Message[T]) -> None:
        self._bridge = bridge
        self.message = message
        """The same, for code that is async."""

    @property
    def id(self) -> UUID:
        """The id of the message."""
        return self.message.id

    @property
    def body(self) -> T:
        """What was sent."""
        return self.message.body

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self.message.queue

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included, since it was sent or last redriven."""
        return self.message.deliveries

    @property
    def priority(self) -> PriorityName:
        """Its class inside the queue."""
        return self.message.priority

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by the database's clock."""
        return self.message.sent_at

    @property
    def headers(self) -> Mapping[str, str]:
        """What was sent with it."""
        return self.message.headers

    @property
    def is_in_hands(self) -> bool:
        """Whether it is not settled."""
        return self.message.is_in_hands

    @property
    def delivery(self) -> Delivery:
        """This delivery, as it was received."""
        return self.message.delivery

    @property
    def receipt(self) -> Receipt:
        """Its id and its hold: what the database knows this delivery by."""
        return self.message.receipt

    @property
    def ours_until(self) -> float:
        """On this process's monotonic clock: so long nobody else can have it."""
        return self.message.ours_until

    @property
    def settled(self) -> str | None:
        """What became of it here."""
        return self.message.settled

    @property
    def out_of_hands(self) -> bool:
        """Whether somebody else has it, or it was settled in a transaction of the caller's."""
        return self.message.out_of_hands

    def _on(self, client: Client) -> Message[T]:
        return self.message

    def __repr__(self) -> str:
        return repr(self.message)

    def ack(self, *, connection: BlockingConnection | None = None) -> None:
        """It is done with: it is gone for good."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda client: self._on(client).ack(connection=connection))

    def archive(self, output: object = None, *, connection: BlockingConnection | None = None) -> None:
        """As ``ack``, and it is kept, as a run that has succeeded with ``output``, for as long as results are kept."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda client: self._on(client).archive(output, connection=connection))

    def release(self, *, delay: timedelta = AT_ONCE) -> None:
        """Gives it back: the next delivery may begin after ``delay``."""
        self._bridge.call(lambda client: self._on(client).release(delay=delay))

    def extend(self, visibility: timedelta) -> None:
        """Keeps it invisible to others for so long from now, however much was left."""
        self._bridge.call(lambda client: self._on(client).extend(visibility))

    def dead(self, reason: str) -> None:
        """Makes it a dead letter: nobody gets it until it is redriven."""
        self._bridge.call(lambda client: self._on(client).dead(reason))
