"""Races: of several things that a workflow waits for, the first one counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from holdfast.core.journal import Entry
from holdfast.workflow.current import workflow_loop
from holdfast.workflow.signal import Signal, check_timeout

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
T = TypeVar("T")
I = TypeVar("I", bound=int)  # noqa: E741 - a place, counted from 0


class First(NamedTuple, Generic[I, T]):
    """Which one was first, counted from 0, and what it gave: ``match`` it, or ask for ``which`` and ``value``."""

    which: I
    value: T


class FirstSignal(NamedTuple, Generic[I, T]):
    """Which signal was first, counted from 0, what it carried, and the signal itself."""

    which: I
    value: T
    signal: Signal[T]


_0 = Literal[0]
_1 = Literal[1]
_2 = Literal[2]
_3 = Literal[3]
_4 = Literal[4]


@overload
async def first_of(a: Awaitable[A], /) -> First[_0, A]: ...
@overload
async def first_of(a: Awaitable[A], b: Awaitable[B], /) -> First[_0, A] | First[_1, B]: ...
@overload
async def first_of(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /
) -> First[_0, A] | First[_1, B] | First[_2, C]: ...
@overload
async def first_of(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /
) -> First[_0, A] | First[_1, B] | First[_2, C] | First[_3, D]: ...
@overload
async def first_of(
    a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], e: Awaitable[E], /
) -> First[_0, A] | First[_1, B] | First[_2, C] | First[_3, D] | First[_4, E]: ...
@overload
async def first_of(*awaitables: Awaitable[T]) -> First[int, T]: ...
async def first_of(*awaitables: Awaitable[Any]) -> First[Any, Any]:
    """The first of these to finish, with what it gave; the others are cancelled, and waited for until they are gone.

    The same one on every replay. If the first to finish raises, so does this. What a loser raises on its way out is
    logged. If this is cancelled, all of them are.

    Raises:
        TypeError: there is nothing to wait for.
    """
    if not awaitables:
        raise TypeError("first_of() needs something to wait for: first_of(approve.wait(), sleep(60))")
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for index, task in enumerate(tasks):
        task.add_done_callback(partial(_finished, first, index))
    won = -1
    try:
        won = await first
    finally:
        await _call_off([task for index, task in enumerate(tasks) if index != won])
    return First(won, tasks[won].result())


@overload
async def first_signal(a: Signal[A], /, *, timeout: timedelta | None = None) -> FirstSignal[_0, A]: ...
@overload
async def first_signal(
    a: Signal[A], b: Signal[B], /, *, timeout: timedelta | None = None
) -> FirstSignal[_0, A] | FirstSignal[_1, B]: ...
@overload
async def first_signal(
    a: Signal[A], b: Signal[B], c: Signal[C], /, *, timeout: timedelta | None = None
) -> FirstSignal[_0, A] | FirstSignal[_1, B] | FirstSignal[_2, C]: ...
@overload
async def first_signal(
    a: Signal[A], b: Signal[B], c: Signal[C], d: Signal[D], /, *, timeout: timedelta | None = None
) -> FirstSignal[_0, A] | FirstSignal[_1, B] | FirstSignal[_2, C] | FirstSignal[_3, D]: ...
@overload
async def first_signal(
    a: Signal[A], b: Signal[B], c: Signal[C], d: Signal[D], e: Signal[E], /, *, timeout: timedelta | None = None
) -> FirstSignal[_0, A] | FirstSignal[_1, B] | FirstSignal[_2, C] | FirstSignal[_3, D] | FirstSignal[_4, E]: ...
@overload
async def first_signal(*signals: Signal[T], timeout: timedelta | None = None) -> FirstSignal[int, T]: ...
async def first_signal(*signals: Signal[Any], timeout: timedelta | None = None) -> FirstSignal[Any, Any]:
    """The first of these signals to come, and what it carries; of the others none is taken.

    Those sent before count: of several that are there, the one that was sent first.

    Raises:
        TimeoutError: none came within ``timeout``. With a timeout of zero: none has come so far.
        TypeError: there is no signal to wait for, one is named twice, or ``timeout`` is not a timedelta.
        InvalidInput: what was sent does not fit the type of its signal; it is taken.
    """
    loop = workflow_loop("first_signal()", "send signals with run.signal()")
    check_timeout("first_signal()", timeout)
    names = [signal.name for signal in signals]
    if not names or len(set(names)) < len(names):
        raise TypeError(
            f"first_signal() needs signals of different names to wait for, not {', '.join(names) or 'none'}"
        )
    readers = [signal.returns for signal in signals]  # before anything is taken: a type may be of no use
    first: asyncio.Future[int] = loop.create_future()
    if loop.dropped:
        await first
    waiters: list[asyncio.Future[Entry]] = [loop.create_future() for _ in signals]
    for index, waiter in enumerate(waiters):
        waiter.add_done_callback(partial(_finished, first, index))
    for signal, waiter in zip(signals, waiters, strict=True):
        loop.delivery.open_wait(signal.line, waiter)
    timer = None
    if timeout is not None:
        timer = loop.set_timer(loop.in_time(timeout), _expire, first, names, timeout)
    won = -1
    try:
        won = await first
    finally:
        for index, (signal, waiter) in enumerate(zip(signals, waiters, strict=True)):
            if index != won:
                loop.delivery.close_wait(signal.line, waiter)
                waiter.cancel()
        if timer is not None:
            timer.cancel()
    return FirstSignal(won, readers[won].decode(waiters[won].result().output), signals[won])


def _expire(first: asyncio.Future[int], names: Sequence[str], timeout: timedelta) -> None:
    if not first.done():
        first.set_exception(TimeoutError(f"none of the signals {', '.join(names)} came within {timeout}"))


def _finished(first: asyncio.Future[int], index: int, task: asyncio.Future[Any]) -> None:
    del task
    if not first.done():
        first.set_result(index)


async def _call_off(losers: Sequence[asyncio.Future[Any]]) -> None:
    """Cancels them, and returns when all are done; a cancel meanwhile is passed on afterwards."""
    for loser in losers:
        loser.cancel()
    cancelled: asyncio.CancelledError | None = None
    while pending := [loser for loser in losers if not loser.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for loser in losers:
        failed = None if loser.cancelled() else loser.exception()
        if failed is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the loser of a race failed on its way out", "exception": failed}
            )
    if cancelled is not None:
        raise cancelled
