"""From where to look for due messages, so that nobody walks over the remains of those that are done with."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from holdfast.core.priority import Priority
from holdfast.store.taking import EVER, Asking, Intake

_SLACK = timedelta(milliseconds=250)
_SWEEP_EVERY = 0.04
_SWEEP_SHARE = 20  # a sweep may cost a twentieth of the time
_FLOORS_EVERY = 5.0


class Watermarks:
    """Of the five priorities: exact while receives come back full, else a little behind the database's clock.

    Now and then a sweep looks below, for what was committed late, or given up by somebody else.
    """

    def __init__(self) -> None:
        self._lower = [EVER] * len(Priority)
        self._swept_at = 0.0
        self._sweep_cost = 0.0
        self._floored_at = time.monotonic()
        self._taken = False
        self.owed = False
        """Whether something was told of that may lie below."""

    def asking(self, batch: int, visibility: timedelta, *, hands: str | None, below: bool) -> Asking:
        """What to ask for now; ``below``, to look below in any case."""
        sweep = below or time.monotonic() - self._swept_at > self._pace
        return Asking(batch, visibility, self._lower, sweep, hands)

    def note(self, asking: Asking, intake: Intake, began: float) -> None:
        """A receive came back."""
        if asking.sweep:
            self._swept_at = time.monotonic()
            # Believed by and by: one that was slow by chance shall not keep the next away for long.
            self._sweep_cost = min(self._swept_at - began, 2 * self._sweep_cost + 0.005)
            self.owed = False
        self._taken = self._taken or bool(intake.reached)
        if intake.paused:
            return
        behind = intake.at - _SLACK
        if not intake.full:
            self._lower = [behind] * len(Priority)
            return
        last: dict[int, datetime] = dict(intake.reached)
        lowest = min(last)
        self._lower = [
            lower if priority < lowest else min(last[priority], intake.at) if priority == lowest else behind
            for priority, lower in enumerate(self._lower, 1)
        ]

    @property
    def sweeps_in(self) -> float:
        """In how many seconds the next receive will be a sweep."""
        return max(0.0, self._swept_at + self._pace - time.monotonic())

    def floors_are_due(self) -> bool:
        """Whether to raise the floors: now and then, if something was taken; once."""
        now = time.monotonic()
        if not self._taken or now - self._floored_at < _FLOORS_EVERY:
            return False
        self._taken, self._floored_at = False, now
        return True

    @property
    def _pace(self) -> float:
        return max(_SWEEP_EVERY, self._sweep_cost * _SWEEP_SHARE)
