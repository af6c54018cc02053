"""The claims of runs that have limits: a statement of their own, so that nobody else pays for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.store import limits, work
from holdfast.worker.intake import AHEAD

if TYPE_CHECKING:
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.intake import Intake
    from holdfast.worker.limited import Limited
    from holdfast.worker.repertoire import Repertoire

_BUSY_POLL = 0.02  # where a permit is free, and who waits for it could not be taken at once


class LimitedClaims:
    """What the claim loop asks of a worker some of whose definitions have limits."""

    def __init__(self, limited: Limited, intake: Intake, *, one_at_a_time: bool) -> None:
        self._limited = limited
        self._intake = intake
        self._one_at_a_time = one_at_a_time
        self.first = False
        """Whose turn it is to be claimed first: else the one could take all the room from the other."""

    @property
    def names(self) -> Sequence[str]:
        """The names of tasks that have limits."""
        return self._limited.repertoire.names

    @property
    def owed(self) -> bool:
        """Whether something was told of that may lie below the watermarks."""
        return self._limited.sweeps.owed

    def hint(self) -> None:
        """Something may have become visible that was due long ago."""
        self._limited.sweeps.owed = True

    def hungry(self) -> bool:
        """Whether there is room for what waits in line."""
        return any(self._more())

    async def claim(self, welcome: Sequence[str] | None) -> float:
        """One claim; gives how long to wait for the next. Of guests those with these names are welcome; None: all."""
        limited, intake = self._limited, self._intake
        began = time.monotonic()
        if limited.is_untidy():
            async with intake.session() as session:
                await limits.tidy_limits(session)
        sweep = limited.sweeps.is_due(began)
        known = limited.repertoire
        if welcome and (names := set(welcome).intersection(known.names)):
            guests = [(one, limited.wanted(one)) for one in intake.buckets if one.guests and one.room()]
            if guests:
                await self._take(known.only(names), guests, sweep=sweep)
        asked = self._wanted(guests=welcome is None)
        if not asked:
            return intake.poll
        if sweep:
            limited.sweeps.owed = False
        claim = await self._take(known, asked, sweep=sweep)
        if sweep:
            limited.sweeps.made(began, time.monotonic())
        elif welcome is None or welcome:
            intake.guests_at = 0.0
        self._note(asked, claim)
        more = set(self._more())
        if more:
            return 0.0 if claim.runs or not more.isdisjoint(claim.full) else _BUSY_POLL
        return intake.pause_after(claim, limited.sweeps)

    def _wanted(self, *, guests: bool) -> list[tuple[Bucket, work.Wanted]]:
        limited, intake = self._limited, self._intake
        if self._one_at_a_time:
            bucket = intake.next_in_turn()
            return [(bucket, limited.wanted(bucket, 1))]
        # Where there is no room it is not known what is in line.
        limited.more.update(one.id for one in intake.buckets if not one.room())
        return [(one, limited.wanted(one)) for one in intake.buckets if one.room() and (guests or not one.guests)]

    def _note(self, asked: Sequence[tuple[Bucket, work.Wanted]], claim: limits.LimitedClaim) -> None:
        limited, intake = self._limited, self._intake
        for bucket, _ in asked:
            limited.looked(bucket, claim)
            if bucket.guests and (due := claim.next_due.get(bucket.id)) is not None:
                intake.guests_at = min(intake.guests_at, time.monotonic() + intake.clock.until(due))
            if bucket.guests and bucket.id in limited.more:
                intake.guests_at = 0.0

    async def _take(
        self, known: Repertoire, asked: Sequence[tuple[Bucket, work.Wanted]], *, sweep: bool
    ) -> limits.LimitedClaim:
        intake = self._intake
        began = time.monotonic()
        async with intake.session() as session:
            claim = await limits.claim_limited(
                session,
                intake.identity,
                [want for _, want in asked],
                names=known.names,
                fresh=known.fresh,
                begun=known.begun,
                tickets=self._limited.tickets,
                sweep=sweep,
                ahead=AHEAD,
            )
            intake.count(claim, began)
        intake.tell(claim, time.monotonic() - began if sweep else None)
        await intake.take(claim, began)
        return claim

    def _more(self) -> Iterator[int]:
        """The buckets that have room for what waits in line and has limits."""
        yield from (one.id for one in self._intake.buckets if one.id in self._limited.more and one.hungry())
