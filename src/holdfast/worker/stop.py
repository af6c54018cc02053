"""The wish that a worker stops: asked once, it leaves in order; asked again, it does not wait for what runs."""

from __future__ import annotations

import asyncio


class Stop:
    """Set from the worker's loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Begins the ordered shutdown, or hurries it."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()
