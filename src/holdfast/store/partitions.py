"""Days: run, journal and result in one table for each, made ahead, and dropped as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from holdfast.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from holdfast.core.states import Ending
    from holdfast.store.session import Session

AHEAD = 7
"""So many days are made ahead."""
_TRIES = 10
_PAUSE = 0.5


class DayPruned(NamedTuple):
    """What became of one day."""

    last: UUID | None
    """Where to go on; None at the end."""
    runs: int | None
    """How many went; None: somebody else prunes at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """Whether there are days, from when to when, and what is beside them."""

    partitioned: bool
    past: bool
    """Whether something is left of what was there before the tables were divided."""
    first_day: date | None
    last_day: date | None
    ahead: int | None
    """So many days after today have tables."""
    strays: bool
    """Whether something lies in no day, or has until lately."""


async def partition_by_day(session: Session) -> bool:
    """Divides the tables by day, for good; False where they are. Not inside a transaction.

    What is in them is read once, under a lock for which everybody waits.

    Raises:
        DatabaseUnavailable: others hold the tables for so long that no moment was found; nothing was changed.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return bool(await session.value("partition_by_day"))
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if attempt == _TRIES:
                raise DatabaseUnavailable(
                    "the tables could not be divided by day: for a while others have held them without a break, a dump "
                    "or a long transaction perhaps; nothing was changed, try again when that is over"
                ) from error
            await asyncio.sleep(_PAUSE)
    raise AssertionError("unreachable")


async def make_days(session: Session, *, ahead: int = AHEAD) -> list[date]:
    """Makes the days that are missing from today on, each in a transaction of its own, and gives them.

    None where the tables are not divided, or where others are at it. Needs the rights of a worker or the owner.
    """
    made: list[date] = []
    while (day := await session.value("make_day", ahead=ahead)) is not None:
        made.append(date.fromisoformat(day))
    return made


async def prune_day(
    session: Session, ages: Mapping[Ending, timedelta], *, keep_keys: timedelta, after: UUID, limit: int
) -> DayPruned:
    """Drops the oldest day from ``after`` on, if all of its runs have ended and are old enough.

    Trees and chains that reach over its ends go run by run first, at most ``limit`` in a call.
    """
    row = await session.row(
        "prune_day",
        statuses=list(ages),
        ages=list(ages.values()),
        keep_keys=keep_keys,
        after=after,
        limit=limit,
    )
    assert row is not None
    return DayPruned(*row)


async def read_partition_state(session: Session) -> PartitionState:
    """How the tables are divided."""
    row = await session.row("partition_state")
    assert row is not None
    return PartitionState(**row)
