"""The database of simulations: made once, cleared before each schedule, looked at from outside."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from holdfast.core.worker_state import BUCKET_TRANSITIONS, WORKER_TRANSITIONS, BucketState, WorkerState
from tests.house import INVARIANTS
from tests.simulation.backends import Backends

_SETUP = Path(__file__).with_name("simulated.sql")
_FURTHER = Path(__file__).with_name("invariants.sql").read_text(encoding="utf-8")


async def prepare(dsn: str) -> None:
    """Puts the simulation's clock, ids and views into a database that has Holdfast's schema."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_SETUP.read_text(encoding="utf-8"))
        await connection.executemany("insert into simulated.allowed values ($1, $2, $3)", _allowed())
    finally:
        await connection.close()


def _allowed() -> list[tuple[str, str | None, str | None]]:
    """Which state may follow on which; none: it was not there, or is gone."""
    allowed: list[tuple[str, str | None, str | None]] = [
        ("bucket", None, BucketState.ACTIVE),
        ("worker", None, WorkerState.ACTIVE),
        # One that was asked to pause under its last name.
        ("worker", None, WorkerState.PAUSED),
    ]
    allowed += [("bucket", before, after) for before, found in BUCKET_TRANSITIONS.items() for after in found]
    allowed += [("worker", before, after) for before, found in WORKER_TRANSITIONS.items() for after in found]
    return allowed


class Database:
    """One database for many schedules, one after the other."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        tables = backends.look(
            "select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'holdfast' and c.relkind = 'r' and c.relname <> 'migration' order by c.relname"
        )
        names = ", ".join(f"holdfast.{row['name']}" for row in tables)
        self._clear = (
            f"truncate {names}, simulated.opened, simulated.made, simulated.moved, simulated.entry restart identity; "
            "select setval('simulated.identities', 1, false)"
        )
        self._invariants = _together(INVARIANTS + _FURTHER)

    def clear(self, micros: int) -> None:
        """As if nothing had ever happened, at this time."""
        self.backends.settle()
        self.backends.wait(self.backends.admin.execute(self._clear))
        self.backends.wait(self.backends.admin.execute("discard plans"))
        self.backends.micros = 0
        self.backends.set_clock(micros)

    def broken(self, *, but: tuple[str, ...] = ()) -> list[str]:
        """The invariants that do not hold now, each with a row that shows it."""
        rows = self.backends.look(self._invariants)
        return [f"{row['title']}: {row['shown']}" for row in rows if not row["title"].startswith(but or ("-",))]


def _together(invariants: str) -> str:
    """All of them in one statement."""
    parts: list[str] = []
    for part in invariants.split("-- invariant: ")[1:]:
        title, _, query = part.partition("\n")
        quoted = title.strip().replace("'", "''")
        parts.append(f"select '{quoted}' as title, to_jsonb(q)::text as shown from (\n{query}\n) q")
    return "\nunion all\n".join(parts)
