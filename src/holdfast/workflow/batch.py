"""Batches: many jobs, or calls in workflows, that are executed by one call of a function which takes a list."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import typing
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, cast
from weakref import WeakKeyDictionary

from holdfast.core.errors import DefinitionError, GiveUp
from holdfast.core.hints import Hints
from holdfast.workflow.attempted import current_activity

_MOST = 1000
_LONGEST = timedelta(hours=1)
_SHRINKS = 4
"""After each failed attempt a batch has so many times fewer items: so one that spoils it is alone in the end."""


def batched(
    fn: Callable[..., Any], *, what: str, size: object, wait: object
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """The function of one item, whose calls are executed together by ``fn``, which takes a list of them.

    Raises:
        DefinitionError: ``fn`` takes something else, or an option cannot be used.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MOST:
        raise DefinitionError(f"{what}: size= is a whole number from 1 to {_MOST:,}, not {size!r}")
    if not isinstance(wait, timedelta) or not timedelta(0) <= wait <= _LONGEST:
        raise DefinitionError(
            f"{what}: wait= is a duration of at most an hour, such as timedelta(seconds=2), not {wait!r}"
        )
    hints = Hints.of(fn, what=what)
    parameters = list(inspect.signature(fn).parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise DefinitionError(f"{what}: a batch takes one parameter, the list of its items")
    item = _item_of(hints.annotations.get(parameters[0].name, Any), what, "takes a list of items")
    returned = hints.returned
    if returned is not None and returned is not type(None):
        returned = _item_of(returned, what, "gives a list with a result for each item, in their order, or nothing")
    line = Line(fn, what=what, size=size, wait=wait.total_seconds())

    @functools.wraps(fn)
    async def one(item: Any) -> Any:
        return await line.add(item)

    one.__annotations__ = {"item": item, "return": returned}
    # Not that of the function it wraps.
    cast("Any", one).__signature__ = inspect.Signature(
        [inspect.Parameter("item", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return one


class Line:
    """What has been asked for and not been executed yet; of each loop for itself."""

    def __init__(self, fn: Callable[..., Any], *, what: str, size: int, wait: float) -> None:
        self._fn = fn
        self._what = what
        self._size = size
        self._wait = wait
        self._gathering: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Gathering]] = WeakKeyDictionary()

    async def add(self, item: object) -> object:
        """Executes the item together with others, and gives its result."""
        loop = asyncio.get_running_loop()
        attempt = current_activity.get(None)
        size = max(1, self._size // _SHRINKS ** min((attempt.info().attempt if attempt is not None else 1) - 1, 10))
        open_ones = self._gathering.setdefault(loop, {})
        gathering = open_ones.get(size)
        if gathering is None:
            gathering = open_ones[size] = Gathering(self._fn, self._what, closed=lambda: open_ones.pop(size, None))
            gathering.close_after(self._wait)
        return await gathering.add(item, size)


class Gathering:
    """One batch: open until it is full or its time is over, then one call."""

    def __init__(self, fn: Callable[..., Any], what: str, *, closed: Callable[[], object]) -> None:
        self._fn = fn
        self._what = what
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._items: dict[asyncio.Future[object], object] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[None] | None = None

    def close_after(self, seconds: float) -> None:
        """It is not open for longer than this."""
        self._timer = self._loop.call_later(seconds, self._close)

    async def add(self, item: object, size: int) -> object:
        """Puts it in, and gives its result."""
        answer: asyncio.Future[object] = self._loop.create_future()
        self._items[answer] = item
        if len(self._items) >= size:
            self._close()
        try:
            return await answer
        except asyncio.CancelledError:
            self._leave(answer)
            raise

    def _leave(self, answer: asyncio.Future[object]) -> None:
        if self._call is None:
            self._items.pop(answer, None)
        elif all(one.done() for one in self._items):
            # Nobody waits for anything of it any more.
            self._call.cancel()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._closed()
            if self._items:
                # It is the attempt of none of them alone.
                context = contextvars.copy_context()
                context.run(current_activity.set, cast("Any", None))
                self._call = self._loop.create_task(self._execute(), name=f"holdfast {self._what}", context=context)

    async def _execute(self) -> None:
        answers, items = list(self._items), list(self._items.values())
        try:
            if inspect.iscoroutinefunction(self._fn):
                given = await self._fn(items)
            else:
                given = await asyncio.to_thread(self._fn, items)
            results = self._results(given, len(items))
        except asyncio.CancelledError:
            for answer in answers:
                answer.cancel()
            raise
        except BaseException as error:
            # A future carries any exception but this; and what ends a process in other places is a failure here.
            plain = isinstance(error, Exception) and not isinstance(error, StopIteration)
            carried = error if plain else RuntimeError(f"{self._what} raised {error!r}")
            for answer in answers:
                if not answer.done():
                    answer.set_exception(carried)
            return
        for answer, result in zip(answers, results, strict=True):
            if not answer.done():
                answer.set_result(result)

    def _results(self, given: object, count: int) -> Sequence[object]:
        if given is None:
            return [None] * count
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise GiveUp(f"{self._what} gave {type(given).__name__}, and not a list with a result for each item")
        results = cast("Sequence[object]", given)
        if len(results) != count:
            raise GiveUp(f"{self._what} was given {count} items, and gave {len(results)} results")
        return results


def _item_of(annotation: Any, what: str, does: str) -> Any:
    """What a list of this type is of."""
    if annotation in (Any, list):
        return Any
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Sequence) and len(arguments) == 1:
        return arguments[0]
    raise DefinitionError(f"{what}: a batch {does}, such as list[Order], not {annotation!r}")
