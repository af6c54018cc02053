"""The herald of a worker: makes events of what happens, for those who listen.

Each kind has its list of listeners, which the engine looks at and finds empty, mostly; only then is nothing made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.core import events
from holdfast.core.priority import Priority
from holdfast.core.states import Ending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from holdfast.core.listeners import Listeners
    from holdfast.store.work import Claim, Recovered
    from holdfast.worker.attempt import Attempt, Outcome
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.held import Unit

_ENDED: dict[Ending, events.RunEnding] = {
    Ending.SUCCEEDED: "succeeded",
    Ending.FAILED: "failed",
    Ending.CANCELLED: "cancelled",
    Ending.CONTINUED: "continued",
}


class Herald:
    """Tells of one worker; ``name`` is what it is called now."""

    def __init__(self, listeners: Listeners) -> None:
        self.name = ""
        self.begun = listeners.of(events.WorkerStarted)
        self.left = listeners.of(events.WorkerStopped)
        self.claimed = listeners.of(events.RunClaimed)
        self.swept = listeners.of(events.Swept)
        self.ended = listeners.of(events.RunFinished)
        self.blocked = listeners.of(events.RunBlocked)
        self.started = listeners.of(events.ActivityStarted)
        self.done = listeners.of(events.ActivityEnded)
        self.retried = listeners.of(events.ActivityRetried)
        self.flushed = listeners.of(events.FlushDone)
        self.overflowed = listeners.of(events.RunsOverflowed)
        self.recovered = listeners.of(events.RunsRecovered)
        self.renewed = listeners.of(events.LeaseRenewed)
        self.fenced = listeners.of(events.LeaseLost)

    def tell_begun(self, lane: str) -> None:
        """It is registered."""
        self.begun.tell(events.WorkerStarted(worker=self.name, lane=lane))

    def tell_left(self, lane: str) -> None:
        """It has left."""
        self.left.tell(events.WorkerStopped(worker=self.name, lane=lane))

    def tell_claimed(self, claim: Claim) -> None:
        """These runs are its own now."""
        for run in claim.runs:
            self.claimed.tell(
                events.RunClaimed(
                    worker=self.name,
                    run_id=run.run_id,
                    name=run.name,
                    lane=run.lane,
                    priority=Priority(run.priority).word,
                    number=run.hold,
                    due_at=run.due_at,
                    claimed_at=claim.at,
                )
            )

    def tell_swept(self, claim: Claim, seconds: float) -> None:
        """It has looked below its watermarks too."""
        elapsed = timedelta(seconds=seconds)
        self.swept.tell(events.Swept(worker=self.name, runs=len(claim.runs), elapsed=elapsed))

    def tell_written(self, units: Sequence[Unit]) -> None:
        """These writes are durable: some of them have ended or blocked a run."""
        for unit in units:
            owner = unit.owner
            if unit.end is not None and self.ended:
                self.ended.tell(
                    events.RunFinished(
                        worker=self.name,
                        run_id=unit.run_id,
                        name=owner.name,
                        lane=owner.bucket.lane,
                        priority=owner.bucket.priority.word,
                        status=_ENDED[unit.end.status],
                    )
                )
            elif unit.blocked is not None and self.blocked:
                self.blocked.tell(
                    events.RunBlocked(
                        worker=self.name,
                        run_id=unit.run_id,
                        name=owner.name,
                        lane=owner.bucket.lane,
                        reason=unit.blocked,
                    )
                )

    def tell_started(self, attempt: Attempt) -> None:
        """The code of an activity is entered."""
        self.started.tell(
            events.ActivityStarted(
                worker=self.name,
                run_id=attempt.run_id,
                key=attempt.key,
                name=attempt.activity.name,
                attempt=attempt.number,
                workflow=attempt.workflow,
            )
        )

    def tell_done(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt at an activity is over."""
        error = outcome.error
        self.done.tell(
            events.ActivityEnded(
                worker=self.name,
                run_id=attempt.run_id,
                key=attempt.key,
                name=attempt.activity.name,
                attempt=attempt.number,
                workflow=attempt.workflow,
                status=_status(outcome),
                elapsed=outcome.elapsed,
                error=None if error is None else f"{type(error).__name__}: {error}",
            )
        )

    def tell_retried(self, run_id: UUID, key: str, name: str, attempt: int, delay: timedelta) -> None:
        """Another attempt follows."""
        self.retried.tell(
            events.ActivityRetried(worker=self.name, run_id=run_id, key=key, name=name, attempt=attempt, delay=delay)
        )

    def tell_flushed(self, units: int, refused: int, seconds: float) -> None:
        """A group commit is through."""
        elapsed = timedelta(seconds=seconds)
        self.flushed.tell(events.FlushDone(worker=self.name, units=units, refused=refused, elapsed=elapsed))

    def tell_overflowed(self, bucket: Bucket, runs: int) -> None:
        """These go back from a bucket."""
        lane, priority = bucket.lane, bucket.priority.word
        self.overflowed.tell(events.RunsOverflowed(worker=self.name, lane=lane, priority=priority, runs=runs))

    def tell_recovered(self, found: Recovered) -> None:
        """It has made the runs of another worker due again."""
        self.recovered.tell(events.RunsRecovered(worker=self.name, lost_by=found.name, runs=found.runs))

    def tell_renewed(self) -> None:
        """Its lease is renewed."""
        if self.renewed:
            self.renewed.tell(events.LeaseRenewed(worker=self.name))

    def tell_fenced(self, reason: str) -> None:
        """Its lease is lost."""
        self.fenced.tell(events.LeaseLost(worker=self.name, reason=reason))


def _status(outcome: Outcome) -> events.AttemptEnding:
    if outcome.later:
        return "handed over"
    if outcome.error is None:
        return "succeeded"
    return "timed out" if outcome.timed_out else "failed"
