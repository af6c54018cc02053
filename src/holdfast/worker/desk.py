"""What a run in memory needs of the worker that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from holdfast.client.ids import Ids
    from holdfast.core.failure import Failure
    from holdfast.core.seal import Seal
    from holdfast.core.settings import JournalLimits
    from holdfast.store.work import Claimed
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.executor import Executor
    from holdfast.worker.held import HeldRun, Unit
    from holdfast.worker.herald import Herald
    from holdfast.worker.passes import Passes
    from holdfast.workflow.activity import Activity


class Desk(Protocol):
    """Where the runs of one tenure hand in what they want written and done."""

    clock: DatabaseClock
    executor: Executor
    herald: Herald
    ids: Ids
    passes: Passes | None
    journal_limits: JournalLimits
    seal: Seal
    draining: bool

    def write(self, unit: Unit) -> None:
        """To the group commit."""
        ...

    def recorded(self, unit: Unit) -> None:
        """This is durable already, without the group commit."""
        ...

    def let_go(self, run: HeldRun, *, cached: bool = False) -> None:
        """The run is not held any more; a cached one may go on from memory when it is claimed here again."""
        ...

    def look(self) -> None:
        """Has the inboxes of what is held read, without waiting for the next poll."""
        ...

    def slot_freed(self, bucket: Bucket) -> None:
        """A slot of the bucket is free: the next run may begin."""
        ...

    def cleared(self) -> None:
        """A suspect has got on: it is given back, for others."""
        ...

    def step_soon(self, run: Any) -> None:
        """Calls ``run.step()`` from a callback of the loop, outside of any task."""
        ...

    def sealed(self, failure: Failure) -> str:
        """The failure as it is stored; cut down to its message where it is larger than the payload limit."""
        ...

    def remaining(self, claimed: Claimed, activity: Activity[..., Any]) -> float | None:
        """Seconds that a job has left of its run's timeout and its activity's total timeout; None: no limit."""
        ...

    def out_of_time(self, claimed: Claimed) -> Failure:
        """The failure of a run whose timeout has passed."""
        ...
