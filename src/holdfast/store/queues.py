"""Queues: messages are settled, with more of them taken in one statement if need be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.queue import Receipt
from holdfast.store.taking import Intake, intake

if TYPE_CHECKING:
    from holdfast.core.queue import Lost
    from holdfast.store.session import Session
    from holdfast.store.taking import Asking


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


async def settle(session: Session, line: str, settlements: Sequence[Settlement]) -> dict[UUID, Lost]:
    """Settles messages, each once; gives those whose receipts are not valid, with the reason."""
    columns, without = _columns(settlements)
    rows = await session.call("settle_messages", [line, *columns], without=without)
    return {row["run_id"]: row["why"] for row in rows}


async def exchange(
    session: Session, line: str, settlements: Sequence[Settlement], asking: Asking
) -> tuple[dict[UUID, Lost], Intake]:
    """Settles and takes, in one round trip and one commit."""
    columns, without = _columns(settlements)
    own, *others = asking.values(line).values()
    rows = await session.call("exchange_messages", [own, *columns, *others], without=without)
    # Those come first that were not settled.
    lost: dict[UUID, Lost] = {}
    for row in rows:
        if row["why"] is None:
            break
        lost[row["run_id"]] = row["why"]
    return lost, intake(rows[len(lost) :])


def _columns(settlements: Sequence[Settlement]) -> tuple[list[list[object]], str]:
    """The arrays of what there is, as they stand in the statement, and the letters of the kinds that are not there."""
    kinds: dict[Settling, list[Settlement]] = {}
    for settlement in settlements:
        kinds.setdefault(settlement.how, []).append(settlement)
    columns: list[list[object]] = []
    without = ""
    for how, letter in _LETTERS.items():
        some = kinds.get(how)
        if some is None:
            without += letter
            continue
        columns.append([one.receipt.run_id for one in some])
        columns.append([one.receipt.hold for one in some])
        match how:
            case Settling.ACK:
                pass
            case Settling.RELEASE:
                columns.append([one.span for one in some])
                columns.append([one.counts for one in some])
            case Settling.EXTEND:
                columns.append([one.span for one in some])
            case Settling.ARCHIVE | Settling.DEAD:
                columns.append([one.text for one in some])
    return columns, without


_LETTERS = {
    Settling.ACK: "a",
    Settling.ARCHIVE: "k",
    Settling.RELEASE: "r",
    Settling.EXTEND: "x",
    Settling.DEAD: "d",
}
"""With what the parameters of each kind begin, in the order in which they stand."""
