"""What is going on, at one moment: what stands in line in each lane and priority, who takes it, how much is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.core.priority import Priority, PriorityName
from holdfast.core.worker_state import WorkerState
from holdfast.store.top import MOST, MOST_LINES

if TYPE_CHECKING:
    from holdfast.client.workers import WorkerSummary
    from holdfast.store.top import Counters, StandingLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A lane and priority: what stands in line, what workers hold, what waits; of each 1000 are counted at most."""

    lane: str
    beside: str | None
    """What stands in a line of its own beside the lane: ``activities`` that were dispatched, runs that are executed
    ``alone``, those of a workflow that is ``driven NAME``."""
    priority: PriorityName
    due: int
    """In line: due, and held by nobody."""
    oldest: timedelta
    """For how long the first of these has been due."""
    held: int
    parked: int
    """Not due: they wait, rest, or are to begin later."""
    workers: int
    """So many active workers take runs from there."""

    @property
    def due_is_more(self) -> bool:
        """Whether there are so many in line, or more."""
        return self.due >= MOST

    @property
    def parked_is_more(self) -> bool:
        """Whether so many wait, or more."""
        return self.parked >= MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What was done between two looks, per second: runs started and ended, and what their journals have recorded."""

    started: float
    ended: float
    recorded: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How everything stood at ``at``, by the database's clock.

    ``started``, ``ended`` and ``recorded`` count from some time in the past on; they and ``open`` are estimates of the
    server's statistics, a second late at most.
    """

    at: datetime
    lines: Sequence[Line]
    """By lane, the highest priority first."""
    more_lines: bool
    """Whether there are more lines in use than were looked at: 100."""
    workers: Sequence[WorkerSummary]
    open: int
    """About so many runs have not ended."""
    started: int
    ended: int
    recorded: int

    def rates_since(self, before: Overview) -> Rates | None:
        """What was done since an earlier look, per second; None where no time lies between them."""
        seconds = (self.at - before.at).total_seconds()
        if seconds <= 0:
            return None
        # Statistics may be reset.
        return Rates(
            started=max(0, self.started - before.started) / seconds,
            ended=max(0, self.ended - before.ended) / seconds,
            recorded=max(0, self.recorded - before.recorded) / seconds,
        )


def overview_of(
    standing: Sequence[StandingLine], workers: Sequence[WorkerSummary], counters: Counters, *, lane: str | None
) -> Overview:
    """Puts together what was read; of one lane, if that is said."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for worker in workers:
        taken: set[tuple[str, int]] = set()
        for bucket in worker.buckets:
            key = bucket.lane, int(Priority.of(bucket.priority))
            held, able = found.get(key, (0, 0))
            taking = key not in taken and worker.status.value == WorkerState.ACTIVE
            found[key] = held + bucket.held, able + taking
            taken.add(key)
    in_line = {(line.lane, line.priority): line for line in standing}
    lines = [
        _line(*key, in_line.get(key), *found.get(key, (0, 0)))
        for key in sorted({*in_line, *found}, key=lambda key: (key[0], -key[1]))
    ]
    return Overview(
        at=counters.at,
        lines=[line for line in lines if (lane is None or line.lane == lane) and _is_shown(line)],
        more_lines=len(standing) >= MOST_LINES,
        workers=workers,
        open=counters.open,
        started=counters.started,
        ended=counters.ended,
        recorded=counters.recorded,
    )


def _line(lane: str, priority: int, line: StandingLine | None, held: int, workers: int) -> Line:
    # No lane of a user has a blank in its name.
    name, _, beside = lane.partition(" ")
    return Line(
        lane=name,
        beside=beside or None,
        priority=Priority(priority).word,
        due=0 if line is None else line.due,
        oldest=timedelta(0) if line is None else line.oldest,
        held=held,
        parked=0 if line is None else line.parked,
        workers=workers,
    )


def _is_shown(line: Line) -> bool:
    """A line beside a lane is there always, and mostly nothing is in it."""
    return line.beside is None or bool(line.due or line.held or line.parked)
