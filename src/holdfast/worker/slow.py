"""A warning when something holds the worker's loop for too long, with its name."""

from __future__ import annotations

import logging
import time
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

log = logging.getLogger("holdfast.slow")

T = TypeVar("T")

TOO_LONG = 0.1
"""Seconds."""


def warn_if_slow(name: str, began: float) -> None:
    """Logs a warning if more than ``TOO_LONG`` has passed since ``began`` (``time.perf_counter()``)."""
    held = time.perf_counter() - began
    if held > TOO_LONG:
        log.warning(
            "%s held the event loop for %.0f ms: nothing else of this worker ran meanwhile; "
            "make it a sync activity, or await in between",
            name,
            held * 1000,
        )


@types.coroutine
def watched(coroutine: Coroutine[Any, Any, T], name: str) -> Generator[Any, Any, T]:
    """Awaits ``coroutine``, and warns of each of its steps that holds the loop for too long."""
    clock = time.perf_counter
    send, throw = coroutine.send, coroutine.throw
    value: Any = None
    error: BaseException | None = None
    while True:
        began = clock()
        try:
            yielded = send(value) if error is None else throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            if clock() - began > TOO_LONG:
                warn_if_slow(f"activity {name!r}", began)
        value, error = None, None
        try:
            value = yield yielded
        except BaseException as thrown:
            error = thrown
