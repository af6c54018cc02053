"""From blocking code to async code and back: a loop in a thread of its own, and one call at a time for each caller."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from holdfast.core.errors import ForbiddenInWorkflow, HoldfastError
from holdfast.workflow.current import current_loop

R = TypeVar("R")
T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that closing waits for the thread, should something in it not let go."""


@dataclass(frozen=True, slots=True)
class _Running(Generic[T]):
    """What is open: the resource, and the thread whose loop it belongs to."""

    resource: T
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    thread: threading.Thread


class Bridge(Generic[T]):
    """An async resource for callers in any thread: opened in a thread of its own when it is first used.

    It is closed by :meth:`close`, else when it is collected or the process exits. A process that was forked opens it
    anew. ``opening`` makes what opens it; ``what`` says in messages what it is.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]], *, what: str) -> None:
        self._opening = opening
        self._what = what
        self._lock = threading.Lock()
        self._running: _Running[T] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._closed = False
        _bridges.add(self)

    def call(self, verb: Callable[[T], Coroutine[Any, Any, R]]) -> R:
        """What the coroutine gives that ``verb`` makes for the resource.

        Raises:
            HoldfastError: an event loop runs in this thread, which this would block; or it is closed.
            ForbiddenInWorkflow: it was called in workflow code.
            As what opens the resource, and as the coroutine.
        """
        self._refuse_on_a_loop()
        with self._lock:
            running = self._running or self._open()
            future = asyncio.run_coroutine_threadsafe(verb(running.resource), running.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self._closed:
                raise self._is_closed() from None
            raise
        except BaseException:
            # An interrupt of the caller: what it asked for is not wanted any more.
            future.cancel()
            raise

    def open(self) -> None:
        """Opens the resource now, rather than with the first call; errors as for a call."""
        self._refuse_on_a_loop()
        with self._lock:
            if self._running is None:
                self._open()

    def close(self) -> None:
        """Closes the resource; calls that are under way in other threads fail. Closing twice is closing once."""
        self._closed = True
        self.reset()

    def reset(self) -> None:
        """Closes the resource; the next call opens it anew."""
        with self._lock:
            running, self._running = self._running, None
            if self._finalizer is not None:
                self._finalizer.detach()
        if running is not None:
            _end(running)

    def _open(self) -> _Running[T]:
        if self._closed:
            raise self._is_closed()
        opened: concurrent.futures.Future[_Running[T]] = concurrent.futures.Future()
        thread = threading.Thread(target=_run, args=(self._opening, opened), name=f"holdfast {self._what}", daemon=True)
        thread.start()
        running = opened.result()
        self._running = running
        self._finalizer = weakref.finalize(self, _end, running)
        return running

    def _refuse_on_a_loop(self) -> None:
        if current_loop() is not None:
            raise ForbiddenInWorkflow(f"workflow code cannot use the {self._what}: use it in an activity")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise HoldfastError(
            f"the {self._what} was called in a thread with a running event loop, which it would block: use "
            "`async with app.client() as client:` there, or call it in a thread (asyncio.to_thread)"
        )

    def _is_closed(self) -> HoldfastError:
        return HoldfastError(f"this {self._what} is closed")

    def _forked(self) -> None:
        """In a new process: the thread is not here, and what it had open belongs to the parent."""
        self._lock = threading.Lock()
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._running is not None:
            _of_parents.append(self._running)
        self._running = self._finalizer = None


def _run(opening: Callable[[], AbstractAsyncContextManager[T]], opened: concurrent.futures.Future[_Running[T]]) -> None:
    async def serve() -> None:
        stop = asyncio.Event()
        async with opening() as resource:
            opened.set_result(_Running(resource, asyncio.get_running_loop(), stop, threading.current_thread()))
            await stop.wait()

    try:
        asyncio.run(serve())
    except BaseException as error:
        if not opened.done():
            opened.set_exception(error)
        # Else it was open and is being closed: what went wrong there is of no use to anybody.


def _end(running: _Running[Any]) -> None:
    try:
        running.loop.call_soon_threadsafe(running.stop.set)
    except RuntimeError:
        return  # its loop has ended already
    if threading.current_thread() is not running.thread:
        running.thread.join(_PATIENCE)


_bridges: weakref.WeakSet[Bridge[Any]] = weakref.WeakSet()

_of_parents: list[_Running[Any]] = []
"""Kept for good: to let go of a connection, in a forked process, would be to talk on the connection of the parent."""


def _forked() -> None:
    for bridge in list(_bridges):
        bridge._forked()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_forked)
