"""The timekeeper: what was taken before its time begins on time, unless something has changed meanwhile.

Until then it is as if nobody held it: what is cancelled, paused, woken or moved to another time obeys. Each look at the
held runs says how their tasks stand. Shortly before one is due there is one more, if the last would be too old by then.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core.journal import EntryKind
from holdfast.core.states import Flag
from holdfast.worker.job_run import JobRun
from holdfast.worker.workflow_run import WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.store.work import Claimed, Letter, Seen
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.held import HeldRun

CONFIRM = timedelta(milliseconds=100)
"""So long before a run is due its task is looked at."""

SPAN = timedelta(milliseconds=200)
"""With it all that are due within so long: then a look is not yet too old for the last of them (rule 15)."""

_FRESH = 0.24
_LONGEST = 0.5
"""Seconds after which the clock is looked at again: the database's may have been set."""
_SHORTEST = 0.0002


class Timekeeper:
    """Has the runs of one worker that are not due yet, and tells when they are."""

    def __init__(
        self,
        buckets: Mapping[int, Bucket],
        clock: DatabaseClock,
        *,
        confirm: Callable[[Collection[UUID]], None],
        due: Callable[[Bucket], None],
    ) -> None:
        self._buckets = buckets
        self._clock = clock
        self._confirm = confirm
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._confirmed: datetime | None = None
        """What is due by then has been looked at, or is about to be."""

    def keep(self, run: HeldRun, claimed: Claimed) -> bool:
        """Takes a run that is not due yet, until it is; False: it has something to say at once."""
        if not isinstance(run, JobRun | WorkflowRun):
            return False
        run.bucket.ahead.add(run, claimed.due_at, untouched=claimed.first_claim_at >= claimed.due_at)
        return True

    @property
    def holds(self) -> int:
        """How many runs are not due yet."""
        return sum(len(bucket.ahead) for bucket in self._buckets.values())

    def look(self) -> None:
        """Whose time has come is in line from now on; whose time is near is confirmed; and the alarm is set."""
        now = self._clock.now()
        some = [bucket for bucket in self._buckets.values() if bucket.ahead]
        for bucket in some:
            self._begin(bucket, now)
        if self._confirmed is None or not now <= self._confirmed <= now + SPAN:
            self._confirmed = now
        if any(moment <= now + CONFIRM for moment in self._unconfirmed(some)):
            self._confirmed = now + SPAN
            self._confirm_some(some, now)
        moments = [moment - CONFIRM for moment in self._unconfirmed(some)]
        moments += [bucket.ahead.first_due for bucket in some if bucket.ahead.first_due is not None]
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if moments:
            wait = min(max(self._clock.until(min(moments)), _SHORTEST), _LONGEST)
            self._alarm = self._loop.call_later(wait, self.look)

    def _begin(self, bucket: Bucket, now: datetime) -> None:
        came = [early.run for early in bucket.ahead.until(now)]
        if not came:
            return
        if not bucket.ready and not bucket.running:
            bucket.idles_no_more()
        for run in came:
            self._release(run)
        self._due(bucket)

    def _unconfirmed(self, some: Sequence[Bucket]) -> list[datetime]:
        """The first moments at which something is due that has not been looked at for it."""
        assert self._confirmed is not None
        return [moment for bucket in some if (moment := bucket.ahead.after(self._confirmed)) is not None]

    def _confirm_some(self, some: Sequence[Bucket], now: datetime) -> None:
        assert self._confirmed is not None
        known = time.monotonic() - _FRESH
        unsure = [
            early.run.run_id
            for bucket in some
            for early in bucket.ahead.until(self._confirmed)
            if early.run.looked_at < known + (early.due - now).total_seconds()
        ]
        if unsure:
            self._confirm(unsure)

    def _release(self, run: HeldRun) -> None:
        run.bucket.ahead.discard(run.run_id)
        run.bucket.ready.append(run)

    def _release_early(self, run: HeldRun) -> None:
        self._release(run)
        if isinstance(run, WorkflowRun):
            run.enter_early()

    # -- what the looks at held runs say

    def seen(self, run: HeldRun, seen: Seen | None) -> bool:
        """How the task of a held run stands now; True when its inbox is to be read."""
        unread = run.looked(seen)
        ahead = run.bucket.ahead
        if seen is None or not ahead or run.run_id not in ahead:
            return unread
        if seen.due_at != ahead[run.run_id].due or (seen.lane, seen.priority) != (run.bucket.lane, run.bucket.priority):
            # Whoever claims it next, perhaps at once, and perhaps this worker, has it as it is now.
            untouched = ahead[run.run_id].untouched
            ahead.discard(run.run_id)
            run.give_back(untouched=untouched)
        elif seen.flags & Flag.WAKE:
            self._release_early(run)
            self._due(run.bucket)
        return unread

    def letters(self, run: HeldRun, letters: Sequence[Letter], *, woken: bool) -> None:
        """These came to the inbox of a held run; ``woken``: one that was not held would be due now."""
        ahead = run.bucket.ahead
        if not ahead or run.run_id not in ahead:
            run.letters(letters)
            return
        cancelled = any(letter.kind is EntryKind.CANCEL for letter in letters)
        if not woken and not cancelled:
            # It does not wait for them: it sees them when it is due.
            run.receive(letters)
            return
        if cancelled and ahead[run.run_id].untouched and isinstance(run, WorkflowRun):
            ahead.discard(run.run_id)
            run.call_off()
            return
        self._release_early(run)
        run.letters(letters)
        self._due(run.bucket)

    # -- giving back

    def evict(self, bucket: Bucket, most: int) -> int:
        """Gives back so many of those that are due last; says how many it were."""
        given = 0
        for early in bucket.ahead.last(most):
            bucket.ahead.discard(early.run.run_id)
            if early.run.give_back(untouched=early.untouched):
                bucket.parting.add(early.run.run_id)
                given += 1
        return given

    def close(self) -> None:
        """Nothing begins here any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for bucket in self._buckets.values():
            bucket.ahead.clear()
