"""The balance at the end: what was promised, what the tables say, and what the activities themselves wrote down."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from tests.chaos.audit import inspect
from tests.chaos.books import Books
from tests.chaos.kinds import HEARD, KINDS
from tests.chaos.replays import differences
from tests.house import check_invariants, invariants, until

if TYPE_CHECKING:
    from holdfast.client import Client
    from tests.apps.ledger import Ledger
    from tests.chaos.crew import Crew
    from tests.chaos.findings import Findings
    from tests.chaos.load import Load
    from tests.chaos.promise import Promise
    from tests.house import House

_STATUS = {1: "succeeded", 2: "failed", 3: "cancelled"}
_LEAST_SHARE = 0.5
_LEAST_PACE = 0.1
"""Of what was to be started in all the time: a slow machine under many faults comes to more than half of it."""
_ENDS = "1. what was promised ends"
_ALL_END = "10. all ends, promised or not"
_ENDS_WELL = "1. what was promised ends as it should"
_ROLLED_BACK = "1. what was rolled back is not there"
_REPLAYS = "7. a replay asks for the same in the same order"
_EFFECTS = "18. what a transactional activity does is done once"
_UNDONE = "W15. what was taken is given back"
_SUCCEEDS = "10. something succeeds"
_CONTINUED = {"marathon", "retried", "rewound"}
"""Of these others go on for the run that was promised."""
_TABLES = {"run": "id", "task": "run_id", "journal": "run_id", "inbox": "run_id", "result": "run_id"}
_NAMED = re.compile(r"'(?:run_id|id)': UUID\('([0-9a-f-]{36})'\)")
"""The run that is at fault, in a row that breaks an invariant."""
_REPLAYED = 400
_WAITS = ["listens", "answers", "hears", "crowd", "purchase", "idle"]
"""Of these one whose start was refused, and that is there all the same, has nobody to talk to."""
_LEFT_OVER = """
select t.run_id, r.name, (select s.status from holdfast.runs s where s.id = t.run_id) as status
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where r.created_at < $1
   and r.name <> all ($2::text[])
"""
_ENDED = "select count(*) from holdfast.result e join holdfast.run r on r.id = e.run_id where r.created_at < $1"
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
_HOLDERS = """
select c.hold, w.name, w.pid, w.started_at, w.ended_at, w.state
  from public.chaos_claim c
  join holdfast.worker w on w.id = c.worker
 where c.run_id = $1
 order by c.hold
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
    replayed: int = 0
    """Runs whose journals were replayed."""
    refused: int = 0
    """Starts that were refused."""

    @property
    def promised(self) -> int:
        """Starts that were acknowledged."""
        return sum(self.ended.values())

    @property
    def share(self) -> float:
        """Of all starts, refused ones too, those whose runs were promised and ended as they should."""
        good = sum(number for name, number in self.ended.items() if not name.endswith("wrong"))
        return good / max(1, self.promised + self.refused)

    def weigh(self, wanted: float, findings: Findings) -> None:
        """Whether enough has succeeded to show anything; ``wanted``: as many starts as in all the time at full pace."""
        findings.looked[_SUCCEEDS] += 1
        if self.share < _LEAST_SHARE:
            share = f"only {self.share:.0%} of all starts came to an end as it should be: nothing is shown by that"
            findings.blame(_SUCCEEDS, share)
        if self.promised < _LEAST_PACE * wanted:
            sentence = f"only {self.promised} runs were promised of {wanted:.0f} or so: nothing is shown by that"
            findings.blame(_SUCCEEDS, sentence)


async def balance(
    house: House,
    ledger: Ledger,
    load: Load,
    crew: Crew,
    findings: Findings,
    *,
    client: Client,
    wanted: float,
    patience: float,
) -> Verdict:
    """Waits until all runs have ended, promised or not, and says what is wrong then."""
    verdict = Verdict(refused=sum(load.refused.values()))
    newest = await _end_all(house, load.promises, findings, patience)
    await look_at_invariants(house.dsn, findings)
    await inspect(house.db, findings, calm=False)
    await _keep_promises(house, load.promises, newest, verdict, findings)
    books = Books(ledger, findings, crew.thawed)
    await books.compare(house.db)
    verdict.calls = books.calls
    await _count_entries(house, load.promises, verdict, findings)
    await _undo(house, load.promises, findings)
    await _replay(client, verdict, findings)
    rows = await house.db.fetch("select id from holdfast.run where id = any ($1::uuid[])", load.taken_back)
    for row in rows:
        findings.blame(_ROLLED_BACK, "its start was rolled back", row["id"])
    findings.looked[_ROLLED_BACK] += len(load.taken_back)
    verdict.weigh(wanted, findings)
    return verdict


async def look_at_invariants(dsn: str, findings: Findings, *, but: tuple[str, ...] = ()) -> None:
    """All that can be read from the tables alone."""
    try:
        await check_invariants(dsn, but=but)
    except AssertionError as broken:
        for line in str(broken).splitlines():
            title, _, row = line.partition(": ")
            named = _NAMED.search(row)
            findings.blame(title, row, None if named is None else UUID(named[1]))
    findings.looked.update(title for title, _ in invariants(but))


async def _end_all(house: House, promises: Sequence[Promise], findings: Findings, patience: float) -> dict[UUID, UUID]:
    """Gives, of each promised run, the one that goes on for it last."""
    newest = {promise.run_id: promise.run_id for promise in promises}
    continued = [promise.run_id for promise in promises if promise.kind in _CONTINUED]
    now = await house.value("select clock_timestamp()")

    async def all_ended() -> bool:
        rows = await house.db.fetch("select i as id, holdfast.newest(i) as last from unnest($1::uuid[]) i", continued)
        newest.update((row["id"], row["last"]) for row in rows)
        return not (await house.db.fetch(_OPEN, list(newest.values())) or await house.db.fetch(_LEFT_OVER, now, _WAITS))

    # As long as something ends, it is worth waiting for the rest.
    ended, before = 0, -1
    over = False
    while not over and ended > before:
        before = ended
        with suppress(AssertionError):
            over = bool(await until(all_ended, "every run has ended", patience=patience))
        ended = await house.value(_ENDED, now)
    findings.looked.update({_ENDS: len(newest), _ALL_END: ended})
    if not over:
        for row in await house.db.fetch(_OPEN, list(newest.values())):
            sentence = f"promised, and has not ended after {patience:.0f} s: {row['status'] or 'it is lost'}"
            findings.blame(_ENDS, sentence, row["id"])
        for row in await house.db.fetch(_LEFT_OVER, now, _WAITS):
            sentence = f"a {row['name']} that has not ended after {patience:.0f} s: {row['status']}"
            findings.blame(_ALL_END, sentence, row["run_id"])
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
        good = status == wanted[0] and (status != "succeeded" or _is_wanted(promise, json.loads(value), wanted[1]))
        if promise.kind == "cancelled":
            # Asked to, it may be through before it is told.
            good = status == "cancelled" or (good and not promise.is_cancelled)
        elif promise.kind in KINDS and KINDS[promise.kind].may_be_cancelled:
            # Which of them, the audit says.
            good = good or status == "cancelled"
        verdict.ended[f"{promise.kind}: {status}{'' if good else ', wrong'}"] += 1
        findings.looked[_ENDS_WELL] += 1
        if not good:
            findings.blame(
                _ENDS_WELL,
                f"{promise.kind}({promise.number}) ended as {status} with {value or row['error']}, "
                f"and was to end as {wanted[0]} with {wanted[1]}",
                row["run_id"],
            )


def _wanted(promise: Promise) -> tuple[str, object]:
    if promise.kind == "poisoned":
        return "failed", None
    kind = KINDS[promise.kind]
    return kind.status, kind.wanted(promise.number)


def _is_wanted(promise: Promise, value: object, wanted: object) -> bool:
    if promise.kind != "hears" or not isinstance(value, list):
        return value == wanted
    # Signals without a key: what was acknowledged once, the others at most once.
    heard = cast("list[object]", value)
    sure = [one for one in heard if one not in promise.unsure]
    return len(set(heard)) == len(heard) and sure == sorted(set(range(HEARD)) - promise.unsure)


async def _replay(client: Client, verdict: Verdict, findings: Findings) -> None:
    """Some journals of every workflow, against the code at hand."""
    sample = await client.sample(_REPLAYED, open=False, ended=True)
    verdict.replayed = len(sample.runs)
    findings.looked[_REPLAYS] += verdict.replayed
    # In a thread: workflow code has tasks of its own.
    for run_id, sentence in await asyncio.to_thread(list, differences(sample.runs)):
        findings.blame(_REPLAYS, sentence, run_id)


async def _count_entries(house: House, promises: Sequence[Promise], verdict: Verdict, findings: Findings) -> None:
    """What a transactional activity does is done once."""
    lines: dict[int, list[int]] = defaultdict(list)
    for row in await house.db.fetch("select book, line from public.chaos_entry order by book, line"):
        lines[row["book"]].append(row["line"])
        verdict.entries += 1
    findings.looked[_EFFECTS] += len(lines)
    for book, written in lines.items():
        if len(set(written)) != len(written):
            findings.blame(_EFFECTS, f"book {book} has entries twice: {written}")
    for promise in promises:
        if promise.kind == "books" and lines[promise.number] != [0, 1, 2, 3]:
            findings.blame(_EFFECTS, f"book {promise.number} has the entries {lines[promise.number]}", promise.run_id)


async def _undo(house: House, promises: Sequence[Promise], findings: Findings) -> None:
    """What was taken and not kept was given back."""
    rows = await house.db.fetch(
        "select run_id, count(*) filter (where key like 'take#%') as taken, "
        "count(*) filter (where key like 'give_back#%') as given from holdfast.journal "
        "where kind = 1 and error is null and run_id = any ($1::uuid[]) group by run_id",
        regrets := [promise.run_id for promise in promises if promise.kind == "regrets"],
    )
    counts = {row["run_id"]: (row["taken"], row["given"]) for row in rows}
    findings.looked[_UNDONE] += len(regrets)
    for run_id in regrets:
        taken, given = counts.get(run_id, (0, 0))
        if (taken, given) != (3, 3):
            findings.blame(_UNDONE, f"took {taken} and gave back {given}", run_id)


async def describe(house: House, run_id: UUID) -> str:
    """All that the tables say of a run."""
    parts: list[str] = []
    for table, column in _TABLES.items():
        order = "order by seq" if table == "journal" else ""
        rows: list[Any] = await house.db.fetch(f"select * from holdfast.{table} where {column} = $1 {order}", run_id)
        parts.extend(f"  {table}: {dict(row)}" for row in rows)
    parts.extend(f"  held: {dict(row)}" for row in await house.db.fetch(_HOLDERS, run_id))
    return "\n".join(parts)
