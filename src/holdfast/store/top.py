"""What is going on, at a glance: lines, rates, workers. Bounded reads, however much there is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from holdfast.store.session import Session

MOST = 1_000
"""So many runs are counted of a line, at most."""

MOST_LINES = 100
"""So many lines are looked at."""


class StandingLine(NamedTuple):
    """One lane and priority: what of it nobody holds, each number up to ``MOST``."""

    lane: str
    priority: int
    due: int
    oldest: timedelta
    """For how long the first of these has been due."""
    parked: int
    """Not due: they wait, rest, or are to begin later."""


class Counters(NamedTuple):
    """How much was ever done, by the statistics of the server: of two readings the difference counts."""

    at: datetime
    started: int
    ended: int
    recorded: int
    open: int
    """About so many runs have not ended."""


async def read_lines(
    session: Session, *, lane: str | None = None, lines: int = MOST_LINES, most: int = MOST
) -> list[StandingLine]:
    """The lines that have something in them, by lane and priority; of one lane those beside it too, if that is said."""
    return [
        StandingLine(lane, priority, due, timedelta(seconds=max(0.0, oldest)), parked)
        for lane, priority, due, oldest, parked in await session.fetch("top_lines", lane=lane, lines=lines, most=most)
    ]


async def read_counters(session: Session) -> Counters:
    """The counters as they are now."""
    row = await session.row("top_counters")
    assert row is not None
    return Counters(*row)
