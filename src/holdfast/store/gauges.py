"""What metrics read of the database: how much is in line and waits, and what keeps vacuum back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.store.session import Session

MOST = 100_000
"""So many runs are counted of a line, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineGauge:
    """One lane and priority: what of it nobody holds."""

    lane: str
    priority: int
    due: int
    """Up to ``MOST``."""
    oldest: timedelta
    """For how long the first of these has been due."""
    parked: int
    """Not due: they wait, rest, or are to begin later. Up to ``MOST``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """One reading."""

    lines: Sequence[LineGauge]
    blocked: Mapping[str, int]
    """By the name of the task."""
    horizon_transactions: int
    """So many transactions began since that which holds the xmin horizon."""
    horizon_held: timedelta
    """Since when the oldest of those that hold it has done so."""


async def read_gauges(session: Session, *, most: int = MOST) -> Gauges:
    """The database as it is now, in one statement."""
    lines: list[LineGauge] = []
    blocked: dict[str, int] = {}
    transactions, held = 0, timedelta(0)
    for kind, label, priority, first, second, third in await session.fetch("gauges", most=most):
        if kind == "line":
            oldest = timedelta(seconds=max(0.0, second))
            lines.append(LineGauge(lane=label, priority=priority, due=int(first), oldest=oldest, parked=int(third)))
        elif kind == "blocked":
            blocked[label] = int(first)
        else:
            transactions, held = int(first), timedelta(seconds=max(0.0, second))
    return Gauges(lines=lines, blocked=blocked, horizon_transactions=transactions, horizon_held=held)
