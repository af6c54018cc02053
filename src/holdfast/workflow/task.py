"""The tasks of a workflow: CPython's own, with a place in line that is the same on every replay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

from holdfast.workflow.cpython import must_cancel, waiter_of

T = TypeVar("T")


class Refuge:
    """A place in the code that cancels from outside of it do not reach; ``outer`` is the one that it lies in."""

    __slots__ = ("outer",)

    def __init__(self, outer: Refuge | None) -> None:
        self.outer = outer

    def holds(self, place: Refuge | None) -> bool:
        """Whether ``place`` is this one, or lies in it."""
        while place is not None and place is not self:
            place = place.outer
        return place is self


refuge: ContextVar[Refuge | None] = ContextVar("holdfast_refuge", default=None)
"""Where the code is: inherited by the tasks, timers and callbacks that it makes there."""


class WorkflowTask(asyncio.Task[T]):
    """A task of a workflow.

    asyncio keeps tasks in sets (``wait``, ``as_completed``, ``TaskGroup``), whose order follows the hash. That of an
    ordinary task is its address in memory; this one's is given, so that every replay sees the same order.

    In a refuge it puts off every cancel that comes from outside of it.
    """

    __slots__ = ("_hash", "_put_off", "_refuges", "context")

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
        self._refuges: list[Refuge] | None = None
        super().__init__(coro, loop=loop, name=name, context=context, **options)

    def __hash__(self) -> int:
        return self._hash

    def cancel(self, msg: Any = None) -> bool:
        if not self._refuges or self._refuges[-1].holds(caller := refuge.get()):
            return super().cancel(msg)
        if self.done():
            return False
        self._put_off.append((caller, msg))
        return True

    @property
    def cancel_pending(self) -> bool:
        """Whether it was cancelled and has not been told yet."""
        return must_cancel(self)

    def enter(self, place: Refuge) -> None:
        """It is in a refuge from now on."""
        if self._refuges is None:
            self._refuges = []
            self._put_off: list[tuple[Refuge | None, Any]] = []
        self._refuges.append(place)

    def leave(self, place: Refuge) -> bool:
        """It leaves the refuge that it entered last; True if a cancel that was put off takes effect now."""
        assert self._refuges
        assert self._refuges[-1] is place
        self._refuges.pop()
        took_effect = False
        put_off, self._put_off = self._put_off, []
        for caller, msg in put_off:
            if self._refuges and not self._refuges[-1].holds(caller):
                self._put_off.append((caller, msg))
            else:
                took_effect = super().cancel(msg)
        return took_effect

    def forget(self) -> None:
        """Nobody will finish it: it goes silently, and lets go of what it waits for and of what waits for it."""
        self._log_destroy_pending = False
        super().cancel()
        _unhook(self)
        waited_for = waiter_of(self)
        if waited_for is not None:
            _unhook(waited_for)


def _unhook(future: asyncio.Future[Any]) -> None:
    """Takes away who is told when it is done: they hold each other, and would live until the next collection."""
    for callback, _ in future._callbacks or ():  # noqa: SLF001
        future.remove_done_callback(callback)
