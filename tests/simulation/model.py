"""What the schema's functions come to, in a few lines: a run and a worker as they are to be after each that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.journal import EntryKind
from holdfast.core.states import RUN_TRANSITIONS, Ending, Flag, RunStatus
from holdfast.core.worker_state import WorkerState
from holdfast.store.work import FOREVER
from tests.simulation.world import BEGINNING

if TYPE_CHECKING:
    from holdfast.store.work import Identity
    from holdfast.store.writes import Move

NEVER = FOREVER.replace(tzinfo=BEGINNING.tzinfo)
LANE, ALONE = "default", "default alone"

SEEN_FLAGS = Flag.PAUSED | Flag.BLOCKED | Flag.CANCEL | Flag.BEGUN | Flag.TERMINATE | Flag.WAKE
"""The flags that the model knows."""

_ENDED = {
    Ending.SUCCEEDED: RunStatus.SUCCEEDED,
    Ending.FAILED: RunStatus.FAILED,
    Ending.CANCELLED: RunStatus.CANCELLED,
    Ending.CONTINUED: RunStatus.CONTINUED,
}


@dataclass(eq=False, slots=True)
class Hand:
    """A worker without code, and what the model knows of it."""

    identity: Identity
    lanes: list[str]
    pid: int
    lease_until: datetime
    state: WorkerState
    command: str | None
    known: dict[UUID, list[int]] = field(default_factory=dict[UUID, list[int]])
    """The holds that it was given, also those that it has no more."""

    def __repr__(self) -> str:
        return f"w{self.pid}"

    def is_alive(self, now: datetime) -> bool:
        """Whether it has a lease."""
        return not self.state.ended and self.lease_until > now


@dataclass(eq=False, slots=True)
class Run:
    """What the model knows of a run."""

    run_id: UUID
    name: str
    due: datetime
    deadline: datetime | None = None
    holder: Hand | None = None
    hold: int = 0
    waits: bool = False
    flags: int = 0
    was_due: datetime | None = None
    """When it will be due again, of one that is paused; nothing: at once."""
    first_claim: datetime | None = None
    crashes: int = 0
    alone: bool = False
    ended: Ending | None = None
    next: Run | None = None
    count: int = 0
    """The number of its last letter."""
    seen: int = 0
    unseen: dict[int, EntryKind] = field(default_factory=dict[int, EntryKind])
    keys: set[str] = field(default_factory=set[str])
    rows: int = 0
    """Of its journal."""
    progress: int = 0
    """The hold under which the last of them was written."""

    def __repr__(self) -> str:
        return self.name

    def newest(self) -> Run:
        """What it has become."""
        return self if self.next is None else self.next.newest()

    def status(self, now: datetime) -> RunStatus:
        """What people see."""
        if self.ended is not None:
            return _ENDED[self.ended]
        due = self.due <= now
        if self.flags & Flag.PAUSED:
            return RunStatus.PAUSED
        if (self.holder is not None and due) or (self.flags & Flag.BEGUN and not due):
            return RunStatus.RUNNING
        if self.flags & Flag.BLOCKED:
            return RunStatus.BLOCKED
        if due:
            return RunStatus.READY
        if self.holder is not None and (self.first_claim is None or self.is_untouched(now)):
            return RunStatus.ASSIGNED
        return RunStatus.SCHEDULED if self.first_claim is None else RunStatus.WAITING

    def is_untouched(self, now: datetime) -> bool:
        """Whether it was only ever taken ahead of its time, and nobody has begun it."""
        return self.first_claim is not None and self.first_claim > now and not self.progress

    def is_due(self, now: datetime, lead: timedelta | None = None) -> bool:
        """Whether a claim finds it; with a lead, whether one finds it that looks so far ahead, and no further back."""
        if self.ended is not None or self.holder is not None:
            return False
        if lead is None:
            return self.due <= now
        return now < self.due <= now + lead and (self.deadline is None or self.deadline > self.due)

    # ---- what workers do

    def taken(self, hand: Hand, now: datetime, *, early: bool) -> None:
        """Somebody has claimed it."""
        self.holder = hand
        self.hold += 1
        self.waits = early and self.waits
        if self.first_claim is None:
            self.first_claim = max(self.due, now)

    def moved(self, move: Move, now: datetime) -> None:
        """Its holder has given it back like this."""
        kept = self.flags & ~move.clear
        waits = self.waits if move.waits is None else move.waits
        if kept & (Flag.TERMINATE | Flag.WAKE):
            self.due = now
        elif self.flags & Flag.PAUSED:
            self.due = NEVER
        elif (self.count > move.seen and self.flags & Flag.CANCEL) or (waits and self.count > move.seen):
            self.due = now
        else:
            due = self.due if move.after is None else now + move.after
            self.due = max(due if move.due is None else aware(move.due), now)
        self._untaken(now, move.seen, progress=move.progress)
        self.waits = waits
        self.flags = kept | move.set
        self.holder = None
        if move.progress:
            self.crashes, self.alone = 0, False

    def _untaken(self, now: datetime, seen: int, *, progress: bool) -> None:
        if not progress and (seen < 0 or self.is_untouched(now)):
            self.first_claim = None

    def begun(self, now: datetime) -> None:
        """Its holder says that it is about to enter its code."""
        self.flags |= Flag.BEGUN
        if not self.flags & Flag.PAUSED:
            self.due = min(self.due, now)

    def left(self, now: datetime, *, crashed: bool) -> None:
        """Its holder has left it behind, or is dead."""
        progress = self.progress == self.hold
        if crashed:
            if progress:
                self.crashes = 1
            elif self.due <= now and (self.crashes == 0 or self.flags & Flag.BEGUN):
                self.crashes += 1
            self.alone = self.alone or self.crashes >= 2
        self.due = max(self._left_due(now), now)
        if self.is_untouched(now):
            self.first_claim = None
        self.flags &= ~Flag.BEGUN
        self.holder = None

    def _left_due(self, now: datetime) -> datetime:
        if self.due <= now or self.flags & Flag.PAUSED:
            return self.due
        asked = self.flags & (Flag.TERMINATE | Flag.WAKE)
        return now if asked or (self.unseen and (self.waits or self.flags & Flag.CANCEL)) else self.due

    def end(self, ending: Ending) -> None:
        """It has ended."""
        self.ended, self.holder = ending, None

    def continued(self, new: UUID, now: datetime) -> Run:
        """It has ended, and this goes on for it."""
        asked = self.flags & (Flag.PAUSED | Flag.TERMINATE)
        self.end(Ending.CONTINUED)
        self.next = Run(
            new,
            f"{self.name}'",
            NEVER if asked == Flag.PAUSED else now,
            deadline=self.deadline,
            flags=asked | (Flag.CANCEL if EntryKind.CANCEL in self.unseen.values() else 0),
            count=max(self.unseen, default=0),
            unseen=dict(self.unseen),
            keys=set(self.keys),
        )
        return self.next

    # ---- what callers do, each to what it has become, and what it is answered

    def signalled(self, now: datetime, key: str | None) -> bool:
        if key is not None:
            if key in self.keys:
                return False
            self.keys.add(key)
        self._lettered(EntryKind.SIGNAL)
        if self.holder is None and self.waits and not self.flags & Flag.PAUSED:
            self.due = min(self.due, now)
        return True

    def _lettered(self, kind: EntryKind) -> None:
        self.count += 1
        self.unseen[self.count] = kind

    def cancelled(self, now: datetime) -> str:
        if self.ended is not None:
            return "ended"
        if self.holder is None and self.first_claim is None:
            self.end(Ending.CANCELLED)
            return "cancelled"
        if not self.flags & Flag.CANCEL:
            self.flags |= Flag.CANCEL
            self._lettered(EntryKind.CANCEL)
            if self.holder is None and not self.flags & Flag.PAUSED:
                self.due = min(self.due, now)
        return "requested"

    def terminated(self, _now: datetime) -> str:
        if self.ended is not None:
            return "ended"
        if self.holder is None:
            self.end(Ending.CANCELLED)
            return "done"
        self.flags |= Flag.TERMINATE
        return "requested"

    def paused(self, now: datetime) -> str:
        if self.ended is not None:
            return "ended"
        if self.flags & Flag.PAUSED:
            return "nothing" if self.holder is None else "requested"
        self.was_due = self.due if self.holder is None or self._left_due(now) > now else None
        self.flags |= Flag.PAUSED
        self.due = NEVER
        return "done" if self.holder is None else "requested"

    def resumed(self, now: datetime) -> str:
        if self.ended is not None:
            return "ended"
        if not self.flags & Flag.PAUSED:
            return "nothing"
        something = self.flags & (Flag.TERMINATE | Flag.WAKE | Flag.CANCEL) or (self.waits and self.unseen)
        self.due = now if something or self.was_due is None else max(self.was_due, now)
        self.was_due = None
        self.flags &= ~Flag.PAUSED
        return "done"

    def woken(self, now: datetime) -> str:
        if self.ended is not None:
            return "ended"
        if self.flags & Flag.WAKE:
            return "requested"
        if self.holder is not None:
            if self.flags & Flag.PAUSED:
                return "nothing"
            if self.due > now and self.is_untouched(now):
                self.due = now
                return "done"
            self.flags |= Flag.WAKE
            return "requested"
        if self.due <= now or self.due == NEVER or self.flags & Flag.BEGUN:
            return "nothing"
        if self.first_claim is not None and not self.flags & Flag.BLOCKED:
            self.flags |= Flag.WAKE
        self.due = now
        return "done"


def micros(moment: datetime) -> int:
    """Since 1970."""
    return round((moment - datetime(1970, 1, 1, tzinfo=BEGINNING.tzinfo)).total_seconds() * 1_000_000)


def aware(moment: datetime) -> datetime:
    """The same moment, where the driver says that it never comes."""
    return NEVER if moment.tzinfo is None else moment


def follow(before: Mapping[UUID, RunStatus], after: Mapping[UUID, RunStatus]) -> None:
    """Raises where a run has gone on as the table of its states does not say."""
    for run_id, status in before.items():
        now = after[run_id]
        assert now is status or now in RUN_TRANSITIONS[status], f"run {run_id} was {status}, and is {now}"
