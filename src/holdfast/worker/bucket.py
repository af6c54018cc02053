"""A bucket: one (lane, priority) that this worker owns, what it holds of it, how far down the line it has looked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.core.mode import Duty
from holdfast.core.priority import Priority
from holdfast.store.work import Wanted

if TYPE_CHECKING:
    from holdfast.core.settings import WorkerSettings
    from holdfast.worker.held import HeldRun

SLACK = timedelta(milliseconds=250)
"""How far a watermark stays behind the database's clock: a start is visible when it commits, not when it is due."""

_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)
_HORIZON = 1.0  # seconds of due work that a worker takes


class Bucket:
    """Counts what is held and what runs, and says how much more to claim and from where."""

    __slots__ = (
        "_begun",
        "_measured",
        "_rate",
        "buffer_size",
        "capacity",
        "guests",
        "held",
        "id",
        "lane",
        "more",
        "priority",
        "ready",
        "running",
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
    ) -> None:
        self.id = bucket_id
        self.lane = lane
        self.priority = priority
        self.capacity = capacity
        self.buffer_size = buffer_size
        self.guests = guests
        """Whether it is for activities that were dispatched because their worker had no room: these take no slots, but
        places among the activities of this worker."""
        self.ready: deque[HeldRun] = deque()
        self.more = False
        """Whether there was more in line than room when it was last looked at."""
        self.held = 0
        self.running = 0
        self.watermark = _BEFORE_ALL
        self._rate = float(capacity)
        self._begun = 0
        self._measured = time.monotonic()

    def begun(self) -> None:
        """One more run has left the line of those that wait for a slot."""
        self._begun += 1

    @property
    def _target(self) -> int:
        """How many to have in line: what can be begun within about a second."""
        return min(self.capacity + self.buffer_size, max(self.capacity, round(self._rate * _HORIZON)))

    def room(self) -> int:
        """How many more runs to take, within the slots and the buffer."""
        return max(0, min(self._target - len(self.ready), self.capacity + self.buffer_size - self.held))

    def hungry(self) -> bool:
        """Whether it is time to claim again: half of what fits is free, so claims come in halves and not in ones."""
        return self.room() * 2 >= self._target

    def measure(self) -> None:
        """Called before a claim: how quickly has work been begun since the last one?"""
        now = time.monotonic()
        span = now - self._measured
        if span < 0.01:
            return
        measured = self._begun / span * _HORIZON
        if not self.ready and self._begun:
            # It ran dry: what could have been begun is not known, but it was more. Twice as much is tried and no more
            # than that: a workflow is begun in no time, and only then is it seen how much work it brings.
            self._rate *= 2
        elif self._begun:
            self._rate = max(float(self.capacity), 0.5 * self._rate + 0.5 * measured)
        self._rate = min(self._rate, float(self.capacity + self.buffer_size))
        self._begun = 0
        self._measured = now

    def wanted(self) -> Wanted:
        """What to ask for in the next claim."""
        return Wanted(self.id, self.lane, int(self.priority), self.room(), self.watermark)

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


GUESTS = " activities"
"""No lane of a user has a blank in its name."""


def slots_of(settings: WorkerSettings, *, with_suspects: bool, with_guests: bool) -> list[tuple[str, int]]:
    """A (lane, priority) for each bucket of a worker, the highest priority first."""
    if not settings.does(Duty.CLAIM):
        return []
    priorities = [int(one) for one in reversed(Priority) for _ in range(settings.bucket_count(one))]
    apart = f"{settings.lane} alone"
    if settings.alone:
        return [(apart, int(one)) for one in reversed(Priority)]
    slots = [(settings.lane, priority) for priority in priorities]
    if with_suspects:
        # No other process can be started for them, so suspects are executed here, one of each priority at a time.
        slots += [(apart, priority) for priority in dict.fromkeys(priorities)]
    if with_guests:
        slots += [(guest_lane(settings.lane), priority) for priority in dict.fromkeys(priorities)]
    return slots


def buckets_of(ids: Sequence[int], slots: Sequence[tuple[str, int]], settings: WorkerSettings) -> dict[int, Bucket]:
    """The buckets of a worker that has got these ids for its slots; one of another lane takes a run at a time."""
    found: dict[int, Bucket] = {}
    for bucket_id, (lane, number) in zip(ids, slots, strict=True):
        own, guests, priority = lane == settings.lane, lane.endswith(GUESTS), Priority(number)
        capacity = settings.capacity(priority) if own or guests else 1
        buffer_size = settings.bucket_buffer_size if own else 0
        if guests:
            # Those that run are held too, until what they gave is durable.
            buffer_size = settings.bucket_buffer_size + settings.max_activities
        found[bucket_id] = Bucket(bucket_id, lane, priority, capacity=capacity, buffer_size=buffer_size, guests=guests)
    return found
