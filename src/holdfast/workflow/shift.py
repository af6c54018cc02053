"""A shift: a stay of the worker's thread in workflow code, for as many turns as come in it.

What has to be arranged in the thread for a turn is arranged once for all of them: the garbage collector rests, because
which finalizers run in a turn would otherwise depend on the rest of the process; and async generators that are left
before their end are closed by the run that they belong to.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from holdfast.workflow.cpython import running_loop


class _Here(threading.local):
    working = False


_here = _Here()


class Shift:
    """``with Shift():`` around turns of any runs, outside of any task; a shift in a shift is part of it."""

    __slots__ = ("_collecting", "_finalizer", "_firstiter", "_outermost")

    def __enter__(self) -> None:
        self._outermost = not _here.working
        if self._outermost:
            _here.working = True
            self._firstiter, self._finalizer = sys.get_asyncgen_hooks()
            self._collecting = gc.isenabled()
            gc.disable()
            sys.set_asyncgen_hooks(None, _finalize)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outermost:
            _here.working = False
            sys.set_asyncgen_hooks(self._firstiter, self._finalizer)
            if self._collecting:
                gc.enable()


def is_working() -> bool:
    """Whether this thread is in a shift."""
    return _here.working


def _finalize(generator: AsyncGenerator[Any, Any]) -> None:
    close: Callable[[AsyncGenerator[Any, Any]], None] | None = getattr(running_loop(), "close_left_behind", None)
    if close is not None:
        close(generator)
