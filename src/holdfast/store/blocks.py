"""Blocks of permits: leased in advance, claimed from, and given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from holdfast.store.work import Claim, Claimed, Identity, Wanted, asked_by

if TYPE_CHECKING:
    from holdfast.core.limit import Ticket
    from holdfast.store.session import Session

_WANTED = "HF025"


async def claim_leased(
    session: Session,
    identity: Identity,
    wanted: Sequence[Wanted],
    *,
    names: Sequence[str],
    generations: Sequence[int],
    sweep: bool,
    ahead: timedelta,
) -> Claim | None:
    """Takes runs of these names for which this worker has leased permits; not more than it knows to be left of each.

    None, and nothing is taken, when one of the blocks is wanted by others, or does not have this generation any more.
    """
    try:
        rows = await session.fetch(
            "claim_leased",
            **asked_by(identity, wanted),
            sweep=sweep,
            names=list(names),
            ahead=ahead,
            generations=list(generations),
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _WANTED:
            return None
        raise
    slots = len(wanted)
    return Claim(
        runs=[Claimed(*row[:-1]) for row in rows[:-slots]],
        at=rows[-1][-1],
        next_due={row[1]: row[2] for row in rows[-slots:]},
    )


class Bid(NamedTuple):
    """What a worker wants to lease for the runs of one name: a block of at least so many, and at best so many."""

    task: str
    least: int
    best: int
    generation: int


async def lease_permits(
    session: Session, identity: Identity, bids: Sequence[Bid], tickets: Mapping[str, Sequence[Ticket]]
) -> Mapping[str, int | None]:
    """Makes blocks larger; gives their sizes, or None where there are not as many to be leased."""
    limits = [(bid.task, ticket) for bid in bids for ticket in tickets[bid.task]]
    rows = await session.fetch(
        "lease_permits",
        worker=identity.worker,
        epoch=identity.epoch,
        tasks=[bid.task for bid in bids],
        least=[bid.least for bid in bids],
        best=[bid.best for bid in bids],
        generations=[bid.generation for bid in bids],
        l_task=[task for task, _ in limits],
        l_name=[ticket.name for _, ticket in limits],
        l_most=[ticket.most for _, ticket in limits],
    )
    return {row["task"]: row["size"] for row in rows}


class Left(NamedTuple):
    """What is left of a block."""

    size: int
    wanted: bool
    """Others wait for a permit of its limits."""


async def return_permits(session: Session, identity: Identity, generations: Mapping[str, int]) -> Mapping[str, Left]:
    """Gives back what this worker does not hold of these blocks, whatever it knows of that; gives what is left of each.

    A claim that comes later with an earlier generation takes nothing.
    """
    rows = await session.fetch(
        "return_permits",
        worker=identity.worker,
        epoch=identity.epoch,
        tasks=list(generations),
        generations=list(generations.values()),
    )
    return {row["task"]: Left(row["size"], row["wanted"]) for row in rows}
