"""What workers say to the database about children: those to be started, and those to be cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.store.session import Session


class Child(NamedTuple):
    """A run to be, as the child of the run that writes it. ``options`` and ``tags`` are JSON text."""

    id: UUID
    kind: int
    name: str
    lane: str
    priority: int
    input: str
    timeout: timedelta | None
    tags: str | None
    options: str | None
    key: str
    """Of its outcome in its parent's journal."""
    root: UUID


class Next(NamedTuple):
    """The run that goes on for one that ends as continued. ``input`` is as it is stored."""

    id: UUID
    input: str
    unread: str
    """The keys of what the code has not seen, one a line."""


async def cancel_asked(session: Session, *, limit: int = 1000) -> tuple[int, int]:
    """Cancels runs whose parents have asked for it, at most ``limit``; says how many, and how many are still left."""
    row = await session.row("cancel_asked", limit=limit)
    assert row is not None
    return row["handled"], row["busy"]
