"""What must finish: a part of a workflow that a cancel does not interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from holdfast.workflow.current import workflow_loop
from holdfast.workflow.task import Refuge, WorkflowTask, refuge

T = TypeVar("T")


class Shield:
    """``async with shield():`` a cancel of the task from outside is delivered when the block has ended.

    With ``comes_in`` at the very end of it, otherwise with the next ``await``.
    """

    __slots__ = ("_comes_in", "_place", "_task", "_token")

    def __init__(self, *, comes_in: bool = True) -> None:
        self._comes_in = comes_in
        self._task: WorkflowTask[Any] | None = None
        self._place: Refuge | None = None
        self._token: Token[Refuge | None] | None = None

    async def __aenter__(self) -> None:
        loop = workflow_loop("shield()", "use asyncio.shield()")
        if self._task is not None:
            raise RuntimeError("a shield() is for one block: call it anew for each")
        task = cast("WorkflowTask[Any]", asyncio.current_task(loop))
        self._task = task
        if task.cancel_pending:
            await asyncio.sleep(0)  # a cancel that came before is not kept out
        self._place = Refuge(refuge.get())
        self._token = refuge.set(self._place)
        task.enter(self._place)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, place, token = self._task, self._place, self._token
        assert task is not None
        assert place is not None
        assert token is not None
        refuge.reset(token)
        if task.leave(place) and kind is None and self._comes_in:
            await asyncio.sleep(0)  # here what was kept out comes in


@overload
def shield() -> Shield: ...
@overload
def shield(awaitable: Awaitable[T], /) -> Coroutine[Any, Any, T]: ...
def shield(awaitable: Awaitable[T] | None = None, /) -> Shield | Coroutine[Any, Any, T]:
    """Keeps a cancel away from a part of a workflow: a block, or one awaitable.

    ``async with shield(): ...``, or ``await shield(settle(order))``. A request to cancel, the run's timeout, and
    whatever else cancels the task from outside of the block, take effect when the block has ended, as a
    ``CancelledError`` there; if the block raises, at the next ``await``. Inside of it everything works as ever: its own
    timeouts, its task groups. Only terminating the run interrupts it.

    Raises:
        RuntimeError: it is not workflow code that asks.
    """
    return Shield() if awaitable is None else _shielded(awaitable)


async def _shielded(awaitable: Awaitable[T]) -> T:
    async with Shield():
        return await awaitable
