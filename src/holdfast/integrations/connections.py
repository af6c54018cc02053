"""Connections that are used by one at a time, and kept for the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

C = TypeVar("C")


class Connections(Generic[C]):
    """Opens connections as they are needed, and hands out first the one that came back last.

    Args:
        open: opens one.
        usable: whether one that came back, or lay here, can be used.
        drop: lets go of one at once.
    """

    def __init__(
        self, open: Callable[[], Awaitable[C]], usable: Callable[[C], bool], drop: Callable[[C], Awaitable[None]]
    ) -> None:
        self._open = open
        self._usable = usable
        self._drop = drop
        self._free: list[C] = []
        self._closed = False

    async def take(self) -> C:
        """One that nobody else uses until it is given back."""
        while self._free:
            connection = self._free.pop()
            if self._usable(connection):
                return connection
            await self._drop(connection)
        return await self._open()

    async def give_back(self, connection: C) -> None:
        """For the next one; dropped where it cannot be used again."""
        if self._closed or not self._usable(connection):
            await self._drop(connection)
        else:
            self._free.append(connection)

    async def close(self) -> None:
        """Drops those that lie here; those in use are dropped when they come back."""
        self._closed = True
        while self._free:
            await self._drop(self._free.pop())
