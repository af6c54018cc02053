"""A schedule, as people see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from pydantic_core import from_json

from holdfast.core.cadence import Every
from holdfast.core.errors import Unreadable
from holdfast.core.priority import Priority, PriorityName
from holdfast.core.schedule import CatchUp, Overlap
from holdfast.core.states import RunKind

if TYPE_CHECKING:
    from holdfast.core.seal import Seal
    from holdfast.store.schedules import Stored


class ScheduleStatus(StrEnum):
    """Whether a schedule makes runs."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Until it is resumed; what would have been due meanwhile is not made up for."""
    INACTIVE = "inactive"
    """It is from code, and no live worker has that code any more."""
    ENDED = "ended"
    """There is no further tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule and where it is now."""

    id: UUID
    name: str
    origin: str
    """``code`` or ``client``: who made it."""
    status: ScheduleStatus
    target: str
    """The name of the workflow or activity that it starts."""
    kind: RunKind
    when: str
    """Its times, as they were written."""
    cadence: str
    """Its times, as they were understood: cron expressions with their zone, or an interval."""
    tz: str
    every: timedelta | None
    """Where it is an interval."""
    input: Mapping[str, Any] | None
    """Without the parameter for the tick; None where this process cannot read it, for lack of the codec."""
    tick_parameter: str | None
    lane: str
    priority: PriorityName
    tags: Mapping[str, str]
    timeout: timedelta | None
    start: datetime | None
    end: datetime | None
    jitter: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int
    next_at: datetime | None
    """The next tick; while it is paused or inactive, the one that would have been next."""
    last_tick: datetime | None
    last_run: UUID | None
    running: Sequence[UUID]
    """Runs of its ticks that go on; the latest hundred, where there may be more."""
    queued: Sequence[datetime]
    """Ticks that wait for these to end."""
    made: int
    """So many runs were made by its ticks."""
    skipped: int
    """So many ticks made none, because of the overlap policy."""
    missed: int
    """So many ticks at least were left out by the catch-up policy."""
    problem: str | None
    """Why a worker could not see to it, if one could not."""
    created_at: datetime
    updated_at: datetime


def schedule_of(stored: Stored, seal: Seal) -> Schedule:
    """The schedule as people see it."""
    spec = stored.spec
    if not stored.active:
        status = ScheduleStatus.INACTIVE
    elif stored.next_at is None:
        status = ScheduleStatus.ENDED
    else:
        status = ScheduleStatus.PAUSED if stored.paused else ScheduleStatus.ACTIVE
    return Schedule(
        id=stored.id,
        name=stored.name,
        origin=stored.origin,
        status=status,
        target=spec.target,
        kind=RunKind(spec.kind),
        when=spec.said,
        cadence=str(spec.cadence),
        tz=spec.cadence.zone,
        every=spec.cadence.interval if isinstance(spec.cadence, Every) else None,
        input=_opened(spec.input, seal),
        tick_parameter=spec.tick_parameter,
        lane=spec.lane,
        priority=Priority(spec.priority).word,
        tags=cast("dict[str, str]", from_json(spec.tags)) if spec.tags else {},
        timeout=spec.timeout,
        start=spec.span.start,
        end=spec.span.end,
        jitter=spec.jitter,
        overlap=spec.overlap,
        catch_up=spec.catch_up,
        catch_up_limit=spec.catch_up_limit,
        next_at=stored.next_at,
        last_tick=stored.last_tick,
        last_run=stored.last_run,
        running=tuple(stored.running),
        queued=tuple(stored.queued),
        made=stored.made,
        skipped=stored.skipped,
        missed=stored.missed,
        problem=stored.problem,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def _opened(text: str, seal: Seal) -> Mapping[str, Any] | None:
    try:
        return cast("dict[str, Any]", from_json(seal.open(text)))
    except Unreadable:
        return None
