"""What is to be done about a schedule that is due: which of its ticks make a run, and when it is due next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Literal

from holdfast.core.cadence import Cadence, Span
from holdfast.core.cadence.zone import find_zone

OverlapName = Literal["skip", "queue", "allow", "cancel_running"]
CatchUpName = Literal["none", "last", "all"]

LATE = timedelta(minutes=1)
"""A tick that is seen to later than this has been missed."""

MOST_CATCH_UP = 1000
"""The most ticks that are made up for."""


class Overlap(StrEnum):
    """What becomes of a tick while a run of an earlier one goes on."""

    SKIP = "skip"
    """It makes no run."""
    QUEUE = "queue"
    """Its run is started when those before it have ended, one after another."""
    ALLOW = "allow"
    """Its run is started beside the others."""
    CANCEL_RUNNING = "cancel_running"
    """What runs is cancelled; its run is started when that has ended."""


class CatchUp(StrEnum):
    """What becomes of ticks that nobody saw to in time, because no worker was there."""

    NONE = "none"
    """They are left out."""
    LAST = "last"
    """The latest of them makes a run."""
    ALL = "all"
    """Each of them makes a run, up to the schedule's limit; the latest ones, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a due schedule does now."""

    ticks: tuple[datetime, ...]
    """Each makes a run if the overlap policy lets it; in order."""
    missed: int
    """So many ticks at least are left out: past the limits, they are not counted."""
    next_at: datetime | None
    """The tick after these; None: there is none."""


def decide(
    cadence: Cadence,
    span: Span,
    *,
    next_at: datetime,
    now: datetime,
    not_before: datetime | None,
    catch_up: CatchUp,
    limit: int,
) -> Decision:
    """What is to be done, at ``now``, about the ticks from ``next_at`` on; those before ``not_before`` do not count.

    Each tick is in one decision only: the next one begins with what this one gives as ``next_at``.
    """
    low = next_at if not_before is None else max(next_at, not_before)
    due = list(islice(_back(cadence, span, now, low), MOST_CATCH_UP + 1))
    chosen: list[datetime] = []
    if due:
        match catch_up:
            case CatchUp.NONE:
                chosen = due[:1] if now - due[0] <= LATE else []
            case CatchUp.LAST:
                chosen = due[:1]
            case CatchUp.ALL:
                chosen = due[:limit]
    return Decision(
        ticks=tuple(reversed(chosen)),
        missed=len(due) - len(chosen),
        next_at=span.after(cadence, max(now, next_at - timedelta(microseconds=1))),
    )


def filled(text: str, parameter: str, tick: datetime, zone: str) -> str:
    """An input, as JSON, with the time of the tick in that parameter: ISO 8601, with the offset of the zone."""
    values = json.loads(text)
    values[parameter] = tick.astimezone(find_zone(zone)).isoformat()
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _back(cadence: Cadence, span: Span, moment: datetime, low: datetime) -> Iterator[datetime]:
    """The ticks from ``moment`` back to ``low``, both included."""
    while (tick := span.until(cadence, moment)) is not None and tick >= low:
        yield tick
        moment = tick - timedelta(microseconds=1)
