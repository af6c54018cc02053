"""Waiting in workflows that are not async: one verb for everything that an async one awaits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from holdfast.workflow.current import current_loop

if TYPE_CHECKING:
    from holdfast.workflow.strand import Strand

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def wait(awaitable: Awaitable[T], /) -> T:
    """What ``await`` is in an async workflow, for one that is not.

    ``receipt = wait(charge(order))``, and for several at once ``a, b = wait(asyncio.gather(charge(1), charge(2)))``.
    The outcome is recorded and replayed as ever, and while the run waits it can be parked.

    Raises:
        TypeError: this cannot be awaited.
        RuntimeError: it was not called in the code of such a workflow.
    """
    strand = _strand("wait()", awaitable)
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"wait() takes what could be awaited, such as the call of an activity, not {awaitable!r}")
    return strand.wait(awaitable)


@contextmanager
def wait_within(manager: AbstractAsyncContextManager[T], /) -> Generator[T]:
    """What ``async with`` is in an async workflow, for one that is not.

    ``with wait_within(asyncio.timeout(60)): receipt = wait(charge(order))``.
    """
    _strand("wait_within()")
    value = wait(manager.__aenter__())
    try:
        yield value
    except BaseException as error:
        if not wait(manager.__aexit__(type(error), error, error.__traceback__)):
            raise
    else:
        wait(manager.__aexit__(None, None, None))


def wait_each(items: AsyncIterable[T], /) -> Iterator[T]:
    """What ``async for`` is in an async workflow, for one that is not."""
    _strand("wait_each()")
    iterator = aiter(items)
    while True:
        try:
            item = wait(anext(iterator))
        except StopAsyncIteration:
            return
        yield item


def branch(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
    """The call of a function that is not async and waits, as something to be awaited beside others.

    ``wait(asyncio.gather(branch(deliver, order), branch(bill, order)))``: each goes on by itself.

    Raises:
        RuntimeError: it was not called in workflow code.
    """
    if current_loop() is None:
        raise RuntimeError("branch() works in workflow code only, while a worker runs it; elsewhere call the function")
    from holdfast.workflow.strand import execute

    return execute(fn, args, kwargs)


def _strand(what: str, awaitable: object = None) -> Strand:
    loop = current_loop()
    strand = _current() if loop is not None else None
    if strand is not None:
        return strand
    if asyncio.iscoroutine(awaitable):
        awaitable.close()  # nobody will await it now, and that needs no warning
    if loop is not None:
        raise RuntimeError(f"{what} is for workflows that are not async; in one that is, use await")
    raise RuntimeError(f"{what} works in workflow code only, in a workflow that is not async, while a worker runs it")


def _current() -> Strand | None:
    try:
        from holdfast.workflow.strand import current
    except ImportError:
        return None  # then there is none
    return current()
