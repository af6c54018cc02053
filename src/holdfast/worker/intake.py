"""What all claims have in common: what one brings comes into memory, and says when to look again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from holdfast.core.errors import HoldfastError
from holdfast.core.states import Flag, RunKind
from holdfast.store import work
from holdfast.store.connect import is_away, said, translate
from holdfast.supervise.backoff import Backoff
from holdfast.worker.cargo import Cargo

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from holdfast.store.link import Link
    from holdfast.store.session import Session
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.herald import Herald
    from holdfast.worker.sweeps import Sweeps

log = logging.getLogger("holdfast.worker")

AHEAD = timedelta(seconds=2)
"""How far ahead a claim asks when the next run is due, of those that it does not take."""

_SHORTEST_POLL = 0.025
_WORKFLOW = int(RunKind.WORKFLOW)


class Intake:
    """The connection that claims go over, and what is done with each."""

    def __init__(
        self,
        link: Link,
        identity: work.Identity,
        buckets: Sequence[Bucket],
        clock: DatabaseClock,
        *,
        poll: timedelta,
        limit: float,
        listening: Callable[[], bool],
        known: Callable[[work.Claimed], bool],
        taken: Callable[[Cargo], None],
        jobs: Collection[str],
        herald: Herald,
    ) -> None:
        self.link = link
        self.identity = identity
        self.buckets = buckets
        self.clock = clock
        self.poll = poll.total_seconds()
        self._limit = limit
        self._listening = listening
        self._known = known
        self._taken = taken
        self._jobs = jobs
        self._herald = herald
        self._pause = self.poll
        self.guests_at = 0.0
        """When to look for guests again: no claim pays for it that is made for something else."""
        self.claims = 0
        self.runs = 0

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """For one call, which must not take too long."""
        async with asyncio.timeout(self._limit), self.link.session() as session:
            yield session

    def count(self, claim: work.Claim, began: float) -> None:
        """A claim came back that was sent at ``began``."""
        self.claims += 1
        self.runs += len(claim.runs)
        self.clock.observe(claim.at, began)

    def tell(self, claim: work.Claim, swept: float | None) -> None:
        """``swept``: the seconds that it took, if it was a sweep."""
        if swept is not None and self._herald.swept:
            self._herald.tell_swept(claim, swept)
        if self._herald.claimed:
            self._herald.tell_claimed(claim)

    async def take(self, claim: work.Claim, began: float) -> None:
        """Brings what was claimed into memory."""
        if claim.runs:
            jobs = self._jobs
            if mistaken := [run.run_id for run in claim.runs if run.kind == _WORKFLOW and run.task_name in jobs]:
                await self._call_jobs(mistaken)
            self._taken(await self._loaded(claim, began))

    def pause_after(self, claim: work.Claim, sweeps: Sweeps, *, soon: float | None = None) -> float:
        """Seconds until the next claim; ``soon``: what is due next could be taken ahead in so many, and was not."""
        if self._listening():
            # What comes now comes with a hint.
            self._pause = self.poll
        else:
            self._pause = _SHORTEST_POLL if claim.runs else min(self._pause * 2, self.poll)
        wait = self._pause * random.uniform(0.9, 1.1)
        upcoming = [due for due in claim.next_due.values() if due is not None]
        if upcoming:
            wait = min(wait, self.clock.until(min(upcoming)))
            if soon is not None and any(bucket.early_room() for bucket in self.buckets):
                wait = min(wait, soon)
        if sweeps.owed:
            # A hint came too soon after the last sweep: what it told of may lie below the watermarks.
            wait = min(wait, sweeps.due_in(time.monotonic()))
        return max(wait, 0.0005)

    def complain(self, what: str, error: Exception) -> None:
        """Says in the log that this did not work; the connection is made anew."""
        if self.link.away(error):
            pass
        elif is_away(error):
            log.warning("%s failed: %s", what, said(error))
        elif isinstance(error, HoldfastError | asyncpg.PostgresError):
            # What the database refuses needs no traceback of ours, but a remedy.
            log.error("%s failed, trying again: %s", what, translate(error))
        else:
            log.error("%s failed; trying again", what, exc_info=error)
        self.link.discard()

    async def _call_jobs(self, runs: Sequence[UUID]) -> None:
        """Whoever started these did not have the code, and did not say that it is an activity."""
        try:
            async with self.session() as session:
                await work.call_jobs(session, self.identity, runs)
        except Exception as error:
            # They are executed all the same; what lists and moves jobs takes them for workflows until they end.
            self.complain("saying which runs are jobs", error)

    async def _loaded(self, claim: work.Claim, asked_at: float) -> Cargo:
        """The journals and inboxes of what was claimed, however long that takes: it is ours now."""
        runs = claim.runs
        again = [run.run_id for run in runs if run.hold > 1 and not self._known(run)]
        written = [run.run_id for run in runs if run.inbox_count > 0]
        if not again and not written:
            return Cargo(runs, {}, {}, {}, at=claim.at, asked_at=asked_at)
        unknown = set(again)
        beaten = [run.run_id for run in runs if run.flags & Flag.BEATEN and run.run_id in unknown]
        backoff = Backoff()
        while True:
            try:
                # In later statements than the claim: so they see all that was written before it.
                async with self.session() as session:
                    journals = await work.read_journals(session, again) if again else {}
                    inboxes = await work.read_inboxes(session, written) if written else {}
                    beats = await work.read_heartbeats(session, beaten) if beaten else {}
                return Cargo(runs, journals, inboxes, beats, at=claim.at, asked_at=asked_at)
            except Exception as error:
                self.complain("reading journals", error)
                await asyncio.sleep(backoff.delay())
