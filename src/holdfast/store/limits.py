"""Limits: claims of runs that have some, and where one waits for a permit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.limit import PREFIXES
from holdfast.store.work import Claim, Claimed, Identity, Wanted, asked_by

if TYPE_CHECKING:
    from holdfast.core.limit import Ticket
    from holdfast.store.session import Session


@dataclass(slots=True)
class LimitedClaim(Claim):
    """What a claim of limited runs brought; and by bucket, how its look at what is newly due came out."""

    full: set[int]
    """There were as many as were asked for: there may be more."""
    last_due: dict[int, datetime]
    """When the last of them was due, whether it was taken or has to wait for a permit."""
    looked: set[int]
    """These were looked for at all: where those that waited have taken all the room, they were not."""
    open: set[int]
    """Others wait for whom there are permits."""


async def claim_limited(
    session: Session,
    identity: Identity,
    wanted: Sequence[Wanted],
    *,
    names: Sequence[str],
    fresh: Sequence[str | None] = (),
    begun: Sequence[str | None] = (),
    tickets: Mapping[str, Sequence[Ticket]],
    workflows: Collection[str] = (),
    sweep: bool,
    ahead: timedelta,
    sort: int = 0,
) -> LimitedClaim:
    """Takes runs of these names for which there is a permit of each of their limits; those without one wait in line.

    ``tickets`` are the limits by the names of tasks; those that are ``workflows`` keep their permits until they end,
    whatever kind of run was asked for. With ``sort`` all of these names are served fairly, and so many
    runs more are put in line. The rest as in ``work.claim``.
    """
    asked = [(name, ticket) for name in names for ticket in tickets.get(name, ())]
    rows = await session.fetch(
        "claim_limited",
        **asked_by(identity, wanted),
        sweep=sweep,
        names=list(names),
        fresh=list(fresh),
        begun=list(begun),
        ahead=ahead,
        l_task=[name for name, _ in asked],
        l_name=[ticket.name for _, ticket in asked],
        l_path=[ticket.path for _, ticket in asked],
        l_default=[ticket.default for _, ticket in asked],
        l_most=[ticket.most for _, ticket in asked],
        l_interval=[ticket.interval for _, ticket in asked],
        l_order=[ticket.order for _, ticket in asked],
        l_at_most=[ticket.at_most for _, ticket in asked],
        l_kept=[name in workflows for name, _ in asked],
        sort=sort,
    )
    ends = rows[-len(wanted) :]
    return LimitedClaim(
        runs=[Claimed(*row[:-1]) for row in rows[: -len(wanted)]],
        at=ends[-1]["claimed_at"],
        next_due={row["bucket_id"]: row["due_at"] for row in ends},
        full={row["bucket_id"] for row in ends if 0 < row["hold"] <= row["inbox_count"]},
        last_due={row["bucket_id"]: row["deadline"] for row in ends if row["deadline"] is not None},
        looked={row["bucket_id"] for row in ends if row["hold"] > 0},
        open={row["bucket_id"] for row in ends if row["crashes"]},
    )


async def tidy_limits(session: Session, *, limit: int = 1000) -> int:
    """Forgets keys that nobody uses any more; says how many."""
    return int(await session.value("tidy_limits", limit=limit))


class WaitingFor(NamedTuple):
    """The line in which a run waits for a permit."""

    name: str
    key: str
    since: datetime
    taken: int | None
    most: int | None
    full_at: datetime | None
    """Of a rate: when all of its burst is there again."""
    opens_at: datetime | None
    ahead: int
    """Before it in line, at most 1,000."""
    holders: Sequence[UUID]
    """Some of those that hold a permit."""


async def waiting_for(session: Session, run_id: UUID) -> WaitingFor | None:
    """What the run waits for, if that is a permit."""
    row = await session.row("waiting_for", run=run_id)
    return None if row is None else WaitingFor(*row)


class KeyRow(NamedTuple):
    """A key of a limit, as the database knows it."""

    name: str
    key: str
    most: int
    taken: int
    leased: int
    waiting: int
    since: datetime | None
    opens_at: datetime | None
    holders: Sequence[UUID]


async def read_keys(session: Session, *, name: str | None, limit: int) -> list[KeyRow]:
    """The keys that are in use, of limits and rates of this name, or of all."""
    names = None if name is None else [f"{prefix}{name}" for prefix in PREFIXES]
    return [KeyRow(*row) for row in await session.fetch("limit_keys", names=names, limit=limit)]
