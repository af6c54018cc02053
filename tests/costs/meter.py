"""What something cost the database: statements by name, commits that wrote, and bytes of WAL."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import asyncpg

from holdfast.store.statements import Statements
from tests.house import House


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the meters."""

    wal: int
    xid: int
    calls: Counter[str]


class Meter:
    """``async with Meter(house) as cost:`` counts what is done in the block, by anybody, in this database.

    Statements are counted by pg_stat_statements; those of heartbeats, polls, sweeps and the tests are not named here,
    and so do not count. The server writes no full-page images.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._before = Reading(0, 0, Counter())
        self._after = self._before

    async def __aenter__(self) -> Self:
        await self._house.db.execute("create extension if not exists pg_stat_statements")
        self._before = await self._read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._after = await self._read()

    @property
    def wal(self) -> int:
        """Bytes of WAL."""
        return self._after.wal - self._before.wal

    @property
    def commits(self) -> int:
        """Transactions that wrote something."""
        return self._after.xid - self._before.xid

    @property
    def calls(self) -> Counter[str]:
        """Statements by name."""
        return self._after.calls - self._before.calls

    @property
    def statements(self) -> int:
        """All statements together."""
        return self.calls.total()

    async def _read(self) -> Reading:
        db: asyncpg.Connection[asyncpg.Record] = self._house.db
        wal = await db.fetchval("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        # Given out only to transactions that write; the next one tells how many there were.
        xid = await db.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        calls: Counter[str] = Counter()
        rows = await db.fetch(
            "select query, calls from pg_stat_statements"
            " where dbid = (select oid from pg_database where datname = current_database())"
        )
        for query, count in rows:
            name = _named(query)
            if name is not None:
                calls[name] += count
        return Reading(wal, xid, calls)


_CONSTANT = re.compile(r"'[^']*'|\$\d+|\b\d+\b|\b(?:null|true|false)\b|\s+")
_COUNTED = (
    "start_plain",
    "start_one",
    "start_keyed",
    "claim",
    "claim_leased",
    "claim_limited",
    "lease_permits",
    "return_permits",
    "flush",
    "journals",
    "inboxes",
    "hint",
    "results",
    "look",
    "begin_activity",
    "record",
    "settle",
    "take_messages",
    "settle_messages",
    "exchange_messages",
    "due_lines",
)
_TEXTS = {
    _key: _CONSTANT.sub("", Statements()[_key].text) for _key in _COUNTED if _key in {s.name for s in Statements()}
}


def _named(query: str) -> str | None:
    # Constants are replaced there by parameters.
    text = _CONSTANT.sub("", query)
    return next((name for name, known in _TEXTS.items() if text == known), None)
