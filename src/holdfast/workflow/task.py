"""The tasks of a workflow: CPython's own, with a place in line that is the same on every replay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

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
        """Nobody will finish it: it says nothing when it goes, and lets go of what it waits for."""
        self._log_destroy_pending = False
        self.cancel()
