"""The event loop of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_to_end(work: Coroutine[object, object, T], *, fast: bool = False) -> T:
    """Runs ``work`` on a loop of its own; ``fast`` takes uvloop where that is installed."""
    with asyncio.Runner(loop_factory=_fastest() if fast else None) as runner:
        return runner.run(work)


def _fastest() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
