"""Bells: those who wait for runs in a line are told when there may be one."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client.ear import Ear


class Bells:
    """One bell for each who waits. One that does not ring costs a moment: what it would tell of is found by looking."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._waiting: dict[str, set[asyncio.Event]] = {}
        ear.attach(heard=self._hear, opened=self._ring_all)

    @contextmanager
    def bell(self, line: str) -> Generator[asyncio.Event]:
        """Rings when something may be due in this line."""
        self._ear.listen()
        bell = asyncio.Event()
        waiting = self._waiting.setdefault(line, set())
        waiting.add(bell)
        try:
            yield bell
        finally:
            waiting.discard(bell)
            if not waiting:
                self._waiting.pop(line, None)

    def _hear(self, payload: str) -> None:
        if payload.startswith("due "):
            for bell in self._waiting.get(payload.removeprefix("due "), ()):
                bell.set()

    def _ring_all(self) -> None:
        for waiting in self._waiting.values():
            for bell in waiting:
                bell.set()
