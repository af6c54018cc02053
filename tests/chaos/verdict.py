"""The balance at the end: what was promised, what the tables say, and what the activities themselves wrote down."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.chaos.audit import inspect
from tests.chaos.books import Books
from tests.chaos.kinds import KINDS
from tests.house import check_invariants, until

if TYPE_CHECKING:
    from tests.apps.ledger import Ledger
    from tests.chaos.findings import Findings
    from tests.chaos.load import Load, Promise
    from tests.house import House

_STATUS = {1: "succeeded", 2: "failed", 3: "cancelled"}
_LEAST_SHARE = 0.5
_CONTINUED = "marathon"
_TABLES = {"run": "id", "task": "run_id", "journal": "run_id", "inbox": "run_id", "result": "run_id"}
_OPEN = """
select i as id, (select s.status from holdfast.runs s where s.id = i) as status
  from unnest($1::uuid[]) i
 where not exists (select from holdfast.result where run_id = i)
"""
_RESULTS = """
select i as id, e.run_id, e.status, e.output #>> '{}' as output, e.error::text as error
  from unnest($1::uuid[], $2::uuid[]) as p (i, newest)
  join holdfast.result e on e.run_id = p.newest
"""


@dataclass(slots=True)
class Verdict:
    """What has become of what was promised."""

    ended: Counter[str] = field(default_factory=Counter[str])
    """How many promised runs have ended how, by kind and status."""
    calls: int = 0
    """Of activities."""
    entries: int = 0
    """Made by transactional ones."""

    @property
    def share(self) -> float:
        """Of all promised runs those that ended as they should."""
        good = sum(number for name, number in self.ended.items() if not name.endswith("wrong"))
        return good / max(1, sum(self.ended.values()))


async def balance(
    house: House, ledger: Ledger, load: Load, findings: Findings, thawed: Mapping[int, float], *, patience: float
) -> Verdict:
    """Waits until every promised run has ended, and says what is wrong then."""
    verdict = Verdict()
    newest = await _end_all(house, load.promises, findings, patience)
    await look_at_invariants(house.dsn, findings)
    await inspect(house.db, findings, calm=False)
    await _keep_promises(house, load.promises, newest, verdict, findings)
    books = Books(ledger, findings, thawed)
    await books.compare(house.db)
    verdict.calls = books.calls
    await _count_entries(house, load.promises, verdict, findings)
    await _undo(house, load.promises, findings)
    rows = await house.db.fetch("select id from holdfast.run where id = any ($1::uuid[])", load.taken_back)
    for row in rows:
        findings.blame("1. what was rolled back is not there", "its start was rolled back", row["id"])
    if verdict.share < _LEAST_SHARE:
        share = f"only {verdict.share:.0%} of the runs ended as they should: nothing is shown by that"
        findings.blame("10. something succeeds", share)
    return verdict


async def look_at_invariants(dsn: str, findings: Findings, *, but: tuple[str, ...] = ()) -> None:
    """All that can be read from the tables alone."""
    try:
        await check_invariants(dsn, but=but)
    except AssertionError as broken:
        for line in str(broken).splitlines():
            title, _, row = line.partition(": ")
            findings.blame(title, row)


async def _end_all(house: House, promises: Sequence[Promise], findings: Findings, patience: float) -> dict[UUID, UUID]:
    """Gives, of each promised run, the one that goes on for it last."""
    ids = [promise.run_id for promise in promises]
    newest = {run_id: run_id for run_id in ids}

    async def all_ended() -> bool:
        for promise in promises:
            if promise.kind == _CONTINUED:
                newest[promise.run_id] = await house.value("select holdfast.newest($1)", promise.run_id)
        return not await house.db.fetch(_OPEN, list(newest.values()))

    try:
        await until(all_ended, "every promised run has ended", patience=patience)
    except AssertionError:
        for row in await house.db.fetch(_OPEN, list(newest.values())):
            sentence = f"promised, and has not ended after {patience:g} s: {row['status'] or 'it is lost'}"
            findings.blame("1. what was promised ends", sentence, row["id"])
    return newest


async def _keep_promises(
    house: House, promises: Sequence[Promise], newest: dict[UUID, UUID], verdict: Verdict, findings: Findings
) -> None:
    rows = await house.db.fetch(_RESULTS, list(newest), list(newest.values()))
    results = {row["id"]: row for row in rows}
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
            findings.blame(
                "1. what was promised ends as it should",
                f"{promise.kind}({promise.number}) ended as {status} with {value or row['error']}, "
                f"and was to end as {wanted[0]} with {wanted[1]}",
                row["run_id"],
            )


def _wanted(promise: Promise) -> tuple[str, object]:
    if promise.kind == "poisoned":
        return "failed", None
    kind = KINDS[promise.kind]
    return kind.status, kind.wanted(promise.number)


async def _count_entries(house: House, promises: Sequence[Promise], verdict: Verdict, findings: Findings) -> None:
    """What a transactional activity does is done once."""
    check = "18. what a transactional activity does is done once"
    lines: dict[int, list[int]] = defaultdict(list)
    for row in await house.db.fetch("select book, line from public.chaos_entry order by book, line"):
        lines[row["book"]].append(row["line"])
        verdict.entries += 1
    for book, written in lines.items():
        if len(set(written)) != len(written):
            findings.blame(check, f"book {book} has entries twice: {written}")
    for promise in promises:
        if promise.kind == "books" and lines[promise.number] != [0, 1, 2, 3]:
            findings.blame(check, f"book {promise.number} has the entries {lines[promise.number]}", promise.run_id)


async def _undo(house: House, promises: Sequence[Promise], findings: Findings) -> None:
    """What was taken and not kept was given back."""
    rows = await house.db.fetch(
        "select run_id, count(*) filter (where key like 'take#%') as taken, "
        "count(*) filter (where key like 'give_back#%') as given from holdfast.journal "
        "where kind = 1 and error is null and run_id = any ($1::uuid[]) group by run_id",
        [promise.run_id for promise in promises if promise.kind == "regrets"],
    )
    for row in rows:
        if row["taken"] != 3 or row["given"] != 3:
            sentence = f"took {row['taken']} and gave back {row['given']}"
            findings.blame("W15. what was taken is given back", sentence, row["run_id"])


async def describe(house: House, run_id: UUID) -> str:
    """All that the tables say of a run."""
    parts: list[str] = []
    for table, column in _TABLES.items():
        order = "order by seq" if table == "journal" else ""
        rows: list[Any] = await house.db.fetch(f"select * from holdfast.{table} where {column} = $1 {order}", run_id)
        parts.extend(f"  {table}: {dict(row)}" for row in rows)
    return "\n".join(parts)
