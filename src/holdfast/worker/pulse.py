"""The heartbeats of one attempt: how long it has been silent, and how far it has come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LONGEST_PAUSE = 10.0
"""Seconds between two writes at the most, where there is no heartbeat timeout to go by."""

PROGRESS_PAUSE = 0.5
"""Seconds between two writes where there is something for people to watch."""


class Pulse:
    """Notes what comes, from any thread, and has the last of it written: at once if that was long ago, else later."""

    __slots__ = (
        "_due",
        "_handle",
        "_limit",
        "_loop",
        "_noted",
        "_pause",
        "_said",
        "_silent",
        "_watch",
        "_write",
        "_written_at",
        "at",
        "details",
        "progress",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: float | None,
        write: Callable[[str | None, str | None], None],
        silent: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._pause = LONGEST_PAUSE if limit is None else limit / 3
        self._write: Callable[[str | None, str | None], None] | None = write
        self._silent = silent
        self._written_at = float("-inf")
        self._noted = False
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0  # when that is
        self._said: str | None = None  # the details that were written last
        self._watch: asyncio.TimerHandle | None = None
        self.at = 0.0
        self.details: str | None = None
        """The last that was said, as JSON text."""
        self.progress: str | None = None
        """What is to be written of how far it is, as JSON text."""

    def beat(self, details: str | None, progress: str | None = None) -> None:
        """It is alive, and this far. May be called from any thread."""
        self.at = time.monotonic()
        if self._write is None or (details is None and progress is None):
            return
        if details is not None:
            self.details = details
        if progress is not None:
            self.progress = progress
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
        if not self._noted or self._write is None:
            self._noted = False
            return
        self._noted = False
        due = self._written_at + (self._pause if self.progress is None else min(self._pause, PROGRESS_PAUSE))
        if self._handle is not None:
            if self._due <= due:
                return
            self._handle.cancel()
            self._handle = None
        wait = due - time.monotonic()
        if wait <= 0:
            self._go()
        else:
            self._due = due
            self._handle = self._loop.call_later(wait, self._go)

    def _go(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._noted = False
        self._written_at = time.monotonic()
        # Details may be large: they are written again only if they are others.
        details = None if self.details is self._said else self.details
        progress, self.progress = self.progress, None
        if self._write is not None and (details is not None or progress is not None):
            self._said = self.details
            self._write(details, progress)

    def _look(self) -> None:
        if self._write is None or self._limit is None:
            return
        left = self.at + self._limit - time.monotonic()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._silent()
