"""What something costs: counters of the server, and the processor time of its processes and of a worker."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_FOLDER = Path(__file__).parent
_METER = (_FOLDER / "meter.sql").read_text(encoding="utf-8")
_STATEMENTS = (_FOLDER / "statements.sql").read_text(encoding="utf-8")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters that only grow; one that cannot be read is None, now and later."""

    statements: float | None
    commits: float
    wal: float
    stored: float
    worker: float
    server: float | None

    def since(self, before: Self, count: int) -> dict[str, float]:
        """What was added, for each of so many."""
        found: dict[str, float] = {}
        for field in fields(self):
            after, earlier = getattr(self, field.name), getattr(before, field.name)
            if after is not None and earlier is not None:
                found[field.name] = max(0.0, after - earlier) / count
        return found


class Meter:
    """Reads the counters of one database, of its whole server, and of one worker process.

    The server's processor time can be read where it runs on this machine.
    """

    def __init__(self, connection: Connection, worker: int) -> None:
        self._connection = connection
        self._worker = worker
        self._counts_statements = False
        self._postmaster: int | None = None

    async def prepare(self) -> None:
        """Finds out what can be read."""
        preloaded = str(await self._connection.fetchval("show shared_preload_libraries"))
        if "pg_stat_statements" in preloaded:
            await self._connection.execute("create extension if not exists pg_stat_statements")
            self._counts_statements = True
        self._postmaster = _postmaster_of(self._connection.get_server_pid())

    async def read(self) -> Reading:
        """The counters now."""
        row = await self._connection.fetchrow(_METER)
        assert row is not None
        statements = float(await self._connection.fetchval(_STATEMENTS)) if self._counts_statements else None
        return Reading(
            statements=statements,
            commits=float(row["commits"]),
            wal=float(row["wal"]),
            stored=float(row["stored"]),
            worker=spent_by(self._worker),
            server=None if self._postmaster is None else _spent_by_all(self._postmaster),
        )


def _postmaster_of(backend: int) -> int | None:
    process = Path(f"/proc/{backend}")
    if not process.exists() or not (process / "comm").read_text(encoding="utf-8").startswith("postgres"):
        return None
    return _parent(process)


def _stat(process: Path) -> list[str]:
    # The name is in parentheses, and may have blanks.
    return (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _parent(process: Path) -> int:
    return int(_stat(process)[1])


def spent_by(process: int) -> float:
    """Seconds of processor time of this process."""
    return _spent(Path(f"/proc/{process}"))


def _spent(process: Path, *, reaped: bool = False) -> float:
    """Seconds of processor time; with those of its children that have ended."""
    found = _stat(process)
    return sum(int(found[place]) for place in ((11, 12, 13, 14) if reaped else (11, 12))) / _TICK


def _spent_by_all(parent: int) -> float:
    total = _spent(Path(f"/proc/{parent}"), reaped=True)
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if _parent(process) == parent:
                    total += _spent(process)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended, and is counted with its parent
    return total
