"""The claim loop: refills the buckets, and knows when to look again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.core.errors import WorkerFenced
from holdfast.store import work
from holdfast.supervise.backoff import Backoff
from holdfast.worker.intake import AHEAD, Intake
from holdfast.worker.limited_claims import LimitedClaims
from holdfast.worker.pace import Pace
from holdfast.worker.sweeps import Sweeps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta
    from uuid import UUID

    from holdfast.store.link import Link
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.cargo import Cargo
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.glance import Glance
    from holdfast.worker.herald import Herald
    from holdfast.worker.limited import Limited
    from holdfast.worker.repertoire import Repertoire

_FORESEE_EVERY = 0.1
_FORESEE_SHARE = 20  # a look at what is not due yet may walk the dead, too

_GUESTS_SHARE = 0.85  # of a poll: so that each poll looks for guests too

_DOUBT = 180.0
"""Seconds for which strays are looked for: a claim that was given up may lie so long in a network before it arrives."""
_FIRST_LOOK = 0.5
_LONGEST_LOOK = 5.0


class Claimer:
    """Claims whenever a bucket has room and there may be something: after a hint, at the next due time, at the poll."""

    def __init__(
        self,
        link: Link,
        identity: work.Identity,
        buckets: Sequence[Bucket],
        clock: DatabaseClock,
        *,
        repertoire: Repertoire,
        limited: Limited | None,
        poll: timedelta,
        lead: timedelta,
        limit: float,
        listening: Callable[[], bool],
        saturated: Callable[[], bool],
        known: Callable[[work.Claimed], bool],
        taken: Callable[[Cargo], None],
        jobs: Collection[str],
        held: Collection[UUID],
        stray: Callable[[int, UUID, int], None],
        guests: Callable[[], Sequence[str] | None],
        fenced: Callable[[WorkerFenced], None],
        herald: Herald,
        evict: Callable[[Bucket, int], None],
        idle: Callable[[], None] | None = None,
        glance: Glance | None = None,
    ) -> None:
        self._intake = Intake(
            link,
            identity,
            buckets,
            clock,
            poll=poll,
            limit=limit,
            listening=listening,
            known=known,
            taken=taken,
            jobs=jobs,
            herald=herald,
        )
        self._limited = (
            None
            if limited is None
            else LimitedClaims(
                limited,
                self._intake,
                held=held,
                unsure=lambda: time.monotonic() < self._unsure_until,
                leasing=idle is None,
            )
        )
        self._buckets = buckets
        self._repertoire = repertoire
        self._lead = lead
        self._saturated = saturated
        self._held = held
        self._stray = stray
        self._guests = guests
        self._unsure_until = 0.0
        self._look_at = 0.0
        self._look_pause = _FIRST_LOOK
        self._fenced = fenced
        self._idle = idle
        self._evict = evict
        self._glance = glance
        self._lanes = frozenset(bucket.lane for bucket in buckets)
        self._wake = asyncio.Event()
        self._sweeps = Sweeps()
        self._looks_ahead = Pace(_FORESEE_EVERY, share=_FORESEE_SHARE)
        self.paused = False

    @property
    def claims(self) -> int:
        """How often it has claimed."""
        return self._intake.claims

    @property
    def runs(self) -> int:
        """How many runs it has claimed."""
        return self._intake.runs

    def hint(self) -> None:
        """Something may have become due, or visible though it was due long ago."""
        self._sweeps.owed = True
        if self._limited is not None:
            self._limited.hint()
        self._wake.set()

    def hint_guests(self) -> None:
        """Activities may have been dispatched, for whoever has room for them."""
        self._intake.guests_at = 0.0
        self.hint()

    def doubt(self) -> None:
        """What memory says of the runs held here may not be what the database says: it is to be asked."""
        self._unsure_until = time.monotonic() + _DOUBT
        self._look_at = 0.0
        self._look_pause = _FIRST_LOOK
        self._wake.set()

    def room_made(self) -> None:
        """A bucket may have room again: of interest only where more was in line when it was last looked at."""
        for bucket in self._buckets:
            if bucket.more and (bucket.hungry() or bucket.pressed()):
                self._wake.set()
                if bucket.guests:
                    self._intake.guests_at = 0.0
        if self._limited is not None and not self._wake.is_set() and self._limited.stirs():
            self._wake.set()
        if self._idle is not None:
            self._wake.set()

    def place_made(self) -> None:
        """An activity may begin at once that could not before."""
        if any(bucket.guests and bucket.hungry() for bucket in self._buckets):
            self.hint_guests()

    async def run(self) -> None:
        """Claims until it is cancelled."""
        backoff = Backoff()
        wait = 0.0
        while True:
            await self._rest(wait)
            claims = self._has_room() and not self.paused
            if not claims:
                for bucket in self._buckets:
                    bucket.more = bucket.more or not bucket.room()
                wait = self._intake.poll
                if self._limited is None:
                    continue
            try:
                if self._limited is not None and not claims:
                    await self._limited.rest(leave=self.paused)
                    continue
                if self._look_at <= time.monotonic() < self._unsure_until:
                    await self._find_strays()
                before = self.runs
                wait = await self._claim()
                if self._idle is not None and self.runs == before and not self._held:
                    self._idle()
                backoff.reset()
                if self._glance is not None and self._expects_nothing(wait):
                    if self._limited is not None:
                        await self._limited.rest(leave=True)
                    with self._glance.rest(self.hint_guests, self._lanes):
                        await self._wake.wait()
            except Exception as error:
                if getattr(error, "sqlstate", None) == "HF001":
                    self._fenced(WorkerFenced(f"{error}; other workers have its runs"))
                    return
                self._intake.complain("claim", error)
                # It may have been committed all the same, or may yet be: then the database says that we hold what we
                # know nothing of.
                self.doubt()
                await asyncio.sleep(backoff.delay())
                wait = 0.0

    def _expects_nothing(self, wait: float) -> bool:
        """Whether it would look again only because it is time to: then the glance may do that for it."""
        held = any(bucket.held for bucket in self._buckets)
        owed = self._sweeps.owed or (self._limited is not None and self._limited.owed)
        return wait >= 0.85 * self._intake.poll and not held and not owed and self._unsure_until < time.monotonic()

    async def _find_strays(self) -> None:
        # What is held now cannot be a stray, nor can what was let go meanwhile: only this loop claims.
        before = set(self._held)
        async with self._intake.session() as session:
            rows = await work.held(session, [bucket.id for bucket in self._buckets])
        self._look_at = time.monotonic() + self._look_pause
        self._look_pause = min(self._look_pause * 2, _LONGEST_LOOK)
        for run_id, hold, bucket_id in rows:
            if run_id not in before and run_id not in self._held:
                self._stray(bucket_id, run_id, hold)

    async def _rest(self, seconds: float) -> None:
        if seconds <= 0:
            self._wake.clear()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim(self) -> float:
        """One claim; gives how long to wait for the next, unless something comes."""
        began = time.monotonic()
        for bucket in self._buckets:
            bucket.measure()
            if pressed := bucket.pressed():
                self._evict(bucket, pressed)
            if not bucket.room():
                # Whatever has become due meanwhile: it is looked for when there is room.
                bucket.more = True
        welcome: Sequence[str] | None = ()
        if began >= self._intake.guests_at:
            welcome = self._guests()
            self._intake.guests_at = began + self._intake.poll * _GUESTS_SHARE
        limited = self._limited
        if limited is None:
            return await self._claim_unlimited(welcome)
        limited.first = not self._repertoire.names or not limited.first
        wait = await limited.claim(welcome) if limited.first else self._intake.poll
        if not self._repertoire.names:
            return wait
        if limited.first:
            return min(wait, await self._claim_unlimited(welcome))
        wait = await self._claim_unlimited(welcome)
        return min(wait, await limited.claim(welcome))

    async def _claim_unlimited(self, welcome: Sequence[str] | None) -> float:
        # A sweep looks below the watermarks: for what became visible late.
        now = time.monotonic()
        sweep, early = self._sweeps.is_due(now), self._looks_ahead.is_due(now)
        asked = self._wanted(guests=welcome is None, early=early)
        if welcome and (rooms := self._wanted(guests=True, others=False)):
            if self._limited is not None:
                welcome = [name for name in welcome if name not in self._limited.names]
            if welcome:
                await self._claim_from(rooms, sweep=sweep, names=welcome)
        if not asked:
            return self._intake.poll
        if sweep:
            self._sweeps.owed = False
        claim = await self._claim_from(asked, sweep=sweep, early=early)
        if not sweep and (welcome is None or welcome):
            # What they told of may lie below the watermarks: with the next sweep they are looked for again.
            self._intake.guests_at = 0.0
        if any(
            bucket.more and bucket.hungry()
            for bucket in self._buckets
            if not bucket.guests or not self._intake.guests_at
        ):
            return 0.0
        soon = None if early else self._looks_ahead.due_in(time.monotonic())
        return self._intake.pause_after(claim, self._sweeps, soon=soon)

    async def _claim_from(
        self,
        asked: Sequence[tuple[Bucket, work.Wanted]],
        *,
        sweep: bool,
        names: Sequence[str] | None = None,
        early: bool = False,
    ) -> work.Claim:
        """One call for these buckets, of runs with these names; None: of all that this worker has."""
        began = time.monotonic()
        known = self._repertoire
        early = early and any(want.early for _, want in asked)
        async with self._intake.session() as session:
            claim = await work.claim(
                session,
                self._intake.identity,
                [want for _, want in asked],
                names=known.names if names is None else names,
                fresh=known.fresh if names is None else (),
                begun=known.begun if names is None else (),
                sweep=sweep,
                ahead=AHEAD,
                lead=self._lead if early else None,
            )
            self._intake.count(claim, began)
            now = time.monotonic()
            if sweep and names is None:
                self._sweeps.made(began, now)
            if early:
                self._looks_ahead.made(began, now)
        self._intake.tell(claim, time.monotonic() - began if sweep else None)
        self._note(asked, claim)
        await self._intake.take(claim, began)
        return claim

    def _wanted(self, *, guests: bool, others: bool = True, early: bool = False) -> list[tuple[Bucket, work.Wanted]]:
        looked = [bucket for bucket in self._buckets if (guests if bucket.guests else others)]
        return [(bucket, bucket.wanted(early=early)) for bucket in looked if bucket.room()]

    def _has_room(self) -> bool:
        room = any(bucket.room() or bucket.pressed() for bucket in self._buckets)
        return room and not self._saturated()

    def _note(self, asked: Sequence[tuple[Bucket, work.Wanted]], claim: work.Claim) -> None:
        counts, last_due = due_in(claim)
        for bucket, want in asked:
            if bucket.guests and (due := claim.next_due.get(bucket.id)) is not None:
                self._intake.guests_at = min(self._intake.guests_at, time.monotonic() + self._intake.clock.until(due))
            full = counts.get(bucket.id, 0) >= want.room
            bucket.looked(at=claim.at, last_due=last_due.get(bucket.id), full=full)
            if bucket.guests and full:
                self._intake.guests_at = 0.0


def due_in(claim: work.Claim) -> tuple[dict[int, int], dict[int, datetime]]:
    """For each bucket: how many runs came that were due, and when the last of them was; the others say nothing."""
    counts: dict[int, int] = {}
    last_due: dict[int, datetime] = {}
    for run in claim.runs:
        if run.due_at <= claim.at:
            counts[run.bucket] = counts.get(run.bucket, 0) + 1
            last_due[run.bucket] = run.due_at
    return counts, last_due
