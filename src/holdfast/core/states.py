"""The states of a run: what is stored, what people see, and which follow on which."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal


class RunKind(IntEnum):
    """What a run executes. The numbers are stored."""

    WORKFLOW = 1
    ACTIVITY = 2
    """A run of a single activity: a job."""
    MESSAGE = 3
    """A run without code, on a queue."""
    DRIVEN = 4
    """A run that is driven by hand: somebody else has its code, and asks for one step after the other."""


RunKindName = Literal["workflow", "job", "message", "driven"]
RUN_KINDS: dict[RunKindName, RunKind] = {
    "workflow": RunKind.WORKFLOW,
    "job": RunKind.ACTIVITY,
    "message": RunKind.MESSAGE,
    "driven": RunKind.DRIVEN,
}
"""What people call them."""


class Ending(IntEnum):
    """How a run ended: ``result.status``. The numbers are stored."""

    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    CONTINUED = 4
    """Another run goes on for it, with a fresh journal."""


class Continuation(IntEnum):
    """How a run goes on from another one: ``run.continuation``. The numbers are stored."""

    CONTINUE_AS_NEW = 1
    RETRY = 2
    REWIND = 3
    FORK = 4
    """A run of its own: the other one is not replaced by it."""


class RunStatus(StrEnum):
    """The status of a run, as people see it: derived by the view ``runs``, stored nowhere."""

    SCHEDULED = "scheduled"
    """Not due yet, never begun."""
    READY = "ready"
    """Due, not held by a worker."""
    ASSIGNED = "assigned"
    """Held by a worker that has taken it ahead of its time; never begun."""
    RUNNING = "running"
    """Held by a worker."""
    WAITING = "waiting"
    """Parked: for a time, a signal, a back-off."""
    PAUSED = "paused"
    BLOCKED = "blocked"
    """Its code does not fit its journal; retried at long intervals and after a deploy."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CONTINUED = "continued"
    """It has ended, and another run goes on for it."""

    @property
    def ended(self) -> bool:
        """Whether a run with this status has a result."""
        return not RUN_TRANSITIONS[self]


_OPEN = frozenset(
    {
        RunStatus.READY,
        RunStatus.RUNNING,
        RunStatus.WAITING,
        RunStatus.PAUSED,
        RunStatus.BLOCKED,
        RunStatus.SUCCEEDED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
        RunStatus.CONTINUED,
    }
)

RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.SCHEDULED: _OPEN | {RunStatus.ASSIGNED},
    RunStatus.READY: (_OPEN - {RunStatus.READY}) | {RunStatus.SCHEDULED, RunStatus.ASSIGNED},
    RunStatus.ASSIGNED: _OPEN | {RunStatus.SCHEDULED},
    RunStatus.RUNNING: _OPEN - {RunStatus.RUNNING},
    RunStatus.WAITING: _OPEN - {RunStatus.WAITING},
    RunStatus.PAUSED: (_OPEN - {RunStatus.PAUSED}) | {RunStatus.SCHEDULED},
    RunStatus.BLOCKED: _OPEN - {RunStatus.BLOCKED},
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
    RunStatus.CONTINUED: frozenset(),
}
"""Which status may follow on which."""


class Flag(IntEnum):
    """Bits of ``task.flags``."""

    PAUSED = 1
    BLOCKED = 2
    CANCEL = 4
    """A request to cancel lies in the inbox."""
    BEGUN = 8
    """Set before the code of a run is entered that was held by a worker which died: see rule 12.

    Of a run that no worker ever holds: somebody has it in hand, until it is due.
    """
    HAS_PARENT = 16
    """Its end is told to its parent."""
    HAS_CHILDREN = 32
    """It has started children that its end has to see to."""
    ENTERED = 64
    """Its code was executed to the end of its journal and from there to its next wait, or may have been.

    Without it nobody has gone beyond what the journal holds: what the code does from there on it does for the first
    time.
    """
    TERMINATE = 128
    """To its holder: end it at once."""
    WAKE = 256
    """To its holder: ring its earliest timer now."""
    BEATEN = 1024
    """It has, or had, rows in ``heartbeat``."""
    AT_ONCE = 512
    """With PAUSED: what runs of it is not waited for."""
    LIMITED = 2048
    """It holds permits, or did, or waits for one."""
    SIFTED = 4096
    """It was let through by its throttle and its debounce, which look at a start once."""
    RESCHEDULED = 8192
    """To its holder: give it back as soon as nothing of it runs; it is to be due at another time, or elsewhere."""
