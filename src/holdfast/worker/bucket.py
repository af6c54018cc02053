"""A bucket: one (lane, priority) that this worker owns, what it holds of it, how far down the line it has looked.

Of due work it takes what fills its free slots, and beyond that what it can begin in half a second, by what it was seen
to do. So there is little in line here while another worker has a slot that is free.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.core.mode import Duty
from holdfast.core.priority import Priority
from holdfast.store.work import Wanted
from holdfast.worker.ahead import Ahead
from holdfast.worker.company import MANY

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.core.settings import WorkerSettings
    from holdfast.worker.held import HeldRun

SLACK = timedelta(milliseconds=250)
"""How far a watermark stays behind the database's clock: a start is visible when it commits, not when it is due."""

_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
_LINE = 0.5
"""Seconds of due work that are taken beyond the slots that are free; of twice as much, half goes back."""
_FEW = 4
"""Jobs, and as many as there are slots, that say how quick the work is."""
_DOUBLED_EVERY = 0.01


class Bucket:
    """Counts what is held and what runs, and says how much more to claim and from where."""

    __slots__ = (
        "_begun",
        "_doubled_at",
        "_few",
        "_rate",
        "_times",
        "ahead",
        "buffer_size",
        "capacity",
        "foresees",
        "guests",
        "held",
        "id",
        "lane",
        "more",
        "overflowed",
        "parting",
        "priority",
        "ready",
        "running",
        "suspects",
        "watermark",
    )

    def __init__(
        self,
        bucket_id: int,
        lane: str,
        priority: Priority,
        *,
        capacity: int,
        buffer_size: int,
        guests: bool = False,
        suspects: bool = False,
        foresees: bool = False,
    ) -> None:
        self.id = bucket_id
        self.lane = lane
        self.priority = priority
        self.capacity = capacity
        self.buffer_size = buffer_size
        self.guests = guests
        """Whether it is for activities that were dispatched because their worker had no room: these take no slots, but
        places among the activities of this worker."""
        self.suspects = suspects
        """Whether it is for runs whose worker has died twice: see ``company``."""
        self.ready: deque[HeldRun] = deque()
        self.more = False
        """Whether there was more in line than room when it was last looked at, or may be since."""
        self.foresees = foresees
        """Whether it takes runs before their time."""
        self.ahead = Ahead()
        self.parting: set[UUID] = set()
        """Of these, those that are being given back because what is due needs their room."""
        self.overflowed = 0
        """Runs that went back so far, because others could begin them earlier or needed their room."""
        self.held = 0
        self.running = 0
        self.watermark = _BEFORE_ALL
        self._rate = 0.0
        self._few = max(capacity, _FEW)
        self._times: deque[float] = deque(maxlen=2 * self._few + 1)
        """When it last had nothing to do, until that is too long ago; then when slots became free."""
        self._begun = 0
        self._doubled_at = 0.0

    def idles_no_more(self) -> None:
        """It had nothing to do, and has now."""
        self._times.clear()
        self._times.append(time.monotonic())

    def freed(self) -> None:
        """A slot is free again."""
        self._times.append(time.monotonic())

    def begun(self) -> None:
        """A run has begun that takes no slot."""
        self._begun += 1

    @property
    def _most(self) -> int:
        return self.capacity + self.buffer_size

    @property
    def _line(self) -> int:
        """How many can be begun within half a second."""
        return round(self._rate * _LINE)

    @property
    def _target(self) -> int:
        """How many to have in line."""
        if self.suspects:
            return self._most
        if self.guests:
            # They take places among the activities of the worker: the slots are only where it begins to find out.
            return min(self._most, max(self.capacity, self._line))
        return min(self._most, max(0, self.capacity - self.running) + self._line)

    @property
    def _wish(self) -> int:
        """How many more it would take if nothing was held that is not due yet."""
        return max(0, min(self._target - len(self.ready), self._most - self.held + len(self.ahead)))

    def room(self) -> int:
        """How many more due runs to take, within the slots and the buffer."""
        return max(0, min(self._target - len(self.ready), self._most - self.held))

    def early_room(self) -> int:
        """How many to take that are not due yet: none while what is due waits for it, here or in the database."""
        if not self.foresees or self.ready or self.more:
            return 0
        return max(0, min(self.buffer_size - len(self.ahead), self._most - self.held - self.room()))

    def pressed(self) -> int:
        """How many that are not due yet have to make room for what is."""
        if not self.more or not self.ahead or self.parting:
            return 0
        free = max(0, self._most - self.held)
        if 2 * (len(self.ready) + free) >= self._target:
            return 0
        return min(len(self.ahead), max(0, self._wish - free))

    def excess(self) -> int:
        """How many in line others could begin earlier: of more than a second's work, all but the first half of it."""
        line = self._line
        return len(self.ready) - line if not self.suspects and len(self.ready) > 2 * line else 0

    def hungry(self) -> bool:
        """Whether it is time to claim again: half of what fits is free, so claims come in halves and not in ones."""
        room = self.room()
        return room > 0 and room * 2 >= self._target

    def measure(self) -> None:
        """Called before a claim: how quickly is work done here?"""
        now = time.monotonic()
        if not self.ready and self._begun and (self.guests or (self.more and self.running < self.capacity)):
            # It ran dry. Twice as much is tried, and no more than that: what takes no slot, a workflow, is begun in no
            # time, and only then is it seen how much work it brings.
            if now - self._doubled_at < _DOUBLED_EVERY:
                return
            self._rate = max(2 * self._rate, self.capacity / _LINE)
            self._doubled_at = now
        elif self._times:
            # Over the last two rounds of all slots: jobs of one length end together.
            done, span = len(self._times) - 1, max(now - self._times[0], 0.001)
            if done >= self._few:
                self._rate = done / span
            else:
                # Too few to say how quick it is, but it is not quicker than this.
                self._rate = min(self._rate, (done + self.capacity) / span)
        self._rate = min(self._rate, self._most / _LINE)
        self._begun = 0

    def wanted(self, *, early: bool = False) -> Wanted:
        """What to ask for in the next claim; with ``early`` also of what is not due yet."""
        room = self.early_room() if early else 0
        return Wanted(self.id, self.lane, int(self.priority), self.room(), self.watermark, room)

    def looked(self, *, at: datetime, last_due: datetime | None, full: bool) -> None:
        """A claim came back: full, all up to its last row is taken; else, all that was visible is.

        A claim may lower the watermark again: a sweep that comes back full has only seen the beginning of the line.
        """
        self.more = full
        if full and last_due is not None:
            self.watermark = min(last_due, at)
        elif not full:
            self.watermark = at - SLACK


def guest_lane(lane: str) -> str:
    """Where activities of this lane stand in line that found no room where their workflows are."""
    return f"{lane}{GUESTS}"


APART = " alone"
GUESTS = " activities"
"""No lane of a user has a blank in its name."""


def slots_of(settings: WorkerSettings, *, with_suspects: bool, with_guests: bool) -> list[tuple[str, int]]:
    """A (lane, priority) for each bucket of a worker, the highest priority first."""
    if not settings.does(Duty.CLAIM):
        return []
    priorities = [int(one) for one in reversed(Priority) for _ in range(settings.bucket_count(one))]
    apart = f"{settings.lane}{APART}"
    if settings.alone:
        return [(apart, int(one)) for one in reversed(Priority)]
    slots = [(settings.lane, priority) for priority in priorities]
    if with_suspects:
        # No other process can be started for them, so suspects are executed here, one of each priority at a time.
        slots += [(apart, priority) for priority in dict.fromkeys(priorities)]
    if with_guests:
        slots += [(guest_lane(settings.lane), priority) for priority in dict.fromkeys(priorities)]
    return slots


def buckets_of(
    ids: Sequence[int], slots: Sequence[tuple[str, int]], settings: WorkerSettings, *, foresees: bool
) -> dict[int, Bucket]:
    """The buckets of a worker that has got these ids for its slots; beside other work a suspect has no company.

    With ``foresees`` those of its own lane take runs before their time.
    """
    found: dict[int, Bucket] = {}
    for bucket_id, (lane, number) in zip(ids, slots, strict=True):
        own, guests, priority = lane == settings.lane, lane.endswith(GUESTS), Priority(number)
        suspects = lane.endswith(APART)
        capacity = 1 if suspects and not settings.alone else settings.capacity(priority)
        buffer_size = settings.bucket_buffer_size if own else 0
        if suspects and settings.alone:
            buffer_size = MANY
        if guests:
            # Those that run are held too, until what they gave is durable.
            buffer_size = settings.bucket_buffer_size + settings.max_activities
        found[bucket_id] = Bucket(
            bucket_id,
            lane,
            priority,
            capacity=capacity,
            buffer_size=buffer_size,
            guests=guests,
            suspects=suspects,
            foresees=foresees and own,
        )
    return found
