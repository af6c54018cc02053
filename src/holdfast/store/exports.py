"""Runs as they are exported; payloads come as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.states import Ending, RunKind

if TYPE_CHECKING:
    from holdfast.store.session import Session

_AMONG = 50
"""How many ended runs are looked at for each that is taken."""


class Exported(NamedTuple):
    """A run, without its journal."""

    id: UUID
    kind: RunKind
    name: str
    version: str | None
    lane: str
    priority: int
    input: str | None
    tags: str | None
    options: str | None
    parent: UUID | None
    root: UUID | None
    created_at: datetime
    first_claim_at: datetime | None
    entered: bool
    ending: Ending | None
    ended_at: datetime | None
    output: str | None
    error: str | None


async def read_exported(session: Session, runs: Sequence[UUID]) -> list[Exported]:
    """Those of these runs that exist."""
    found: list[Exported] = []
    for row in await session.fetch("exported_runs", runs=list(runs)):
        values = list(row)
        values[1] = RunKind(values[1])
        values[14] = None if values[14] is None else Ending(values[14])
        found.append(Exported(*values))
    return found


class Sampled(NamedTuple):
    """A run that was taken as an example of those with its name, of which there are so many."""

    id: UUID
    task_name: str
    runs: int


async def sample_open(session: Session, *, names: Sequence[str] | None, count: int) -> list[Sampled]:
    """Open runs of workflows, spread over them."""
    return [Sampled(*row) for row in await session.fetch("sample_open", names=names, count=count)]


async def sample_ended(session: Session, *, names: Sequence[str] | None, count: int) -> list[Sampled]:
    """Runs of workflows that have ended, among the latest, spread over them."""
    rows = await session.fetch("sample_ended", names=names, count=count, among=_AMONG * count)
    return [Sampled(*row) for row in rows]
