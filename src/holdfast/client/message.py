"""A message in the hands of a consumer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from uuid import UUID

from holdfast.client.exchange import Delivery
from holdfast.core.headers import headers_of
from holdfast.core.priority import Priority

if TYPE_CHECKING:
    from holdfast.client.settling import Settler
    from holdfast.core.priority import PriorityName
    from holdfast.core.queue import Receipt
    from holdfast.integrations.catalogue import CallersConnection

T = TypeVar("T")

_NOT_READ = object()
AT_ONCE = timedelta(0)


class Message(Generic[T]):
    """One delivery of a message: nobody else gets it until it is settled or its visibility timeout has passed.

    It is settled once, with ``ack``, ``archive``, ``release`` or ``dead``. Each of them returns when that is durable,
    and is refused where somebody else has received the message since: see ReceiptLost.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_settler",
        "_taken",
        "id",
        "ours_until",
        "out_of_hands",
        "receipt",
        "settled",
    )

    def __init__(self, settler: Settler[T], delivery: Delivery) -> None:
        self._settler = settler
        self._taken = delivery.taken
        self._body: object = _NOT_READ
        self.receipt: Receipt = delivery.taken.receipt
        """Its id and its hold: what the database knows this delivery by."""
        self.id: UUID = delivery.taken.receipt.run_id
        self.ours_until = delivery.ours_until
        """On this process's monotonic clock: so long nobody else can have it."""
        self.settled: str | None = None
        """What became of it here."""
        self.out_of_hands = False
        """Whether somebody else has it, or it was settled in a transaction of the caller's."""

    @property
    def body(self) -> T:
        """What was sent.

        Raises:
            InvalidInput: it does not fit the type of the queue.
            Unreadable: it was written with a codec that is not configured here.
        """
        if self._body is _NOT_READ:
            self._body = self._settler.read(self._taken.input)
        return cast("T", self._body)

    @property
    def is_in_hands(self) -> bool:
        """Whether it is not settled."""
        return self.settled is None and not self.out_of_hands

    @property
    def delivery(self) -> Delivery:
        """This delivery, as it was received."""
        return Delivery(self._taken, self.ours_until)

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self._settler.queue

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included, since it was sent or last redriven."""
        return self._taken.deliveries

    @property
    def priority(self) -> PriorityName:
        """Its class inside the queue."""
        return Priority(self._taken.priority).word

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by the database's clock."""
        return self._taken.created_at

    @property
    def headers(self) -> Mapping[str, str]:
        """What was sent with it."""
        return headers_of(self._taken.options)

    async def ack(self, *, connection: CallersConnection | None = None) -> None:
        """It is done with: it is gone for good. One that was sent with a key keeps its row, so that the key holds.

        With ``connection`` it is so if and when the caller's transaction there commits, together with what else that
        has written.

        Raises:
            ReceiptLost: somebody else has received it since, or it is gone.
            DatabaseUnavailable: the database was away for too long; it may have been acknowledged.
        """
        await self._settler.ack([self], connection=connection)

    async def archive(self, output: object = None, *, connection: CallersConnection | None = None) -> None:
        """As ``ack``, and it is kept, as a run that has succeeded with ``output``, for as long as results are kept.

        Raises:
            ReceiptLost, DatabaseUnavailable: as ``ack``.
            Unstorable: the output cannot be stored, or is too large.
        """
        await self._settler.archive([self], output, connection=connection)

    async def release(self, *, delay: timedelta = AT_ONCE) -> None:
        """Gives it back: the next delivery may begin after ``delay``.

        Raises:
            ReceiptLost, DatabaseUnavailable: as ``ack``.
        """
        await self._settler.release([self], delay)

    async def extend(self, visibility: timedelta) -> None:
        """Keeps it invisible to others for so long from now, however much was left.

        Raises:
            ReceiptLost, DatabaseUnavailable: as ``ack``.
        """
        await self._settler.extend([self], visibility)

    async def dead(self, reason: str) -> None:
        """Makes it a dead letter: nobody gets it until it is redriven.

        Raises:
            ReceiptLost, DatabaseUnavailable: as ``ack``.
        """
        await self._settler.dead([self], reason)

    def __repr__(self) -> str:
        return f"<message {self.id} of {self.queue!r}, delivery {self.deliveries}>"
