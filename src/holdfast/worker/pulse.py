"""The heartbeats of one attempt: how long it has been silent, and how far it has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LONGEST_PAUSE = 10.0
"""Seconds between two writes at the most, where there is no heartbeat timeout to go by."""


class Pulse:
    """Notes what comes, from any thread, and has the last of it written: at once if that was long ago, else later."""

    __slots__ = (
        "_handle",
        "_limit",
        "_loop",
        "_noted",
        "_pause",
        "_silent",
        "_watch",
        "_write",
        "_written_at",
        "at",
        "details",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: float | None,
        write: Callable[[str], None],
        silent: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._pause = LONGEST_PAUSE if limit is None else limit / 3
        self._write: Callable[[str], None] | None = write
        self._silent = silent
        self._written_at = float("-inf")
        self._noted = False
        self._handle: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.at = 0.0
        self.details: str | None = None
        """The last that was said, as JSON text."""

    def beat(self, details: str | None) -> None:
        """It is alive, and this far. May be called from any thread."""
        self.at = time.monotonic()
        if details is None or self._write is None:
            return
        self.details = details
        if not self._noted:
            self._noted = True
            self._loop.call_soon_threadsafe(self._note)

    def begin(self) -> None:
        """Its code is entered: from now on it must not be silent for longer than its limit."""
        if self._limit is not None and self._write is not None:
            self.at = time.monotonic()
            self._watch = self._loop.call_later(self._limit, self._look)

    def flush(self) -> None:
        """Has the last of it written now, if it has not been."""
        if self._handle is not None or self._noted:
            self._go()

    def close(self) -> None:
        """The attempt is over: nothing is written any more."""
        self._write = None
        for handle in (self._handle, self._watch):
            if handle is not None:
                handle.cancel()
        self._handle = self._watch = None

    def _note(self) -> None:
        if not self._noted or self._handle is not None or self._write is None:
            self._noted = False
            return
        self._noted = False
        wait = self._written_at + self._pause - time.monotonic()
        if wait <= 0:
            self._go()
        else:
            self._handle = self._loop.call_later(wait, self._go)

    def _go(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._noted = False
        self._written_at = time.monotonic()
        if self._write is not None and self.details is not None:
            self._write(self.details)

    def _look(self) -> None:
        if self._write is None or self._limit is None:
            return
        left = self.at + self._limit - time.monotonic()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._silent()
