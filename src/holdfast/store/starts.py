"""Starting runs: one statement for any number of them, inside whatever transaction the connection is in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Start(NamedTuple):
    """One run to be. ``input`` is as it is to be stored; ``due`` and ``after`` are given one at most."""

    id: UUID
    kind: int
    name: str
    lane: str
    priority: int
    input: str
    due: datetime | None
    after: timedelta | None
    timeout: timedelta | None
    tags: str | None
    key: str | None
    digest: bytes | None


class Started(NamedTuple):
    """What became of one start: the run that it made or found, and whether that has the same input."""

    id: UUID
    existing: bool
    same: bool


async def start_plain(session: Session, starts: Sequence[Start], *, hint: bool) -> list[Started]:
    """Makes runs without keys; those that are there already stay as they are."""
    *columns, _keys, _digests = zip(*starts, strict=True)
    lanes = {f"due {start.lane}" for start in starts} if hint else ()
    await session.call("start_plain", [*columns, list(lanes)])
    return [Started(start.id, existing=False, same=True) for start in starts]


async def start_keyed(session: Session, starts: Sequence[Start], *, hint: bool) -> list[Started]:
    """Makes runs, or finds those that their keys belong to; answers in the order of ``starts``."""
    rows = await session.call("start_keyed", [*zip(*starts, strict=True), hint])
    return [Started(*row) for row in rows]
