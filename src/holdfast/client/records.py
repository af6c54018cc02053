"""The records of runs that have ended: removing what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.errors import InvalidInput
from holdfast.core.settings import KEEP_KEYS
from holdfast.core.states import Ending, RunStatus
from holdfast.store import retention as store
from holdfast.store.partitions import prune_day

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.store.partitions import DayPruned
    from holdfast.store.retention import Pruned
    from holdfast.store.session import Session

_BATCH = 500
_BUSY = 0.2
"""Seconds until it is tried again, where a worker prunes at this moment."""


class Records:
    """What is recorded of runs that have ended."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(
        self,
        older_than: timedelta,
        *,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        keep_keys: timedelta = KEEP_KEYS,
        dry_run: bool = False,
    ) -> int:
        """Removes all that is recorded of runs that ended longer ago than this; gives how many, in batches.

        A tree goes when its root is old enough and all of it has ended; so do activities that were dispatched, which
        count as runs. A run that was retried or rewound goes when the run in its place is old enough; one that has
        continued as new also by itself, and the first id then means what it has become. With ``status``, only runs
        that ended so. A start with the key of a run that has gone makes no second one for ``keep_keys``: its handle
        finds no run. With ``dry_run`` nothing is removed. Where the tables are divided by day, days go as a whole, and
        what a day cannot go with goes by itself a day or two later than it could.

        Raises:
            InvalidInput: a duration is less than zero, or the status is not one of a run that has ended.
            AccessDenied: this user has not the rights of an operator.
        """
        ages = dict.fromkeys(_endings(status), older_than)
        for name, span in (("older_than", older_than), ("keep_keys", keep_keys)):
            if not _is_duration(span):
                raise InvalidInput(f"{name} is {span!r}: use a timedelta of zero or more")
        # What goes with its day is counted like all else.
        removed = 0 if dry_run else await self._prune_days(ages, keep_keys=keep_keys)
        after: UUID | None = store.FIRST
        rest = False
        while after is not None:
            step = partial(_step, ages=ages, keep_keys=keep_keys, after=after, dry_run=dry_run)
            done = await self._database.call(step)
            if done.runs is None:
                await asyncio.sleep(_BUSY)
                continue
            removed += done.runs
            rest = rest or done.rest
            after = done.last
            if after is None and rest:
                # Children whose ids are lower than those of their roots, by a clock that is behind.
                after, rest = store.FIRST, False
        if not dry_run:
            await self._database.call(lambda session: store.prune_keys(session, limit=10 * _BATCH))
        return removed

    async def _prune_days(self, ages: Mapping[Ending, timedelta], *, keep_keys: timedelta) -> int:
        """The whole days that can go, where the tables are divided by day."""
        removed = 0
        after: UUID | None = store.FIRST
        while after is not None:
            step = partial(_step_of_day, ages=ages, keep_keys=keep_keys, after=after)
            done = await self._database.call(step)
            if done.runs is None:
                await asyncio.sleep(_BUSY)
                continue
            removed += done.runs
            after = done.last
        return removed


async def _step_of_day(
    session: Session, *, ages: Mapping[Ending, timedelta], keep_keys: timedelta, after: UUID
) -> DayPruned:
    return await prune_day(session, ages, keep_keys=keep_keys, after=after, limit=_BATCH)


async def _step(
    session: Session, *, ages: Mapping[Ending, timedelta], keep_keys: timedelta, after: UUID, dry_run: bool
) -> Pruned:
    return await store.prune(session, ages, keep_keys=keep_keys, after=after, limit=_BATCH, dry_run=dry_run)


def _endings(status: RunStatus | str | Iterable[RunStatus | str] | None) -> list[Ending]:
    if status is None:
        return list(Ending)
    words = [status] if isinstance(status, str) else list(status)
    known = [ending.name.lower() for ending in Ending]
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        named = ", ".join(map(repr, unknown)) or "no status"
        raise InvalidInput(f"{named}: runs are removed that have ended, so use one or more of {', '.join(known)}")
    return [Ending[word.upper()] for word in words]


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)
