"""Signals and updates that have come, and waits for them: first in, first out, on both sides, line by line."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from holdfast.core.journal import Entry, line_of


class Mailbox:
    """Holds what has come until it is waited for. Says what could be delivered; when is not its business."""

    __slots__ = ("_signals", "_waits", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        """How many waits are open."""
        self._signals: dict[str, list[int]] = {}  # heaps of seqs
        self._waits: dict[str, deque[asyncio.Future[Entry]]] = {}

    def post(self, entry: Entry) -> int | None:
        """A signal has come, or has come back; the seq of the one to be delivered, if somebody waits."""
        line = line_of(entry.key)
        heappush(self._signals.setdefault(line, []), entry.seq)
        return self.offer(line)

    def open(self, line: str, waiter: asyncio.Future[Entry]) -> int | None:
        """``waiter`` waits for a signal; the seq of the one to be delivered, if one is there."""
        self._waits.setdefault(line, deque()).append(waiter)
        self.waiting += 1
        return self.offer(line)

    def close(self, line: str, waiter: asyncio.Future[Entry]) -> bool:
        """``waiter`` waits no more; False if it did not any more, because it was served."""
        waits = self._waits.get(line, ())
        if waiter not in waits:
            return False
        self._waits[line].remove(waiter)
        self.waiting -= 1
        return True

    @property
    def awaited(self) -> Iterator[str]:
        """The lines that are waited for."""
        return (line for line, waits in self._waits.items() if waits)

    def serve(self, entry: Entry) -> asyncio.Future[Entry] | None:
        """Who gets this signal: None if nobody waits, or an earlier one comes first. Both leave the mailbox."""
        line = line_of(entry.key)
        signals, waits = self._signals[line], self._waits.get(line)
        if not waits or signals[0] != entry.seq:
            return None
        heappop(signals)
        self.waiting -= 1
        return waits.popleft()

    def offer(self, line: str) -> int | None:
        """The seq of the first signal of that line, if somebody waits for it."""
        signals = self._signals.get(line)
        return signals[0] if signals and self._waits.get(line) else None
