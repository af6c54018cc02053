"""Deliberate defects: an engine in which one thing is wrong that no engine may have.

Each is made of the same changes with which the tests of the rules take a rule out. What is changed in the database is
changed once, what is changed in the code in each process that has workers. ``./dev chaos --broken`` shows that each of
them is found.
"""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

import pytest

from holdfast.core.journal import Entry
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.heart import Heart
from holdfast.worker.heartbeat import Heartbeat
from holdfast.worker.held import Unit
from tests.rules.change import Change, as_it_is, replaced, rewritten, together

if TYPE_CHECKING:
    import asyncpg

    from holdfast.store.link import Link
    from holdfast.store.statements import Statement
    from holdfast.store.writes import Writes

    Connection = asyncpg.Connection[asyncpg.Record]

VARIABLE = "HOLDFAST_TEST_DEFECT"
"""The environment variable that says to a worker process which defect it has."""


class Defect(NamedTuple):
    """What is changed, and what may be seen of it."""

    seen: str
    database: Change = as_it_is
    process: Change = as_it_is

    async def __call__(self, db: Connection, patch: pytest.MonkeyPatch, /) -> None:
        """Both at once: for workers that are in this process."""
        await self.database(db, patch)
        await self.process(db, patch)


def break_process() -> None:
    """Gives this process the defect that its environment names, if it names one."""
    name = os.environ.get(VARIABLE)
    if name:
        thread = threading.Thread(target=_break, args=(DEFECTS[name],))
        thread.start()
        thread.join()


def _break(defect: Defect) -> None:
    # No change to a process asks a database for anything.
    nobody: Any = None
    asyncio.run(_broken(defect.process, nobody))


async def _broken(change: Change, db: Connection) -> None:
    await change(db, pytest.MonkeyPatch())


# -- what is said to the database

FENCE = "  perform holdfast.fence(p_worker, p_epoch);\n"
_LOCK = "  perform pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker);\n"
_LOCK_AND_CHECK = (
    "from holdfast.worker w\n",
    "from (select pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker) offset 0) l, holdfast.worker w\n",
)
_ARRIVED = (
    ("when t.inbox_count > m.seen and t.flags & 4 <> 0 then v_now", "when false then v_now"),
    ("when coalesce(m.waits, t.waits_inbox)\n", "when false and coalesce(m.waits, t.waits_inbox)\n"),
)
_OVER = """         and w.epoch = v_worker.epoch
         and w.ended_at is null
         and w.lease_until <= clock_timestamp();"""
_EPOCH = "      and w.epoch = p_epoch\n"
_GUARDS = (
    ("     and w.epoch = p_epoch\n", ""),
    ("     and w.lease_until > clock_timestamp()\n", ""),
    ("     and w.state not in ('left', 'lost')\n", ""),
)
_HOLDS = (
    ("t.hold = x.hold as mine", "true as mine"),
    ("       and t.hold = m.hold\n", ""),
    ("     and t.hold = b.hold\n", ""),
)
_ROWS = "elapsed, at, after)\n       where j.run_id <> all (v_out)"


def _without_rows(kind: int) -> Change:
    """The journal lacks rows of this kind; all else goes on as if they were there."""
    return rewritten("flush", (_ROWS, f"{_ROWS} and j.kind <> {kind}"))


# -- what is said in a worker


class Claimed(NamedTuple):
    """What a claim gives, and the keys and numbers that it has read for each run."""

    rows: Sequence[Any]
    keys: Mapping[UUID, set[str]]
    numbers: Mapping[UUID, set[int]]
    """Of letters."""


class Claim(Protocol):
    """Claims, and reads what its runs have seen and what has come for them, in some order."""

    async def __call__(self, session: Session, statement: Statement, values: Mapping[str, object], /) -> Claimed: ...


_KEYS = "array(select j.key from holdfast.journal j where j.run_id = {0}.run_id) as keys"
_NUMBERS = "array(select i.number from holdfast.inbox i where i.run_id = {0}.run_id) as numbers"
READS = f"{_KEYS}, {_NUMBERS}"
"""What a run has seen, and what has come for it: of the table with this name."""


async def _in_one_statement(session: Session, statement: Statement, values: Mapping[str, object]) -> Claimed:
    text = f"select c.*, {READS.format('c')} from ({statement.text}) c"
    rows = await session.connection.fetch(text, *statement.bind(values))
    return Claimed(
        [tuple(row)[:-2] for row in rows],
        {row["run_id"]: set(row["keys"]) for row in rows},
        {row["run_id"]: set(row["numbers"]) for row in rows if row["inbox_count"]},
    )


def read_with(claim: Claim) -> Change:
    """What a run has seen, and what has come for it, is what the claim has read, and not what is there after it."""

    async def change(_db: Connection, patch: pytest.MonkeyPatch) -> None:
        _read_with(claim, patch)

    return change


def _read_with(claim: Claim, patch: pytest.MonkeyPatch) -> None:
    journals: dict[UUID, set[str]] = {}
    inboxes: dict[UUID, set[int]] = {}  # of those for which something had come; read once
    really_fetch, really_journals, really_inboxes = Session.fetch, work.read_journals, work.read_inboxes

    async def fetch(self: Session, name: str, /, **values: object) -> Any:
        if name != "claim":
            return await really_fetch(self, name, **values)
        claimed = await claim(self, self.statements[name], values)
        journals.update(claimed.keys)
        inboxes.update(claimed.numbers)
        return claimed.rows

    async def read_journals(session: Session, runs: Any) -> dict[UUID, list[Entry]]:
        found = await really_journals(session, runs)
        return {run: [entry for entry in one if entry.key in journals.get(run, ())] for run, one in found.items()}

    async def read_inboxes(session: Session, runs: Any) -> dict[UUID, list[work.Letter]]:
        found = await really_inboxes(session, runs)
        known = {run: inboxes.pop(run, None) for run in found}
        return {
            run: [letter for letter in one if (numbers := known[run]) is None or letter.number in numbers]
            for run, one in found.items()
        }

    patch.setattr(Session, "fetch", fetch)
    patch.setattr(work, "read_journals", read_journals)
    patch.setattr(work, "read_inboxes", read_inboxes)


async def _result_first(_db: Connection, patch: pytest.MonkeyPatch) -> None:
    """Ends and parks are written by a commit of their own, before the journal rows that belong to them."""
    really = work.flush

    async def flush(
        session: Session, identity: work.Identity, writes: Iterable[Writes], *, wait: bool, again: bool
    ) -> work.Flushed:
        first: list[Writes] = []
        later: list[Writes] = []
        for one in writes:
            if one.journal and (one.end or one.move):
                bare, rows = copy.copy(one), copy.copy(one)
                bare.journal, rows.journal = (), one.journal
                rows.end = rows.move = rows.next = rows.quiet = None
                rows.children = rows.seen = rows.beats = ()
                rows.begun = rows.woken = rows.beaten = False
                first.append(bare)
                later.append(rows)
            else:
                first.append(one)
        flushed = await really(session, identity, first, wait=wait, again=again)
        if later:
            await really(session, identity, later, wait=wait, again=True)
        return flushed

    patch.setattr(work, "flush", flush)


class _Nobody:
    """The owner of what has been believed already."""

    def __init__(self, unit: Unit) -> None:
        self.run_id, self.hold, self.name = unit.run_id, unit.hold, unit.owner.name

    def __getattr__(self, name: str) -> Any:
        def nothing(*_arguments: object) -> None: ...

        return nothing


async def _believed_at_once(_db: Connection, patch: pytest.MonkeyPatch) -> None:
    """A workflow sees an outcome when it is handed to the group commit, and not when it is durable."""
    really = GroupCommit.add

    def add(self: GroupCommit, unit: Unit) -> None:
        if unit.journal and unit.end is None and unit.move is None and unit.quiet is None:
            owner, at = unit.owner, self._clock.now()
            believed = copy.copy(unit)
            asyncio.get_running_loop().call_soon(owner.committed, believed, at)
            nobody: Any = _Nobody(unit)
            unit.owner = nobody
        really(self, unit)

    patch.setattr(GroupCommit, "add", add)


async def _beats_on_the_loop(_db: Connection, patch: pytest.MonkeyPatch) -> None:
    """Each heartbeat waits for its turn on the worker's event loop."""
    really = Heart._renew

    async def renew(self: Heart, link: Link, beating: Sequence[Heartbeat]) -> None:
        for beat in beating:
            turn = threading.Event()
            beat._tell(turn.set)
            while not (beat._over or turn.wait(0.05)):
                pass
        await really(self, link, beating)

    patch.setattr(Heart, "_renew", renew)


def _no_time_passes() -> float:
    return 0.0


DEFECTS: dict[str, Defect] = {
    "no fence in the flush": Defect(
        "a worker that has lost its lease writes to runs that others have",
        database=rewritten("flush", (FENCE, "")),
    ),
    "fence and write in one statement": Defect(
        "a flush that waited for the lock reads what was true before it",
        database=rewritten("fence", (_LOCK, ""), _LOCK_AND_CHECK),
    ),
    "park without the inbox counter": Defect(
        "a signal that comes while its run is parked wakes nobody",
        database=rewritten("flush", *_ARRIVED),
    ),
    "inbox read with the claim": Defect(
        "a claim that waited misses what was written meanwhile",
        process=read_with(_in_one_statement),
    ),
    "result before journal": Defect(
        "a run has ended or is parked, and the outcomes that led there are not recorded",
        process=_result_first,
    ),
    "outcome seen before its commit": Defect(
        "a workflow goes on from what a crash can take back",
        process=_believed_at_once,
    ),
    "no epoch check in recovery": Defect(
        "a worker whose lease was renewed in time is taken for dead",
        database=rewritten("recover", (_OVER, "         and true;")),
    ),
    "old identity after fencing": Defect(
        "a worker that was taken for dead goes on under its name, in buckets that it does not have any more",
        database=together(rewritten("heartbeat", *_GUARDS), rewritten("fence", (_EPOCH, ""))),
        process=replaced("holdfast.worker.heartbeat.boot_time", _no_time_passes),
    ),
    "no hold check": Defect(
        "what was sent again takes a run from who has it now",
        database=together(rewritten("flush", *_HOLDS), rewritten("end_held", ("       and t.hold = e.hold\n", ""))),
    ),
    "watermark without sweep or slack": Defect(
        "a start that commits late is never seen",
        process=together(
            replaced("holdfast.worker.bucket.SLACK", timedelta(0)),
            replaced("holdfast.worker.limited.SLACK", timedelta(0)),
            replaced("holdfast.worker.sweeps._EVERY", float("inf")),
        ),
    ),
    "retry state only in memory": Defect(
        "after a crash attempts are counted from the beginning",
        database=_without_rows(2),
    ),
    "signal delivered without its journal row": Defect(
        "after a crash nobody knows of a signal that was seen",
        database=_without_rows(4),
    ),
    "heartbeat on the event loop": Defect(
        "a handler that blocks the loop loses the lease",
        process=_beats_on_the_loop,
    ),
}
"""By name."""
