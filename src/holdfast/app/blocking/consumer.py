"""A consumer, for code that is not async."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from holdfast.app.blocking.message import BlockingMessage

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.consumer import Consumer
    from holdfast.client.message import Message

T = TypeVar("T")


class BlockingConsumer(Generic[T]):
    """Gives the messages of a queue one by one: ``for message in queue.consume(): ...``; see :class:`Consumer`.

    Its heartbeats are sent from another thread: code that blocks does not keep them from being sent.
    """

    def __init__(self, bridge: Bridge[Client], make: Callable[[Client], Consumer[T]]) -> None:
        self._bridge = bridge
        self._make = make
        self._consumer: Consumer[T] | None = None
        self._messages: AsyncIterator[Message[T]] | None = None

    def __iter__(self) -> Iterator[BlockingMessage[T]]:
        try:
            while (message := self._bridge.call(self._next)) is not None:
                yield BlockingMessage(self._bridge, message)
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Gives out no more: what iterates over it ends after the message at hand."""

        async def stop(_: Client) -> None:
            if self._consumer is not None:
                self._consumer.stop()

        self._bridge.call(stop)

    def close(self) -> None:
        """Gives back what was received and not given out, and leaves. Closing twice is closing once."""
        consumer = self._consumer
        if consumer is not None:
            self._bridge.call(lambda _: consumer.__aexit__(None, None, None))

    async def _next(self, client: Client) -> Message[T] | None:
        if self._messages is None:
            self._consumer = self._make(client)
            self._messages = aiter(self._consumer)
        return await anext(self._messages, None)
