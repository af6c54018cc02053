"""Taking what is due in a line: messages, or runs that are driven by hand. Who takes them has them in hands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.priority import Priority
from holdfast.core.queue import Receipt

if TYPE_CHECKING:
    from holdfast.store.session import Session

AHEAD = timedelta(seconds=2)
"""How far ahead who finds too little asks when the next is due."""
EVER = datetime(2000, 1, 1, tzinfo=UTC)
"""Before all that was ever due."""


class Asking(NamedTuple):
    """What is asked for: at most ``batch``, which others do not get for ``visibility``.

    ``lower`` has the watermark of each priority, from very low to critical; with ``sweep`` the floors count instead.
    """

    batch: int
    visibility: timedelta
    lower: Sequence[datetime]
    sweep: bool
    hands: str | None
    """Whose hands, where that is to be seen."""

    def values(self, line: str) -> dict[str, object]:
        """As the statements call it."""
        return {
            "line": line,
            "batch": self.batch,
            "visibility": self.visibility,
            "lower": self.lower,
            "sweep": self.sweep,
            "ahead": AHEAD,
            "hands": self.hands,
        }


class Taken(NamedTuple):
    """One message, or one run that is driven by hand, that was taken. ``input`` is as stored.

    ``due_at`` is when it was due before.
    """

    receipt: Receipt
    priority: int
    due_at: datetime
    deliveries: int
    """So often a message was delivered, this time included, since it was sent or last redriven."""
    input: str
    options: str | None
    created_at: datetime
    tags: str | None
    deadline: datetime | None


class Intake(NamedTuple):
    """What was brought, in the order of the line."""

    taken: Sequence[Taken]
    reached: Sequence[tuple[int, datetime]]
    """Priority and due time of each that was met in line, those included that were taken too often."""
    at: datetime
    next_due: datetime | None
    """When the next one is due, if there was too little and it is soon."""
    full: bool
    paused: bool
    """Nothing was looked at, because the queue is paused."""


async def take(session: Session, line: str, asking: Asking, *, driven: bool) -> Intake:
    """Takes what is due, messages or, where it is ``driven``, runs; others do not get them from now on."""
    return intake(await session.fetch("take_driven" if driven else "take_messages", **asking.values(line)))


async def read_due(session: Session, lines: Sequence[str]) -> dict[str, float]:
    """Of these lines, those where something may be taken now or soon: in how many seconds."""
    rows = await session.fetch("due_lines", lines=lines, ahead=AHEAD)
    return {
        row["lane"]: 0.0 if row["due"] else row["due_in"] for row in rows if row["due"] or row["due_in"] is not None
    }


async def raise_floors(session: Session, line: str) -> None:
    """Works out below what nothing of this line is left, for all who sweep it."""
    await session.fetch("raise_floors", lanes=[line] * len(Priority), priorities=[int(one) for one in Priority])


def intake(rows: Iterable[Iterable[Any]]) -> Intake:
    """What the rows of a taking say."""
    taken: list[Taken] = []
    reached: list[tuple[int, datetime]] = []
    at: datetime = EVER
    next_due: datetime | None = None
    full, paused = True, False
    for run_id, hold, priority, due_at, deliveries, dead, text, options, created_at, moment, tags, deadline, _ in rows:
        at = moment
        if run_id is None:
            next_due, full, paused = due_at, False, dead
            continue
        reached.append((priority, due_at))
        if not dead:
            receipt = Receipt(run_id, hold)
            taken.append(Taken(receipt, priority, due_at, deliveries, text, options, created_at, tags, deadline))
    return Intake(taken, reached, at, next_due, full, paused)
