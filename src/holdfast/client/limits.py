"""What a client sees of limits: how much of each is taken, by whom, and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.errors import InvalidInput
from holdfast.core.limit import LimitKind, kind_of
from holdfast.store import limits as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.store.limits import KeyRow
    from holdfast.store.session import Session

_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSummary:
    """A limit or a rate, or one key of it, as it stood when it was looked at."""

    name: str
    kind: LimitKind
    key: str
    """Empty where it has no keys, or for runs that have none."""
    most: int
    """So many at once; of a rate, its burst. As who asked last believed."""
    taken: int
    """So many permits are held, or leased by workers in advance. Of a rate none is held."""
    leased: int
    """Of these, how many workers have leased, whether they use them or not."""
    waiting: int
    """Runs that wait for it; 1000 if there are more."""
    since: datetime | None
    """Since when the first of them waits."""
    opens_at: datetime | None
    """When it will be looked after them again, if nothing is given back before; None where nobody waits."""
    holders: Sequence[UUID]
    """Some of the runs that hold permits, at most three."""


class Limits:
    """The limits and rates that are in use, in all workers together: ``client.limits``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def list(self, *, name: str | None = None, limit: int = 100) -> Sequence[LimitSummary]:
        """The limits of which something is taken, or was a moment ago, or for which somebody waits, by name and key.

        Args:
            name: Only those of this name: that of the ``Limit``, or of its workflow or activity, and its ``per`` if it
                has one (``serve``, ``serve/customer_id``).
            limit: At most so many, from 1 to 10,000.

        Raises:
            InvalidInput: ``limit`` cannot be used.
        """
        if not 1 <= limit <= _MOST:
            raise InvalidInput(f"limit={limit!r} is not a number from 1 to {_MOST:,}")

        async def work(session: Session) -> list[KeyRow]:
            return await store.read_keys(session, name=name, limit=limit)

        return [_summary(row) for row in await self._context.database.call(work)]


def _summary(row: KeyRow) -> LimitSummary:
    kind, name = kind_of(row.name)
    return LimitSummary(
        name=name,
        kind=kind,
        key=row.key,
        most=row.most,
        taken=row.taken,
        leased=row.leased,
        waiting=row.waiting,
        since=row.since,
        opens_at=row.opens_at,
        holders=row.holders,
    )
