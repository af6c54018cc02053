"""Signals that have come and waits for them: first in, first out, on both sides, name by name."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from holdfast.core.journal import Entry, signal_name


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
        name = signal_name(entry.key)
        heappush(self._signals.setdefault(name, []), entry.seq)
        return self.offer(name)

    def open(self, name: str, waiter: asyncio.Future[Entry]) -> int | None:
        """``waiter`` waits for a signal; the seq of the one to be delivered, if one is there."""
        self._waits.setdefault(name, deque()).append(waiter)
        self.waiting += 1
        return self.offer(name)

    def close(self, name: str, waiter: asyncio.Future[Entry]) -> bool:
        """``waiter`` waits no more; False if it did not any more, because it was served."""
        waits = self._waits.get(name, ())
        if waiter not in waits:
            return False
        self._waits[name].remove(waiter)
        self.waiting -= 1
        return True

    @property
    def awaited(self) -> Iterator[str]:
        """The names that are waited for."""
        return (name for name, waits in self._waits.items() if waits)

    def serve(self, entry: Entry) -> asyncio.Future[Entry] | None:
        """Who gets this signal: None if nobody waits, or an earlier one comes first. Both leave the mailbox."""
        name = signal_name(entry.key)
        signals, waits = self._signals[name], self._waits.get(name)
        if not waits or signals[0] != entry.seq:
            return None
        heappop(signals)
        self.waiting -= 1
        return waits.popleft()

    def offer(self, name: str) -> int | None:
        """The seq of the first signal of that name, if somebody waits for it."""
        signals = self._signals.get(name)
        return signals[0] if signals and self._waits.get(name) else None
