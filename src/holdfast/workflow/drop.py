"""Leaving coroutines behind: closed, silently, whatever their ``finally`` blocks do.

A coroutine is closed like any generator: GeneratorExit is thrown where it waits. That is no ``Exception``, so neither
``except Exception`` nor ``else`` run. What runs can change nothing any more, because its loop is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Never

from holdfast.workflow.cpython import Hook, enter_task, leave_task, set_unawaited_hook, unawaited_hook
from holdfast.workflow.task import WorkflowTask

_log = logging.getLogger("holdfast.workflow")

_TRIES = 100
"""How often a coroutine may catch its own end and wait again."""

_immortal: list[object] = []
"""Coroutines that refuse to end. To let go of one would print an error from inside the garbage collector."""

_lock = threading.RLock()


def drop_task(loop: asyncio.AbstractEventLoop, task: WorkflowTask[Any]) -> None:
    """Closes the coroutine of ``task`` as if from inside it. In a turn of ``loop``, which is dropped."""
    coroutine: Any = task.get_coro()
    if coroutine is not None and not task.done():
        enter_task(loop, task)
        try:
            if not _close(coroutine, task.context.run):
                _immortal.append(task)
                _log.warning(
                    "a task of a workflow catches GeneratorExit and goes on, so it cannot be dropped: %r", coroutine
                )
        finally:
            leave_task(loop, task)
    task.forget()


def _close(coroutine: Any, run: Callable[[Callable[[], None]], None]) -> bool:
    for _ in range(_TRIES):
        # Whatever it raises on its way out, nobody is there to see it.
        with suppress(BaseException):
            run(coroutine.close)
        # One that waits again in a `finally` is thrown out of there as well.
        if getattr(coroutine, "cr_frame", None) is None:
            return True
    return False


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
