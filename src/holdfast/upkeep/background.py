"""The background: what is done for the whole database, now and then, over a connection of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast.store.link import Link

if TYPE_CHECKING:
    from holdfast.store.statements import Statements


class Background(ABC):
    """Something that goes on beside everything else for as long as the block lasts.

    It may be cut off anywhere: what it does at once is done in one transaction, or not at all.

    Args:
        dsn: Where the database is.
        statements: The statements for its schema.
        application: The connection's name in ``pg_stat_activity``.
    """

    def __init__(self, *, dsn: str, statements: Statements, application: str) -> None:
        self._link = Link(dsn, statements, application=application)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        name = f"holdfast {type(self).__name__.lower()}"
        self._task = asyncio.get_running_loop().create_task(self._run(), name=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._link.close()

    @abstractmethod
    async def _run(self) -> None:
        """Goes on until it is cancelled."""
