"""The wish that a worker stops: asked once, it leaves in order; asked again, it does not wait for what runs."""

from __future__ import annotations

import asyncio


class Stop:
    """Set from the worker's loop. A wish is never taken back, but may become more urgent: drain, stop, hurry."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.pressed = asyncio.Event()
        """Set when what runs is waited for with less patience than before."""
        self.patient = False
        """Whether what runs is waited for however long it takes."""

    def ask(self) -> None:
        """Begins the ordered shutdown, or hurries it; by a signal, or from the code."""
        if self.asked.is_set() and not self.patient:
            self.hurried.set()
        self.end()

    def drain(self) -> None:
        """Begins the ordered shutdown, without an end to its patience."""
        if not self.asked.is_set():
            self.patient = True
            self.asked.set()

    def end(self) -> None:
        """Begins the ordered shutdown with the grace, or has a drain wait no longer than that; once."""
        self.patient = False
        self.asked.set()
        self.pressed.set()

    def hurry(self) -> None:
        """Begins the shutdown, and does not wait for what runs."""
        self.end()
        self.hurried.set()
