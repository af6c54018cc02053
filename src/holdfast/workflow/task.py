"""The tasks of a workflow: CPython's own, with a place in line that is the same on every replay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from holdfast.workflow.cpython import waiter_of

T = TypeVar("T")


class WorkflowTask(asyncio.Task[T]):
    """A task of a workflow.

    asyncio keeps tasks in sets (``wait``, ``as_completed``, ``TaskGroup``), whose order follows the hash. That of an
    ordinary task is its address in memory; this one's is given, so that every replay sees the same order.
    """

    __slots__ = ("_hash", "context")

    def __init__(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str,
        context: Context,
        order: int,
        **options: Any,
    ) -> None:
        self._hash = order
        self.context = context
        super().__init__(coro, loop=loop, name=name, context=context, **options)

    def __hash__(self) -> int:
        return self._hash

    def forget(self) -> None:
        """Nobody will finish it: it goes silently, and lets go of what it waits for and of what waits for it."""
        self._log_destroy_pending = False
        self.cancel()
        _unhook(self)
        waited_for = waiter_of(self)
        if waited_for is not None:
            _unhook(waited_for)


def _unhook(future: asyncio.Future[Any]) -> None:
    """Takes away who is told when it is done: they hold each other, and would live until the next collection."""
    for callback, _ in future._callbacks or ():  # noqa: SLF001
        future.remove_done_callback(callback)
