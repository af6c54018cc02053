"""Retention: the records of ended runs go when they are old enough; and the index that finds runs by their tags."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.states import Ending

if TYPE_CHECKING:
    from holdfast.store.session import Session

FIRST = UUID(int=0)
"""Where to begin."""


class Pruned(NamedTuple):
    """What became of one step."""

    last: UUID | None
    """Where to go on; None at the end."""
    runs: int | None
    """How many went; None: somebody else prunes at this moment."""
    rest: bool
    """Whether children are left whose root has gone: some of them may lie before."""


async def take_turn(session: Session, task: str, *, every: timedelta) -> bool:
    """Whether it is this one of all who ask within that time that does the task."""
    return bool(await session.value("take_turn", task=task, every=every))


async def prune(
    session: Session,
    ages: Mapping[Ending, timedelta],
    *,
    keep_keys: timedelta,
    after: UUID = FIRST,
    limit: int = 1000,
    dry_run: bool = False,
) -> Pruned:
    """Removes runs that ended longer ago than their age, looking at ``limit`` results from ``after`` on.

    With at most so many of their children; those that are left go like others whose root has gone.
    """
    row = await session.row(
        "prune",
        statuses=list(ages),
        ages=list(ages.values()),
        keep_keys=keep_keys,
        after=after,
        limit=limit,
        dry=dry_run,
    )
    assert row is not None
    return Pruned(*row)


async def prune_keys(session: Session, *, limit: int = 1000) -> int:
    """Removes keys whose time has been over for an hour, at most ``limit``; says how many. They were free before."""
    return int(await session.value("prune_keys", limit=limit))


async def tags_are_indexed(session: Session) -> bool:
    """Whether there is an index on tags."""
    return bool(await session.value("tags_indexed"))


async def drop_tags_index(session: Session) -> None:
    """Removes the index, and what is left of one that could not be finished. Not inside a transaction."""
    divided = await session.value("is_partitioned")
    await session.fetch("drop_tags_index_of_days" if divided else "drop_tags_index")


async def make_tags_index(session: Session) -> None:
    """Makes the index, without locking anybody out unless there are days. Not inside a transaction."""
    divided = await session.value("is_partitioned")
    await session.fetch("make_tags_index_of_days" if divided else "make_tags_index")
