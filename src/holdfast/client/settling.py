"""Settling: what becomes of messages that were received, each by its receipt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdfast.core.errors import InvalidInput, ReceiptLost
from holdfast.core.queue import queue_of
from holdfast.store import queues as store
from holdfast.store.queues import Settlement, Settling

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client.context import Context
    from holdfast.client.exchange import Exchange
    from holdfast.client.message import Message
    from holdfast.core.queue import Lost
    from holdfast.core.returns import Returns
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session

T = TypeVar("T")

LONGEST_VISIBILITY = timedelta(days=7)
LONGEST_DELAY = timedelta(days=365_000)
_LONGEST_REASON = 2000


class Settler(Generic[T]):
    """Opens and settles the messages of one queue."""

    def __init__(self, context: Context, exchange: Exchange, body: Returns[T], output: Returns[Any]) -> None:
        self._context = context
        self._exchange = exchange
        self._body = body
        self._output = output
        self.queue = queue_of(exchange.lane)
        self.handled = 0
        """How many were acknowledged or archived."""
        self.settled: Callable[[], None] | None = None
        """Called when some were settled."""

    def read(self, text: str) -> T:
        """The body of a message.

        Raises:
            InvalidInput: it does not fit the type of the queue.
            Unreadable: it was written with a codec that is not configured here.
        """
        return self._body.decode(self._context.seal.open(text))

    async def ack(self, messages: Sequence[Message[T]], *, connection: CallersConnection | None = None) -> None:
        """They are done with, and nothing of them stays."""
        await self._settle(messages, Settling.ACK, connection=connection)

    async def archive(
        self, messages: Sequence[Message[T]], output: object, *, connection: CallersConnection | None = None
    ) -> None:
        """They are done with, and their results stay."""
        text = None
        if output is not None:
            text = self._context.seal.close(self._output.encode(output)[0], what="what a message is archived with")
        await self._settle(messages, Settling.ARCHIVE, text=text, connection=connection)

    async def release(self, messages: Sequence[Message[T]], delay: timedelta) -> None:
        """They are given back."""
        span_mistake("delay", delay, least=timedelta(0), most=LONGEST_DELAY)
        await self._settle(messages, Settling.RELEASE, span=delay)

    async def dead(self, messages: Sequence[Message[T]], reason: str) -> None:
        """They become dead letters."""
        _reason_mistake(reason)
        await self._settle(messages, Settling.DEAD, text=reason.encode(errors="replace").decode())

    async def extend(self, messages: Sequence[Message[T]], visibility: timedelta) -> None:
        """They stay invisible to others for so long from now."""
        visibility_mistake(visibility)
        lost = await self.try_to_extend(messages, visibility)
        if lost:
            raise ReceiptLost(lost, queue=self.queue)

    async def try_to_extend(self, messages: Sequence[Message[T]], visibility: timedelta) -> dict[UUID, Lost]:
        """As ``extend``, and gives what could not be extended."""
        if not messages:
            return {}
        _refuse_settled(messages)
        until = time.monotonic() + visibility.total_seconds()
        offered = [Settlement(message.receipt, Settling.EXTEND, visibility) for message in messages]
        lost = await self._exchange.settle(offered, _ours_until(messages))
        for message in messages:
            if message.id in lost:
                message.out_of_hands = True
            else:
                message.ours_until = until
        return lost

    async def _settle(
        self,
        messages: Sequence[Message[T]],
        how: Settling,
        *,
        span: timedelta | None = None,
        text: str | None = None,
        connection: CallersConnection | None = None,
    ) -> None:
        if not messages:
            return
        _refuse_settled(messages)
        settlements = [Settlement(message.receipt, how, span, text) for message in messages]
        if connection is None:
            lost = await self._settle_here(messages, settlements, how)
        else:

            async def work(session: Session) -> dict[UUID, Lost]:
                return await store.settle(session, self._exchange.lane, settlements)

            # Not before that transaction is committed are they settled: this process does not know when that is.
            lost = await self._context.database.call(work, connection)
            for message in messages:
                message.out_of_hands = True
        if how in (Settling.ACK, Settling.ARCHIVE):
            self.handled += len(messages) - len(lost)
        if self.settled is not None:
            self.settled()
        if lost:
            raise ReceiptLost(lost, queue=self.queue)

    async def _settle_here(
        self, messages: Sequence[Message[T]], settlements: Sequence[Settlement], how: Settling
    ) -> dict[UUID, Lost]:
        for message in messages:
            message.settled = how.value
        try:
            lost = await self._exchange.settle(settlements, _ours_until(messages))
        except BaseException:
            # Not done, or not known to be done, also where the caller was cancelled: it may be tried again.
            for message in messages:
                message.settled = None
            raise
        for message in messages:
            if message.id in lost:
                message.settled, message.out_of_hands = None, True
        return lost


def _refuse_settled(messages: Sequence[Message[Any]]) -> None:
    for message in messages:
        if message.settled is not None:
            raise InvalidInput(f"message {message.id} was settled before (with {message.settled}): settle it once")


def _reason_mistake(reason: object) -> None:
    if not isinstance(reason, str) or not 1 <= len(reason) <= _LONGEST_REASON or "\0" in reason:
        raise InvalidInput(f"reason is {reason!r}: say in 1 to {_LONGEST_REASON} characters what is wrong with it")


def _ours_until(messages: Sequence[Message[Any]]) -> float:
    return min(message.ours_until for message in messages)


def visibility_mistake(visibility: object) -> None:
    """Refuses what is no visibility timeout."""
    span_mistake("visibility", visibility, least=timedelta(milliseconds=1), most=LONGEST_VISIBILITY)


def span_mistake(name: str, span: object, *, least: timedelta, most: timedelta) -> None:
    """Refuses what is no span of time, or too short, or too long.

    Raises:
        InvalidInput: says so.
    """
    if not isinstance(span, timedelta):
        raise InvalidInput(f"{name} is {span!r}: use a timedelta")
    if not least <= span <= most:
        raise InvalidInput(f"{name} is {span}: use {least} to {most}")
