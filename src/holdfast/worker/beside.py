"""What runs beside a worker's event loop and goes on while that stands still: a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Beside(Protocol):
    """Runs one piece of work that does not depend on the worker's loop."""

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """Begins the work."""
        ...

    def rouse(self) -> None:
        """Ends the rest of the work, or its next one. May be called from any thread."""
        ...

    async def rest(self, seconds: float, /) -> None:
        """Called by the work: returns after so long, or when it is roused."""
        ...

    async def end(self, patience: float, /) -> None:
        """Returns when the work is over, or after ``patience`` seconds."""
        ...


class OwnThread:
    """A thread with an event loop of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._roused = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As :meth:`Beside.start`."""
        self._thread = threading.Thread(
            target=copy_context().run, args=(lambda: asyncio.run(work()),), name=self._name, daemon=True
        )
        self._thread.start()

    def rouse(self) -> None:
        """As :meth:`Beside.rouse`."""
        self._roused.set()

    async def rest(self, seconds: float) -> None:
        """As :meth:`Beside.rest`."""
        # A thread's event has no place in a loop; this thread has nothing else to do.
        self._roused.wait(max(0.0, seconds))
        self._roused.clear()

    async def end(self, patience: float) -> None:
        """As :meth:`Beside.end`."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, patience)
