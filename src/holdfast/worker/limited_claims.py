"""The claims of runs that have limits: statements of their own, so that nobody else pays for them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.store import blocks, limits, work
from holdfast.worker.intake import AHEAD
from holdfast.worker.leases import Leases

if TYPE_CHECKING:
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.intake import Intake
    from holdfast.worker.limited import Limited, Reach

_BUSY_POLL = 0.02  # where a permit is free, and who waits for it could not be taken at once
_EMPTY_REST = 0.02
"""Seconds for which one kind of claims that has found nothing is left out, while another one is busy."""
_SORTED = 500
"""So many runs more than there is room for are put in line by one claim."""
_IDLE = 1.0
"""Seconds without a claim after which what is free of leased permits goes back."""


class LimitedClaims:
    """What the claim loop asks of a worker some of whose definitions have limits."""

    def __init__(
        self,
        limited: Limited,
        intake: Intake,
        *,
        held: Collection[UUID],
        unsure: Callable[[], bool],
        leasing: bool,
    ) -> None:
        self._limited = limited
        self._intake = intake
        self._leases = Leases(limited.leasable if leasing else {}, held)
        self._unsure = unsure
        """Whether it may hold runs of which it knows nothing."""
        self._first = 0
        self._heard = False
        """Whether a hint has come since the last claim was sent."""
        self._claimed_at = time.monotonic()
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
        """Something may have become due, or visible though it was due long ago."""
        self._limited.sweeps.owed = True
        self._heard = True
        for reach in self._limited.reaches:
            reach.rests_until = 0.0

    def stirs(self) -> bool:
        """Whether there is room for what waits in line, or permits are to be given back."""
        return any(self._more()) or bool(self._leases.due())

    async def rest(self, *, leave: bool) -> None:
        """No claim is made now: for want of room; with ``leave`` until something happens. Others may want permits."""
        if leave:
            self._leases.withdraw()
        await self._settle()
        if not leave and time.monotonic() - self._claimed_at > _IDLE and (idle := self._leases.idle()):
            await self._give_back(idle)

    async def claim(self, welcome: Sequence[str] | None) -> float:
        """One claim; gives how long to wait for the next. Of guests those with these names are welcome; None: all."""
        limited, intake = self._limited, self._intake
        began = self._claimed_at = time.monotonic()
        await self._settle()
        if limited.is_untidy():
            await self._tidy()
        sweep = limited.sweeps.is_due(began)
        names = limited.repertoire.names
        if welcome and (some := set(welcome).intersection(names)):
            guests = [(one, one.room()) for one in intake.buckets if one.guests and one.room()]
            if guests:
                await self._take(some, guests, sweep=sweep, some=True)
        # Where there is no room it is not known what is in line.
        full = [one.id for one in intake.buckets if not one.room()]
        for reach in limited.reaches:
            reach.more.update(full)
        rooms = [(one, one.room()) for one in intake.buckets if one.room() and (welcome is None or not one.guests)]
        if not rooms:
            return intake.poll
        if sweep:
            limited.sweeps.owed = False
        claims, filled, left_out = await self._take(names, rooms, sweep=sweep)
        if sweep:
            limited.sweeps.made(began, time.monotonic())
        elif welcome is None or welcome:
            intake.guests_at = 0.0
        more = set(self._more())
        if more:
            return 0.0 if any(claim.runs for claim in claims) or not more.isdisjoint(filled) else _BUSY_POLL
        if not claims:
            return _EMPTY_REST if left_out else 0.0
        wait = intake.pause_after(_together(claims), limited.sweeps)
        # Nothing is known of what was left out.
        return min(wait, _EMPTY_REST) if left_out else wait

    async def _take(
        self, names: Collection[str], rooms: Sequence[tuple[Bucket, int]], *, sweep: bool, some: bool = False
    ) -> tuple[list[work.Claim], set[int], bool]:
        """A claim by leases, one that sorts by keys, one of the others, where there are such names.

        Then who was filled, and whether one of them was left out, because it had found nothing just now. Not more than
        these ``rooms``, even if there is more meanwhile. With ``some`` of the names nothing is learned about the lines.
        """
        generations = await self._lease(names, sum(room for _, room in rooms))
        claims: list[work.Claim] = []
        filled: set[int] = set()
        left_out = False
        limited = self._limited
        groups = [
            (limited.leased, [name for name in names if name in generations]),
            (limited.sorted, [name for name in names if name in limited.by_key]),
            (limited.single, [name for name in names if name not in generations and name not in limited.by_key]),
        ]
        self._first = (self._first + 1) % len(groups)
        for reach, those in groups[self._first :] + groups[: self._first]:
            began_anew = not some and reach.turn_to(those)
            left = [(one, min(room, one.room())) for one, room in rooms]
            by_lease = reach is limited.leased
            free = self._leases.free(those) if by_lease else None
            asked = [(one, reach.wanted(one, room)) for one, room in _within(left, free, reach.more) if room]
            if not those or not asked:
                continue
            wide = sweep or began_anew
            if reach.rests and not wide and not some:
                left_out = True
                continue
            self._heard = False
            claim: work.Claim | None
            if by_lease:
                claim = await self._take_leased({name: generations[name] for name in those}, asked, sweep=wide)
            else:
                claim = await self._take_singly(
                    those, asked, sweep=wide, sort=_SORTED if reach is limited.sorted else 0
                )
            if claim is None:
                continue
            claims.append(claim)
            full = self._note(reach, asked, claim) if not some else set[int]()
            if not (claim.runs or some or self._heard):
                reach.rests_until = time.monotonic() + _EMPTY_REST
            if free is not None and full and free < 2 * len(claim.runs):
                # There may be more of them, and there are not as many permits left.
                self._leases.was_short(those)
            filled |= full
        return claims, filled, left_out

    async def _take_leased(
        self, generations: dict[str, int], asked: Sequence[tuple[Bucket, work.Wanted]], *, sweep: bool
    ) -> work.Claim | None:
        intake = self._intake
        began = time.monotonic()
        async with intake.session() as session:
            claim = await blocks.claim_leased(
                session,
                intake.identity,
                [want for _, want in asked],
                names=list(generations),
                generations=list(generations.values()),
                sweep=sweep,
                ahead=AHEAD,
            )
        if claim is None:
            await self._give_back(list(generations))
            return None
        intake.count(claim, began)
        intake.tell(claim, time.monotonic() - began if sweep else None)
        await intake.take(claim, began)
        self._leases.took(claim.runs)
        return claim

    async def _take_singly(
        self, names: Sequence[str], asked: Sequence[tuple[Bucket, work.Wanted]], *, sweep: bool, sort: int
    ) -> limits.LimitedClaim:
        intake = self._intake
        known = self._limited.repertoire.only(names)
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
                workflows=self._limited.workflows,
                sweep=sweep,
                ahead=AHEAD,
                sort=sort,
            )
            intake.count(claim, began)
        intake.tell(claim, time.monotonic() - began if sweep else None)
        await intake.take(claim, began)
        return claim

    def _note(self, reach: Reach, asked: Sequence[tuple[Bucket, work.Wanted]], claim: work.Claim) -> set[int]:
        intake = self._intake
        filled: set[int] = set()
        counts = Counter(run.bucket for run in claim.runs)
        last_due = {run.bucket: run.due_at for run in claim.runs}
        for bucket, want in asked:
            if isinstance(claim, limits.LimitedClaim):
                looked = bucket.id in claim.looked
                full = bucket.id in claim.full if looked else None
                last, waiting = claim.last_due.get(bucket.id), bucket.id in claim.open
            else:
                full = counts[bucket.id] >= want.room
                last, waiting = last_due.get(bucket.id), False
            reach.looked(bucket, at=claim.at, last_due=last, full=full, waiting=waiting)
            if full:
                filled.add(bucket.id)
            if bucket.guests and (due := claim.next_due.get(bucket.id)) is not None:
                intake.guests_at = min(intake.guests_at, time.monotonic() + intake.clock.until(due))
            if bucket.guests and bucket.id in reach.more:
                intake.guests_at = 0.0
        return filled

    def _more(self) -> Iterator[int]:
        """The buckets that have room for what waits in line and has limits."""
        limited = self._limited
        for bucket in self._intake.buckets:
            # In this order: it is asked often, mostly of buckets for which there is no more.
            if any(bucket.id in reach.more for reach in limited.reaches) and bucket.hungry():
                yield bucket.id

    # -- leases

    async def _lease(self, names: Collection[str], room: int) -> dict[str, int]:
        """Those of the names that can be claimed by their leases, each with its generation."""
        leases, intake = self._leases, self._intake
        if not leases.tickets or self._unsure():
            return {}
        now = time.monotonic()
        if bids := leases.bids(names, room, now):
            async with intake.session() as session:
                leases.leased(await blocks.lease_permits(session, intake.identity, bids, leases.tickets), now)
            await self._settle()
        return leases.generations(names, room)

    async def _settle(self) -> None:
        """Gives back what is owed and free."""
        if self._unsure():
            self._leases.withdraw()
        if due := self._leases.due():
            await self._give_back(due)

    async def _give_back(self, names: Sequence[str]) -> None:
        leases, intake = self._leases, self._intake
        generations = leases.giving_back(names)
        async with intake.session() as session:
            left = await blocks.return_permits(session, intake.identity, generations)
        leases.given_back(names, left, sure=not self._unsure())

    async def _tidy(self) -> None:
        intake = self._intake
        async with intake.session() as session:
            await limits.tidy_limits(session)
        if ample := self._leases.ample(sum(bucket.room() for bucket in intake.buckets)):
            await self._give_back(ample)


def _within(
    rooms: Sequence[tuple[Bucket, int]], most: int | None, keen: Collection[int]
) -> Sequence[tuple[Bucket, int]]:
    """The same rooms, or smaller ones, so that there are not more in all: first of those that do not expect much."""
    if most is None or sum(room for _, room in rooms) <= most:
        return rooms
    found: list[tuple[Bucket, int]] = []
    for those in ([one for one in rooms if one[0].id in keen], [one for one in rooms if one[0].id not in keen]):
        wished = sum(room for _, room in those)
        given = [(bucket, room if wished <= most else room * most // wished) for bucket, room in those]
        most -= sum(room for _, room in given)
        found += given
    return found


def _together(claims: Sequence[work.Claim]) -> work.Claim:
    """What comes next, whichever of these has found it."""
    if len(claims) == 1:
        return claims[0]
    upcoming: dict[int, list[datetime]] = {}
    for claim in claims:
        for bucket, due in claim.next_due.items():
            if due is not None:
                upcoming.setdefault(bucket, []).append(due)
    return work.Claim(
        runs=[run for claim in claims for run in claim.runs],
        at=claims[-1].at,
        next_due={bucket: min(dues) for bucket, dues in upcoming.items()},
    )
