"""The books, balanced: what was promised, what the tables say, and what the activities themselves wrote down."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.chaos.load import KINDS
from tests.house import until

if TYPE_CHECKING:
    from tests.apps.ledger import Ledger
    from tests.chaos.load import Promise
    from tests.house import House

_STATUS = {1: "succeeded", 2: "failed", 3: "cancelled"}
_SLACK = 0.005
"""Seconds by which the clock of the ledger and that of the database may be taken to differ."""
_LEAST_SHARE = 0.5
_MISSING = "from unnest($1::uuid[]) i where not exists (select from holdfast.result where run_id = i)"
_TABLES = {"run": "id", "task": "run_id", "journal": "run_id", "inbox": "run_id", "result": "run_id"}
_CALLED = """
select run_id::text, key, extract(epoch from at)::float8 as at from holdfast.journal where kind in (1, 2, 6)
"""
_ENDED = "select run_id::text, extract(epoch from at)::float8 as at from holdfast.result"


@dataclass(slots=True)
class Verdict:
    """What was found."""

    wrong: list[str] = field(default_factory=list[str])
    """Each a sentence about something that may not be."""
    suspects: dict[UUID, None] = field(default_factory=dict[UUID, None])
    """The runs at fault, for their journals."""
    ended: Counter[str] = field(default_factory=Counter[str])
    """How many promised runs have ended how, by kind and status."""
    calls: int = 0
    """Of activities."""
    entries: int = 0
    """Made by transactional ones."""

    def blame(self, run_id: UUID | None, sentence: str) -> None:
        self.wrong.append(sentence if run_id is None else f"run {run_id}: {sentence}")
        if run_id is not None:
            self.suspects[run_id] = None

    @property
    def share(self) -> float:
        """Of all promised runs those that ended as they should."""
        good = sum(number for name, number in self.ended.items() if not name.endswith("wrong"))
        return good / max(1, sum(self.ended.values()))


async def balance(house: House, ledger: Ledger, promises: Sequence[Promise], *, patience: float) -> Verdict:
    """Waits until every promised run has ended, and says what is wrong then."""
    verdict = Verdict()
    await _end_all(house, promises, verdict, patience)
    try:
        await house.check_invariants()
    except AssertionError as broken:
        verdict.blame(None, f"an invariant is broken: {broken}")
    await _keep_promises(house, promises, verdict)
    await _read_ledger(house, ledger, verdict)
    await _count_entries(house, promises, verdict)
    await _undo(house, promises, verdict)
    if verdict.share < _LEAST_SHARE:
        verdict.blame(None, f"only {verdict.share:.0%} of the runs ended as they should: nothing is shown by that")
    return verdict


async def _end_all(house: House, promises: Sequence[Promise], verdict: Verdict, patience: float) -> None:
    ids = [promise.run_id for promise in promises]

    async def all_ended() -> bool:
        return bool(await house.value(f"select count(*) = 0 {_MISSING}", ids))

    try:
        await until(all_ended, "every promised run has ended", patience=patience)
    except AssertionError:
        rows = await house.db.fetch(
            f"select i as id, (select s.status from holdfast.runs s where s.id = i) as status {_MISSING}", ids
        )
        for row in rows:
            verdict.blame(
                row["id"], f"promised, and has not ended after {patience:g} s: {row['status'] or 'it is lost'}"
            )


async def _keep_promises(house: House, promises: Sequence[Promise], verdict: Verdict) -> None:
    rows = await house.db.fetch(
        "select run_id, status, output #>> '{}' as output, error::text as error from holdfast.result "
        "where run_id = any ($1::uuid[])",
        [promise.run_id for promise in promises],
    )
    results = {row["run_id"]: row for row in rows}
    for promise in promises:
        row = results.get(promise.run_id)
        if row is None:
            verdict.ended[f"{promise.kind}: not at all, wrong"] += 1
            continue
        status = _STATUS.get(row["status"], str(row["status"]))
        wanted, value = _wanted(promise), row["output"]
        good = status == wanted[0] and (status != "succeeded" or json.loads(value) == wanted[1])
        if promise.kind == "cancelled" and status == "cancelled":
            good = True
        verdict.ended[f"{promise.kind}: {status}{'' if good else ', wrong'}"] += 1
        if not good:
            verdict.blame(
                promise.run_id,
                f"{promise.kind}({promise.number}) ended as {status} with {value or row['error']}, "
                f"and was to end as {wanted[0]} with {wanted[1]}",
            )


def _wanted(promise: Promise) -> tuple[str, object]:
    if promise.kind == "poisoned":
        return "failed", None
    kind = KINDS[promise.kind]
    return kind.status, kind.wanted(promise.number)


async def _read_ledger(house: House, ledger: Ledger, verdict: Verdict) -> None:
    """No activity is called whose outcome is recorded, or whose run has ended."""
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    now = await house.value("select extract(epoch from clock_timestamp())::float8")
    offset = now - (before + time.clock_gettime(time.CLOCK_MONOTONIC)) / 2
    journal = await house.db.fetch(_CALLED)
    ends = {row["run_id"]: row["at"] for row in await house.db.fetch(_ENDED)}
    recorded = {(row["run_id"], row["key"]): row["at"] for row in journal}
    for line in ledger.lines():
        _, at, _, run, key, attempt = line.split(" ")
        verdict.calls += 1
        moment = float(at) + offset - _SLACK
        for end in (recorded.get((run, key)), recorded.get((run, f"{key}@{attempt}")), ends.get(run)):
            if end is not None and moment > end:
                verdict.blame(UUID(run), f"{line!r} was called {moment - end:.3f} s after that was recorded")


async def _count_entries(house: House, promises: Sequence[Promise], verdict: Verdict) -> None:
    """What a transactional activity does is done once."""
    lines: dict[int, list[int]] = defaultdict(list)
    for row in await house.db.fetch("select book, line from chaos_entry order by book, line"):
        lines[row["book"]].append(row["line"])
        verdict.entries += 1
    for book, written in lines.items():
        if len(set(written)) != len(written):
            verdict.blame(None, f"book {book} has entries twice: {written}")
    for promise in promises:
        if promise.kind == "books" and lines[promise.number] != [0, 1, 2, 3]:
            verdict.blame(promise.run_id, f"book {promise.number} has the entries {lines[promise.number]}")


async def _undo(house: House, promises: Sequence[Promise], verdict: Verdict) -> None:
    """What was taken and not kept was given back."""
    rows = await house.db.fetch(
        "select run_id, count(*) filter (where key like 'take#%') as taken, "
        "count(*) filter (where key like 'give_back#%') as given from holdfast.journal "
        "where kind = 1 and error is null and run_id = any ($1::uuid[]) group by run_id",
        [promise.run_id for promise in promises if promise.kind == "regrets"],
    )
    for row in rows:
        if row["taken"] != 3 or row["given"] != 3:
            verdict.blame(row["run_id"], f"took {row['taken']} and gave back {row['given']}")


async def describe(house: House, run_id: UUID) -> str:
    """All that the tables say of a run."""
    parts: list[str] = []
    for table, column in _TABLES.items():
        order = "order by seq" if table == "journal" else ""
        rows: list[Any] = await house.db.fetch(f"select * from holdfast.{table} where {column} = $1 {order}", run_id)
        parts.extend(f"  {table}: {dict(row)}" for row in rows)
    return "\n".join(parts)
