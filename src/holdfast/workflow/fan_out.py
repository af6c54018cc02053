"""A fan-out: one call for each of many items, at most so many of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from operator import length_hint
from typing import Any, Generic, Literal, TypeVar, cast, overload

from holdfast.workflow.activity import Activity
from holdfast.workflow.cpython import running_loop
from holdfast.workflow.foresight import Collector
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.step import Step

T = TypeVar("T")
R = TypeVar("R")

_NONE: Any = object()


@overload
async def fan_out(
    activity: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int | None = None,
    key: Callable[[T], str] | None = None,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...
@overload
async def fan_out(
    activity: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int | None = None,
    key: Callable[[T], str] | None = None,
    return_exceptions: Literal[True],
) -> list[R | Exception]: ...
async def fan_out(
    activity: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int | None = None,
    key: Callable[[T], str] | None = None,
    return_exceptions: bool = False,
) -> list[R] | list[R | Exception]:
    """Calls ``activity`` with each item, and gives what came of each, in the order of the items.

    At most ``limit`` calls are under way at a time, and items are taken as they are needed; without a limit all are
    handed over at once. With ``key`` each call is known in the journal by ``name:key(item)#n``, so that a later version
    of the code may put the items into another order. Any async function of one argument can take the place of the
    activity, without ``key``.

    The first call that fails ends it: calls under way are cancelled, none is begun any more, and its error is raised.
    With ``return_exceptions`` all are called, and errors stand in the places of results.

    Raises:
        ValueError: ``limit`` is not a number from 1 up.
        TypeError: ``key`` was given for what is not an activity.
        DefinitionError: what ``key`` gave cannot be a key.
        InvalidInput: an item does not fit the activity.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"fan_out() takes a limit from 1 up, or none, not {limit!r}")
    given: object = activity
    if key is not None and not isinstance(given, Activity):
        raise TypeError(f"fan_out() takes key= for activities only, not for {activity!r}")
    loop = running_loop()
    if type(loop) is WorkflowLoop and isinstance(given, Activity):
        known: Activity[..., Any] = given  # pyright: ignore[reportUnknownVariableType]
        return await _Fan(loop, known, iter(items), limit, key, lenient=return_exceptions).run()
    return await _by_tasks(activity, items, limit, lenient=return_exceptions)


class _Fan(Collector, Generic[T]):
    """The calls of an activity, without a task for any of them: what a call gave begins the next one."""

    def __init__(
        self,
        loop: WorkflowLoop,
        activity: Activity[..., Any],
        items: Iterator[T],
        limit: int | None,
        key: Callable[[T], str] | None,
        *,
        lenient: bool,
    ) -> None:
        self._loop = loop
        self._activity = activity
        self._items = items
        self._limit = limit
        self._key = key
        self._lenient = lenient
        self._found: list[Any] = []
        self._open: dict[int, Step] = {}
        self._exhausted = False
        self._over: asyncio.Future[None] = loop.create_future()

    async def run(self) -> list[Any]:
        """What came of all."""
        if self._loop.dropped:
            await self._over
        try:
            self._begin()
            await self._over
        finally:
            self._stop()
        return self._found

    def _begin(self) -> None:
        """Calls for as many items as may be under way."""
        most = self._limit
        while not self._exhausted and (most is None or len(self._open) < most):
            item = next(self._items, _NONE)
            if item is _NONE:
                self._exhausted = True
            else:
                self._call(cast("T", item))
        if not self._open and not self._over.done():
            self._over.set_result(None)

    def _call(self, item: T) -> None:
        index = len(self._found)
        self._found.append(None)
        activity, loop = self._activity, self._loop
        try:
            base = activity.base if self._key is None else activity.base_of(self._key(item))
            step = activity.ask(loop, base, (item,), {})
        except Exception as error:
            if not self._lenient:
                raise
            self._found[index] = error
            return
        self._open[index] = step
        step.future.add_done_callback(partial(self._done, index))

    def _done(self, index: int, outcome: asyncio.Future[Any]) -> None:
        if self._open.pop(index, None) is None or self._over.done():
            return
        error = outcome.exception()
        if error is None:
            self._found[index] = outcome.result()
        elif self._lenient:
            self._found[index] = error
        else:
            self._over.set_exception(error)
            return
        try:
            self._begin()
        except Exception as error:
            self._over.set_exception(error)

    def outcomes_wanted(self) -> int | None:
        """All that are under way, once no item is left for which one of them would begin another call."""
        return len(self._open) if self._exhausted else None

    def _stop(self) -> None:
        """Nobody waits for what is still under way."""
        steps, self._open = self._open, {}
        for step in steps.values():
            step.future.cancel()
            self._loop.delivery.abandon(step)


async def _by_tasks(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int | None, *, lenient: bool
) -> list[Any]:
    """The same for any async function: with a task for each call that is under way."""
    if limit is None:
        items = list(items)
        most = len(items)
    else:
        most = min(limit, length_hint(items, limit))
    line = enumerate(items)
    found: dict[int, Any] = {}

    async def work() -> None:
        for index, item in line:
            try:
                found[index] = await function(item)
            except Exception as error:
                if not lenient:
                    raise
                found[index] = error

    workers = [asyncio.ensure_future(work()) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [found[index] for index in sorted(found)]
