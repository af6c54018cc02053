"""Waiting until what the code knows is as it should be."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context, copy_context
from datetime import timedelta

from holdfast.workflow.current import workflow_loop
from holdfast.workflow.signal import check_timeout

_PLAIN = "wait_until() takes a function that is not async and needs no arguments, not {!r}"


class Condition:
    """Something that the code waits for to be true, looked at whenever it has become quiet."""

    __slots__ = ("_context", "_predicate", "future")

    def __init__(self, predicate: Callable[[], object], future: asyncio.Future[None], context: Context) -> None:
        self._predicate = predicate
        self._context = context
        self.future = future

    def look(self) -> bool:
        """Whether nobody needs to look any more: it is true, it cannot be told, or nobody waits."""
        if self.future.done():
            return True
        try:
            found = self._context.run(self._predicate)
            if inspect.iscoroutine(found):
                found.close()
                raise TypeError(_PLAIN.format(self._predicate))
            if not found:
                return False
        except StopIteration as error:
            self.future.set_exception(RuntimeError(f"the predicate of wait_until() raised {error!r}"))
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(None)
        return True


async def wait_until(predicate: Callable[[], object], timeout: timedelta | None = None) -> None:
    """Waits until ``predicate()`` is true: it is asked now, and after each outcome that the run has seen.

    It is an ordinary function without side effects, over what the code of this run knows, such as a list that another
    task of it fills with the signals that come. What it raises is raised here.

    Raises:
        TimeoutError: it was not true within ``timeout``.
        TypeError: it cannot be asked, or ``timeout`` is not a timedelta.
    """
    loop = workflow_loop("wait_until()", "wait for the condition itself")
    if not callable(predicate):
        raise TypeError(_PLAIN.format(predicate))
    check_timeout("wait_until()", timeout)
    future: asyncio.Future[None] = loop.create_future()
    if loop.dropped:
        await future
    condition = Condition(predicate, future, copy_context())
    if condition.look():
        await asyncio.sleep(0)
        return future.result()
    loop.conditions.append(condition)
    timer = None
    if timeout is not None:
        timer = loop.set_timer(loop.in_time(timeout), _expire, future, timeout)
    try:
        return await future
    finally:
        if condition in loop.conditions:
            loop.conditions.remove(condition)
        if timer is not None:
            timer.cancel()
        # An error that is raised here refers to this frame, and the future to the error.
        del future, condition, timer


def _expire(future: asyncio.Future[None], timeout: timedelta) -> None:
    if not future.done():
        future.set_exception(TimeoutError(f"what wait_until() waits for did not come true within {timeout}"))
