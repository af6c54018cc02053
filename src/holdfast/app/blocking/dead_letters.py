"""The verbs of dead letters, blocking. Written by `./dev write` from holdfast.client.dead_letters: change it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.dead_letters import DeadLetter
    from holdfast.client.listing import Page
    from holdfast.client.queue import Queue

T = TypeVar("T")


class BlockingDeadLetters(Generic[T]):
    """The dead letters of one queue: ``queue.dead_letters``, for code that is not async.

    Every verb of :class:`DeadLetters`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client], on: Callable[[Client], Queue[T]]) -> None:
        self._bridge = bridge
        self._on = on

    def list(self, *, after: str | None = None, limit: int = 100) -> Page[DeadLetter[T]]:
        """One page of them, those first that died first; ``after`` is the ``next`` of the page before."""
        return self._bridge.call(lambda client: self._on(client).dead_letters.list(after=after, limit=limit))

    def get(self, message_id: UUID | str) -> DeadLetter[T]:
        """The dead letter with this id."""
        return self._bridge.call(lambda client: self._on(client).dead_letters.get(message_id))

    def redrive(self, ids: Iterable[UUID | str] | None = None) -> int:
        """Makes them due again, all that there are now or these; gives how many."""
        return self._bridge.call(lambda client: self._on(client).dead_letters.redrive(ids))

    def purge(self, ids: Iterable[UUID | str] | None = None) -> int:
        """Removes them for good, all that there are now or these; gives how many."""
        return self._bridge.call(lambda client: self._on(client).dead_letters.purge(ids))
