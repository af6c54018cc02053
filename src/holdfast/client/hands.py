"""The hands of a consumer: the messages that its user has, and that are not settled."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client.message import Message

T = TypeVar("T")


class Hands(Generic[T]):
    """Knows of messages for as long as anybody else does; tells when one of them is let go of."""

    def __init__(self, emptied: Callable[[], None]) -> None:
        self._emptied = emptied
        self._known: set[weakref.ref[Message[T]]] = set()

    def take(self, message: Message[T]) -> None:
        """This one is given out."""
        self._known.add(weakref.ref(message, self._forget))

    def messages(self) -> list[Message[T]]:
        """Those that are not settled."""
        known = (one() for one in self._known)
        return [message for message in known if message is not None and message.is_in_hands]

    def count(self) -> int:
        """How many are not settled."""
        return len(self.messages())

    def lose(self, lost: Collection[UUID]) -> None:
        """Somebody else has these."""
        self._known = {one for one in self._known if (message := one()) is not None and message.id not in lost}
        self._emptied()

    def let_go(self) -> None:
        """Nobody here has anything any more."""
        self._known.clear()

    def _forget(self, one: weakref.ref[Message[T]]) -> None:
        self._known.discard(one)
        self._emptied()
