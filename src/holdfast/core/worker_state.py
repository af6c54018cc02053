"""The states of a worker and of its buckets, which follow on which, and what may be asked of a worker when."""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """How a worker stands. It says so itself with each heartbeat, but for the last one: others say that it is lost."""

    ACTIVE = "active"
    PAUSED = "paused"
    """It begins no run; what it has begun goes on."""
    DRAINING = "draining"
    """It begins no run, and leaves when all that it has begun has ended or waits."""
    STOPPING = "stopping"
    """The same, but it waits for no longer than its grace."""
    LEFT = "left"
    LOST = "lost"
    """Its lease was over, and others have its runs."""

    @property
    def ended(self) -> bool:
        """Whether it will never do anything again."""
        return not WORKER_TRANSITIONS[self]


_ENDS = {WorkerState.LEFT, WorkerState.LOST}

WORKER_TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.ACTIVE: frozenset({WorkerState.PAUSED, WorkerState.DRAINING, WorkerState.STOPPING} | _ENDS),
    WorkerState.PAUSED: frozenset({WorkerState.ACTIVE, WorkerState.DRAINING, WorkerState.STOPPING} | _ENDS),
    WorkerState.DRAINING: frozenset({WorkerState.STOPPING} | _ENDS),
    WorkerState.STOPPING: frozenset(_ENDS),
    WorkerState.LEFT: frozenset(),
    WorkerState.LOST: frozenset(),
}
"""Which state may follow on which."""


class BucketState(StrEnum):
    """How a bucket stands."""

    ACTIVE = "active"
    """Its worker takes runs into it."""
    COMPLETING = "completing"
    """Its worker is about to leave: what is in it ends or is given back, and nothing more comes in."""
    LOST = "lost"
    """Its worker is gone, and what is in it is nobody's."""
    DRAINING = "draining"
    """Its runs are being made due again."""
    READY_TO_DELETE = "ready to delete"
    """Nothing is in it any more."""


BUCKET_TRANSITIONS: dict[BucketState, frozenset[BucketState | None]] = {
    BucketState.ACTIVE: frozenset({BucketState.COMPLETING, BucketState.LOST}),
    BucketState.COMPLETING: frozenset({BucketState.LOST, None}),
    BucketState.LOST: frozenset({BucketState.DRAINING}),
    BucketState.DRAINING: frozenset({BucketState.READY_TO_DELETE}),
    BucketState.READY_TO_DELETE: frozenset({None}),
}
"""Which state may follow on which; None: it is deleted. Each begins as active."""


class Wish(StrEnum):
    """What may be asked of a worker."""

    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    STOP = "stop"
    STOP_NOW = "stop now"
    """Without waiting for what runs."""

    @property
    def command(self) -> str | None:
        """What the heartbeat's answer says from then on; nothing, where the worker is to work as usual."""
        return None if self is Wish.RESUME else self.value

    @property
    def wanted(self) -> WorkerState:
        """How a worker stands that has obeyed; it may be further on."""
        return _WANTED[self]

    def may_follow(self, command: str | None, state: WorkerState) -> bool:
        """Whether it may be asked of a worker that stands so, and that was asked this before: never less than that."""
        return self._rank >= max(_RANKS[Wish(command or Wish.RESUME)], _STATE_RANKS[state])

    def is_granted(self, state: WorkerState) -> bool:
        """Whether a worker that stands so has obeyed."""
        return state is self.wanted or (self._rank > 0 and state in (WorkerState.STOPPING, WorkerState.LEFT))

    @property
    def _rank(self) -> int:
        return _RANKS[self]


_WANTED = {
    Wish.PAUSE: WorkerState.PAUSED,
    Wish.RESUME: WorkerState.ACTIVE,
    Wish.DRAIN: WorkerState.DRAINING,
    Wish.STOP: WorkerState.STOPPING,
    Wish.STOP_NOW: WorkerState.STOPPING,
}
# A worker that is about to leave is not called back: of these, each may only be followed by one as high or higher.
_RANKS = {Wish.PAUSE: 0, Wish.RESUME: 0, Wish.DRAIN: 1, Wish.STOP: 2, Wish.STOP_NOW: 3}
_STATE_RANKS = {
    WorkerState.ACTIVE: 0,
    WorkerState.PAUSED: 0,
    WorkerState.DRAINING: 1,
    WorkerState.STOPPING: 2,
    WorkerState.LEFT: 4,
    WorkerState.LOST: 4,
}
