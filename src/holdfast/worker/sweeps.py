"""When to look below the watermarks: for what became visible late, and for what a hint has told of."""

from __future__ import annotations

from holdfast.worker.pace import Pace

_EVERY = 0.04
_SHARE = 20  # a sweep may cost a twentieth of the time


class Sweeps(Pace):
    """A sweep is a claim like any other, but it may have to walk the dead: how often depends on what the last cost."""

    __slots__ = ("owed",)

    def __init__(self) -> None:
        super().__init__(_EVERY, share=_SHARE)
        self.owed = False
        """Something was told of that may lie below the watermarks."""
