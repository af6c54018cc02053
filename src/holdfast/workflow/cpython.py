"""What CPython keeps for those who write event loops, in one place: none of it is promised, all of it is tested."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import warnings
from asyncio import events, tasks
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, cast

running_loop = events._get_running_loop  # noqa: SLF001
"""The running loop of this thread, or None."""
set_running_loop = events._set_running_loop  # noqa: SLF001

enter_task = tasks._enter_task  # noqa: SLF001
"""Makes a task the current one of its loop, which is the running one."""
leave_task = tasks._leave_task  # noqa: SLF001

frame_at = sys._getframe  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
"""The frame so many calls above the one that asks."""

Hook = Callable[[Any], object]

_START = "_start_new_thread"
_UNAWAITED = "_warn_unawaited_coroutine"


def unawaited_hook() -> Hook | None:
    """What CPython calls for a coroutine that goes without having been awaited."""
    return cast("Hook | None", getattr(warnings, _UNAWAITED, None))


def set_unawaited_hook(hook: Hook | None) -> None:
    """Puts another function in its place; None leaves it as it is."""
    if hook is not None:
        setattr(warnings, _UNAWAITED, hook)


TELLS_OF_THREADS = sys.version_info >= (3, 12)
"""Whether audit hooks hear of the start of a thread."""


def before_threads_start(look: Callable[[], object]) -> None:
    """Has ``look`` called whenever a ``threading.Thread`` starts, in the thread that starts it; it may raise."""
    start: Callable[..., int] = getattr(threading, _START)

    def looked_at(*args: Any) -> int:
        look()
        return start(*args)

    setattr(threading, _START, looked_at)


TELLS_OF_SLEEP = sys.version_info >= (3, 13)
"""Whether audit hooks hear of ``time.sleep``."""


def before_sleep(look: Callable[[], object]) -> None:
    """Has ``look`` called before each ``time.sleep``, in the thread that is to sleep; it may raise."""
    sleep = time.sleep

    def looked_at(seconds: Any, /) -> None:
        look()
        sleep(seconds)

    looked_at.__name__ = looked_at.__qualname__ = "sleep"
    time.sleep = looked_at


def waiter_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """What a task waits for."""
    return cast("asyncio.Future[Any] | None", getattr(task, "_fut_waiter", None))


def must_cancel(task: asyncio.Task[Any]) -> bool:
    """Whether a task was cancelled and is told so when it waits next."""
    return bool(getattr(task, "_must_cancel", False))


def rename(coroutine: Coroutine[Any, Any, Any], name: str) -> None:
    """What the coroutine of an ``async def`` is called in warnings and in its repr."""
    cast("CoroutineType[Any, Any, Any]", coroutine).__qualname__ = name
