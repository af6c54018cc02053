"""A chain of calls around one: each gets what it is about, and ``call_next`` for what lies inside of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

C = TypeVar("C")
T = TypeVar("T")

CallNext = Callable[[], Awaitable[T]]
Layer = Callable[[C, CallNext[T]], Coroutine[Any, Any, T]]


def chained(layers: Sequence[Layer[C, T]], about: C, innermost: CallNext[T]) -> CallNext[T]:
    """What calls the first layer, which calls the second, and the last of them ``innermost``: each at most once."""
    call = innermost
    for layer in reversed(layers):
        call = partial(layer, about, _once(call))
    return call


def _once(call: CallNext[T]) -> CallNext[T]:
    called = False

    async def call_next() -> T:
        nonlocal called
        if called:
            raise RuntimeError("call_next() was called a second time: what it stands for happens once")
        called = True
        return await call()

    return call_next
