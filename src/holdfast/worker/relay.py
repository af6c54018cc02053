"""Who is told when something has happened: the loops of this worker at once, other processes by a hint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from holdfast.worker.bucket import guest_lane

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.store.work import Flushed
    from holdfast.worker.claimer import Claimer
    from holdfast.worker.heartbeat import Heartbeat
    from holdfast.worker.held import Unit
    from holdfast.worker.herald import Herald
    from holdfast.worker.hints import Hints
    from holdfast.worker.holdings import Holdings
    from holdfast.worker.suspects import Suspects
    from holdfast.worker.watch import Watch

_LETTER_RACE = 1.0
"""Seconds after the hint of a letter for which a run that parks may be due again at once because of it."""


class Relay:
    """Tells what happens in one tenure to those that it concerns; processes other than this one with ``hints`` only."""

    holdings: Holdings
    watch: Watch
    hints: Hints
    herald: Herald
    """These are there before anything happens."""

    def __init__(self, lane: str, *, hints: bool) -> None:
        self.claimer: Claimer | None = None
        self.ask_recovery: Callable[[], None] | None = None
        self.heartbeat: Heartbeat | None = None
        self.suspects: Suspects | None = None
        self._lane = lane
        self._guest_lane = guest_lane(lane)
        self._hinting = hints
        self._loop = asyncio.get_running_loop()
        self._letter_at = float("-inf")

    # -- what was heard

    def due(self) -> None:
        """Something may be due."""
        if self.claimer is not None:
            self.claimer.hint()

    def guests(self) -> None:
        """Activities may be due that found no room where their workflows are, and anything else."""
        if self.claimer is not None:
            self.claimer.hint_guests()

    def place_made(self) -> None:
        """An activity may begin at once that could not before: one that is held already, or is to be claimed."""
        self.holdings.looked()
        if self.claimer is not None:
            self.claimer.place_made()

    def inbox(self, bucket_id: int) -> None:
        """Something came for a run that this bucket holds."""
        if bucket_id in self.holdings.buckets:
            self.watch.hint()
            # If its run is being parked at this moment, that makes it due again, and nobody else will say so.
            self._letter_at = self._loop.time()
            self.due()

    def recovered(self) -> None:
        """Runs of a worker that is gone are in line again, in one or another."""
        self.guests()
        if self.suspects is not None:
            self.suspects.hint()

    def cancel(self) -> None:
        """There are requests to cancel that somebody is to see to."""
        if self.ask_recovery is not None:
            self.ask_recovery()

    def command(self) -> None:
        """Somebody asks something of workers: what, the next heartbeat is answered."""
        if self.heartbeat is not None:
            self.heartbeat.hurry()

    # -- what this worker has done

    def flushed(self, units: Sequence[Unit]) -> None:
        """These writes are durable."""
        if self._hinting:
            self.hints.flushed(units)
            holdings, overflow = self.holdings, self.holdings.overflow
            gives_back = holdings.draining or holdings.paused or overflow.untold
            if gives_back and any(unit.move is not None for unit in units):
                overflow.untold = False
                self.hints.due(self._lane)
            if self._loop.time() - self._letter_at < _LETTER_RACE and any(unit.move is not None for unit in units):
                self.due()
        if self.herald.ended or self.herald.blocked:
            self.herald.tell_written(units)
        if self.holdings.passes is not None:
            self.holdings.passes.flushed(units)
        self.room_made()

    def told(self, flushed: Flushed) -> None:
        """A flush has put something into line or into an inbox: here at once, and others are told after it."""
        for bucket_id in flushed.inbox:
            self.inbox(bucket_id)
        if self._lane in flushed.due:
            self.due()
        if self._guest_lane in flushed.due:
            self.guests()
        if self._hinting:
            self.hints.tell(flushed.due, set(flushed.inbox).difference(self.holdings.buckets))
        if flushed.asks:
            self.cancel()

    def doubted(self) -> None:
        """It is not known whether a claim or a flush was committed."""
        if self.claimer is not None:
            self.claimer.doubt()

    def room_made(self) -> None:
        """There may be room for more."""
        if self.claimer is not None:
            self.claimer.room_made()

    def look(self) -> None:
        """The held runs want to know how their tasks stand."""
        self.watch.hint()

    def confirm(self, runs: Collection[UUID]) -> None:
        """These want to know, and are about to begin."""
        self.watch.confirm(runs)
