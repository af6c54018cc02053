"""Looking at the server around the schema: what `holdfast db check` shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.store.roles import Grant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.store.session import Session

OLDEST_SERVER = 14
NEWEST_SERVER = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server as this user sees it. ``usable`` connections are those not reserved for superusers."""

    version: str
    major: int
    role: str
    database: str
    standby: bool
    read_only: bool
    may_create: bool
    max_connections: int
    usable: int
    used: int


async def read_server(session: Session) -> Server:
    """The server's version, limits, and what this user may do in the database."""
    row = await session.row("server")
    assert row is not None
    return Server(
        version=row["version"],
        major=row["number"] // 10_000,
        role=row["role"],
        database=row["database"],
        standby=row["standby"],
        read_only=row["read_only"],
        may_create=row["may_create"],
        max_connections=row["max_connections"],
        usable=row["usable"],
        used=row["used"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonHolder:
    """What keeps rows from being vacuumed away: for how many transactions, and for how long if that is known."""

    kind: str
    who: str
    age: int
    held: timedelta | None


async def read_horizon(session: Session) -> list[HorizonHolder]:
    """Who holds the xmin horizon of the server back, the oldest first."""
    return [HorizonHolder(**row) for row in await session.fetch("horizon")]


async def read_missing_rights(session: Session, grants: Sequence[Grant]) -> list[Grant]:
    """Those of the ``grants`` that the current user does not have."""
    rows = await session.fetch(
        "missing_rights",
        schema=session.statements.schema,
        tables=[grant.table for grant in grants],
        rights=[grant.right for grant in grants],
        columns=[grant.column for grant in grants],
    )
    return [Grant(table, right, column) for table, right, column in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnservedVersion:
    """A version of a workflow that open runs of this lane are pinned to, and that no live worker there carries."""

    lane: str
    name: str
    version: str
    runs: int


async def read_unserved_versions(session: Session) -> list[UnservedVersion]:
    """The versions that runs wait for in vain."""
    return [UnservedVersion(**row) for row in await session.fetch("unserved_versions")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWorker:
    """A worker whose lease is alive, and how many runs it holds."""

    id: int
    name: str
    host: str
    pid: int
    lane: str
    state: str
    started_at: datetime
    lease: timedelta
    left_of_lease: timedelta
    held: int


async def read_live_workers(session: Session) -> list[LiveWorker]:
    """The workers that are alive."""
    return [LiveWorker(**row) for row in await session.fetch("live_workers")]
