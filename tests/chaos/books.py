"""The ledger, in which activities write down that they begin, compared with the journal: line by line, as they come.

The clock of the ledger is one that no fault touches. That of the database is of the same machine; what one is ahead of
the other is measured at each look.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.journal import attempt_key

if TYPE_CHECKING:
    import asyncpg

    from tests.apps.ledger import Ledger
    from tests.chaos.findings import Findings

    Connection = asyncpg.Connection[asyncpg.Record]

_SLACK = 0.005
"""Seconds by which the two clocks may be taken to differ."""
_WAKING = 1.0
"""Seconds in which a process that was frozen goes on with what it was at."""
_RECORDED = """
select run_id, key, extract(epoch from at)::float8 as at
  from holdfast.journal
 where kind in (1, 2, 6)
   and run_id = any ($1::uuid[])
"""
_ENDED = """
select r.id, r.name, extract(epoch from e.at)::float8 as at
  from holdfast.run r
  left join holdfast.result e on e.run_id = r.id
 where r.id = any ($1::uuid[])
"""
_FOLLOWS = {
    "sequence": {"crunch#1": "step#1", "step#2": "crunch#1", "shaky#1": "crunch#1"},
    "regrets": {"refuse#1": "take#3"},
    "marathon": {},
}
"""In these workflows this activity is called when that outcome is known."""
_IN_A_ROW = {"books": "enter", "regrets": "take", "listens": "step"}
"""In these workflows each call of this activity follows on the outcome of the one before."""
_AGAIN = "8. no recorded activity is called again"
_COUNTED = "8. attempts are counted across crashes"
_SEEN = "2. an outcome is recorded before it is seen"


class _Line(NamedTuple):
    at: float
    pid: int
    run_id: UUID
    home: UUID
    """The run that the attempt was made for: of a dispatched activity not that of its workflow."""
    key: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.key}, attempt {self.attempt}, in process {self.pid}"


class _Record(NamedTuple):
    """What the database knows of the runs of some lines."""

    outcomes: dict[tuple[UUID, str], float]
    ends: dict[UUID, float | None]
    names: dict[UUID, str]


class Books:
    """How far the ledger was read, and the last attempt at each call."""

    def __init__(self, ledger: Ledger, findings: Findings, thawed: Mapping[int, Sequence[float]]) -> None:
        self._ledger = ledger
        self._findings = findings
        self._thawed = thawed
        self._read = 0
        self._attempts: dict[tuple[UUID, str], int] = {}
        self._doubtful: list[_Line] = []
        self._waking: dict[tuple[int, float], _Line] = {}
        self.calls = 0
        """How many lines there were."""

    async def compare(self, db: Connection) -> None:
        """Compares what has come since the last time, and once more what was written just before that."""
        offset = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) - _SLACK
        fresh, read = self._lines()
        # What was called just before a look may have been recorded just before, too, and be seen with the next.
        lines = [*self._doubtful, *fresh]
        record = await self._record(db, list({run_id for line in lines for run_id in (line.run_id, line.home)}))
        # Where the database could not be asked, these are read again with the next look.
        self._read = read
        for line in fresh:
            self._in_turn(line)
            self._follows(line, record, offset)
        for line in lines:
            self._once(line, record, offset)
        self._findings.looked.update({_AGAIN: len(fresh), _COUNTED: len(fresh)})
        self._doubtful = fresh
        self.calls += len(fresh)

    def _lines(self) -> tuple[list[_Line], int]:
        """What has come, and up to where it was read."""
        if not self._ledger.place.exists():
            return [], 0
        with self._ledger.place.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        lines: list[_Line] = []
        for one in whole.decode().splitlines():
            if not one.startswith("batch "):
                _, at, pid, run_id, home, key, attempt = one.split(" ")
                lines.append(_Line(float(at), int(pid), UUID(run_id), UUID(home), key, int(attempt)))
        return lines, self._read + len(whole)

    async def _record(self, db: Connection, runs: list[UUID]) -> _Record:
        outcomes = {(row["run_id"], row["key"]): row["at"] for row in await db.fetch(_RECORDED, runs)}
        ended = await db.fetch(_ENDED, runs)
        return _Record(outcomes, {row["id"]: row["at"] for row in ended}, {row["id"]: row["name"] for row in ended})

    def _once(self, line: _Line, record: _Record, offset: float) -> None:
        if self._is_waking(line):
            return
        moment = line.at + offset
        recorded = (
            record.outcomes.get((line.run_id, line.key)),
            record.outcomes.get((line.home, attempt_key(line.key, line.attempt))),
            # That of a workflow may end before what it has dispatched is told so.
            record.ends.get(line.home),
        )
        for end in recorded:
            if end is not None and moment > end:
                sentence = f"{line} was called {moment - end:.3f} s after that was recorded"
                self._findings.blame(_AGAIN, sentence, line.run_id)

    def _is_waking(self, line: _Line) -> bool:
        """Who was frozen may have looked at the end of its lease just before, and not yet called: that is one line."""
        for thawed in self._thawed.get(line.pid, ()):
            if 0 <= line.at - thawed < _WAKING:
                return self._waking.setdefault((line.pid, thawed), line) == line
        return False

    def _in_turn(self, line: _Line) -> None:
        call = (line.run_id, line.key)
        last = self._attempts.get(call, 0)
        if self._is_waking(line):
            return
        if line.attempt < last:
            sentence = f"{line} was called after attempt {last}"
            self._findings.blame(_COUNTED, sentence, line.run_id)
        self._attempts[call] = max(last, line.attempt)

    def _follows(self, line: _Line, record: _Record, offset: float) -> None:
        wanted = [] if line.attempt == 1 else [attempt_key(line.key, line.attempt - 1)]
        if (before := _before(record.names.get(line.run_id, ""), line.key)) is not None:
            wanted.append(before)
        self._findings.looked[_SEEN] += len(wanted)
        for key in wanted:
            # Attempts before it was dispatched are recorded where its workflow is.
            at = record.outcomes.get((line.home, key)) or record.outcomes.get((line.run_id, key))
            if at is None or line.at + offset + 2 * _SLACK < at:
                sentence = f"{line} was called before {key} was recorded"
                self._findings.blame(_SEEN, sentence, line.run_id)


def _before(workflow: str, key: str) -> str | None:
    found = _FOLLOWS.get(workflow, {}).get(key)
    if found is not None or workflow not in _IN_A_ROW:
        return found
    match = re.fullmatch(rf"({_IN_A_ROW[workflow]})#(\d+)", key)
    return f"{match[1]}#{int(match[2]) - 1}" if match and int(match[2]) > 1 else None
