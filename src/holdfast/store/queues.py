"""Queues: messages are taken and settled, in one statement if need be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from holdfast.core.priority import Priority
from holdfast.core.queue import Receipt

if TYPE_CHECKING:
    from holdfast.core.queue import Lost
    from holdfast.store.session import Session

AHEAD = timedelta(seconds=2)
"""How far ahead a receive that finds too little asks when the next message is due."""
EVER = datetime(2000, 1, 1, tzinfo=UTC)
"""Before all that was ever due."""


class Settling(Enum):
    """What becomes of a message that was received."""

    ACK = "ack"
    """It is done with; nothing of it stays."""
    ARCHIVE = "archive"
    """It is done with, and its result stays."""
    RELEASE = "release"
    """It is given back, due after a while."""
    EXTEND = "extend"
    """It is kept for longer."""
    DEAD = "dead"
    """It becomes a dead letter."""


class Settlement(NamedTuple):
    """What is to become of one message. ``text`` is the reason of a dead letter, or the archived output as JSON."""

    receipt: Receipt
    how: Settling
    span: timedelta | None = None
    """For how long it stays invisible: of a release and an extension."""
    text: str | None = None
    counts: bool = True
    """Whether the delivery counts that a release ends: it does not where nobody has seen the message."""


class Asking(NamedTuple):
    """What is asked for: at most ``batch`` messages, invisible to others for ``visibility``.

    ``lower`` has the watermark of each priority, from very low to critical; with ``sweep`` the floors count instead.
    """

    batch: int
    visibility: timedelta
    lower: Sequence[datetime]
    sweep: bool


class Taken(NamedTuple):
    """One message that was taken. ``due_at`` is when it was due before."""

    receipt: Receipt
    priority: int
    due_at: datetime
    deliveries: int
    """So often it was delivered, this time included, since it was sent or last redriven."""
    input: str
    options: str | None
    created_at: datetime


class Intake(NamedTuple):
    """What a receive has brought, in the order of the line."""

    messages: Sequence[Taken]
    reached: Sequence[tuple[int, datetime]]
    """Priority and due time of each that was met in line, those included that became dead letters."""
    at: datetime
    next_due: datetime | None
    """When the next one is due, if there was too little and it is soon."""
    full: bool
    paused: bool
    """Nothing was looked at, because the queue is paused."""


async def take(session: Session, lane: str, asking: Asking) -> Intake:
    """Takes messages of a queue: they are invisible to others from now on."""
    rows = await session.fetch("take_messages", lane=lane, **_asked(asking))
    return _intake(tuple(row) for row in rows)


async def settle(session: Session, lane: str, settlements: Sequence[Settlement]) -> dict[UUID, Lost]:
    """Settles messages, each once; gives those whose receipts are not valid, with the reason."""
    rows = await session.fetch("settle_messages", lane=lane, **_columns(settlements))
    return {row["run_id"]: row["why"] for row in rows}


async def exchange(
    session: Session, lane: str, settlements: Sequence[Settlement], asking: Asking
) -> tuple[dict[UUID, Lost], Intake]:
    """Settles and takes, in one round trip and one commit."""
    rows = await session.fetch("exchange_messages", lane=lane, **_columns(settlements), **_asked(asking))
    lost: dict[UUID, Lost] = {row["run_id"]: row["why"] for row in rows if row["why"] is not None}
    return lost, _intake(tuple(row)[1:] for row in rows if row["why"] is None)


async def read_due(session: Session, lanes: Sequence[str]) -> dict[str, float]:
    """Of the lanes of these queues, those where something may be received now or soon: in how many seconds."""
    rows = await session.fetch("due_queues", lanes=lanes, ahead=AHEAD)
    return {
        row["lane"]: 0.0 if row["due"] else row["due_in"] for row in rows if row["due"] or row["due_in"] is not None
    }


async def raise_floors(session: Session, lane: str) -> None:
    """Works out below what nothing of this queue is left, for all who sweep it."""
    await session.fetch("raise_floors", lanes=[lane] * len(Priority), priorities=[int(one) for one in Priority])


def _asked(asking: Asking) -> dict[str, object]:
    return {
        "batch": asking.batch,
        "visibility": asking.visibility,
        "lower": asking.lower,
        "sweep": asking.sweep,
        "ahead": AHEAD,
    }


def _intake(rows: Iterable[Sequence[Any]]) -> Intake:
    messages: list[Taken] = []
    reached: list[tuple[int, datetime]] = []
    at: datetime = EVER
    next_due: datetime | None = None
    full, paused = True, False
    for run_id, hold, priority, due_at, deliveries, dead, text, options, created_at, moment in rows:
        at = moment
        if run_id is None:
            next_due, full, paused = due_at, False, dead
            continue
        reached.append((priority, due_at))
        if not dead:
            messages.append(Taken(Receipt(run_id, hold), priority, due_at, deliveries, text, options, created_at))
    return Intake(messages, reached, at, next_due, full, paused)


def _columns(settlements: Sequence[Settlement]) -> dict[str, Sequence[object]]:
    columns: dict[str, list[object]] = {name: [] for names in _COLUMNS.values() for name in names}
    for settlement in settlements:
        values = (*settlement.receipt, *_terms(settlement))
        for name, value in zip(_COLUMNS[settlement.how], values, strict=True):
            columns[name].append(value)
    return dict(columns)


def _terms(settlement: Settlement) -> tuple[object, ...]:
    match settlement.how:
        case Settling.ACK:
            return ()
        case Settling.RELEASE:
            return settlement.span, settlement.counts
        case Settling.EXTEND:
            return (settlement.span,)
        case Settling.ARCHIVE | Settling.DEAD:
            return (settlement.text,)


_COLUMNS = {
    Settling.ACK: ("a_run", "a_hold"),
    Settling.ARCHIVE: ("k_run", "k_hold", "k_output"),
    Settling.RELEASE: ("r_run", "r_hold", "r_after", "r_counts"),
    Settling.EXTEND: ("x_run", "x_hold", "x_for"),
    Settling.DEAD: ("d_run", "d_hold", "d_reason"),
}
