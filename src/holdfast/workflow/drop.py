"""Leaving coroutines behind: silently, whatever their ``finally`` blocks do.

``Dropped`` is thrown where a coroutine waits, and again wherever it waits on its way out. It is no ``Exception``, so
neither ``except Exception`` nor ``else`` run. What runs can change nothing any more, because its loop is dropped.

Closing the coroutine would not do: if a ``finally`` awaits something while it is closed, Python raises RuntimeError in
the coroutine that awaits this one, and there an ``except Exception`` would run.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from traceback import clear_frames
from types import TracebackType
from typing import Any, Never, cast

from holdfast.workflow.cpython import Hook, enter_task, leave_task, set_unawaited_hook, unawaited_hook
from holdfast.workflow.task import WorkflowTask

_log = logging.getLogger("holdfast.workflow")

_TRIES = 100
"""How often a coroutine may catch its own end and wait again."""

_lock = threading.RLock()


class Dropped(BaseException):
    """The run goes on elsewhere, or later. What code does in answer to this has no effect."""


def drop_task(loop: asyncio.AbstractEventLoop, task: WorkflowTask[Any]) -> None:
    """Makes the coroutine of ``task`` end, as the current task. In a turn of ``loop``, which is dropped."""
    coroutine = cast("Coroutine[Any, Any, Any] | None", task.get_coro())
    if coroutine is not None and not task.done():
        enter_task(loop, task)
        try:
            if not _throw_out(coroutine, task.context.run):
                _keep_for_good(coroutine)
                _log.warning(
                    "a task of a workflow catches BaseException and goes on, so it cannot be dropped: %r", coroutine
                )
        finally:
            leave_task(loop, task)
    task.forget()


def _throw_out(coroutine: Coroutine[Any, Any, Any], run: Callable[..., object]) -> bool:
    for _ in range(_TRIES):
        try:
            run(coroutine.throw, Dropped())
        except BaseException as error:
            # Whatever it raises on its way out, nobody is there to see it, and it shall keep nothing alive.
            clear_frames(error.__traceback__)
            return True
    return False


def _keep_for_good(coroutine: object) -> None:
    """Keeps what refuses to end, also when the interpreter goes down: to free it, Python would close it once more."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))


@contextmanager
def silence() -> Generator[None]:
    """No warning about coroutines, and no error from a finalizer of this thread, comes through."""
    with _lock:
        thread = threading.get_ident()
        unraisable, unawaited = sys.unraisablehook, unawaited_hook()

        def unless_here(hook: Hook) -> Hook:
            def quiet(subject: Any) -> None:
                if threading.get_ident() != thread:
                    hook(subject)

            return quiet

        sys.unraisablehook = unless_here(unraisable)
        set_unawaited_hook(None if unawaited is None else unless_here(unawaited))
        try:
            yield
        finally:
            sys.unraisablehook = unraisable
            set_unawaited_hook(unawaited)


class Nothing(Coroutine[Any, Any, Never]):
    """A coroutine that never does anything, and does not mind never being awaited."""

    __slots__ = ()

    def send(self, value: Any, /) -> Any:
        del value

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any:
        del typ, val, tb

    def close(self) -> None:
        return None

    def __await__(self) -> Any:
        yield
