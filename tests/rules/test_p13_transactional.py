"""Rule 13: a transactional activity takes the fence last, by a share lock on its worker's row in ``fence``.

While such a commit is under way the run's other outcomes wait, so the journal's order is the order seen. The scenarios
here steer the functions of the schema, one session for the activity and one for recovery, and the line in which one run
writes. What whole workers come to is shown in tests/scenarios/test_transactional.py.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from holdfast.store import transactions, work
from holdfast.store.session import Session
from holdfast.store.writes import JournalWrite
from holdfast.worker.gate import Gate, Turn
from holdfast.worker.held import Unit
from tests.rules.change import replaced, rewritten, shown
from tests.rules.commit import Owner
from tests.rules.steering import refusal, waits
from tests.store.ground import Ground, Hand, new_id, step

Level: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]

PASSES = ("if not pg_try_advisory_xact_lock(holdfast.fence_class(), v_worker.id) then", "if false then")
LOOK = """for update skip locked;
      if not found and exists (select 1 from holdfast.fence f where f.worker_id = v_worker.id) then"""
RAISE = "      update holdfast.fence f set epoch = v_worker.epoch + 1 where f.worker_id = v_worker.id;\n"
ENDS = "      perform holdfast.end_transactions(v_worker.id);\n"
UNSEEING = rewritten("recover", PASSES, (LOOK, ";\n      if false then"), (RAISE, ""), (ENDS, ""))
"""Recovery that knows nothing of transactional activities."""

LOCK = "  perform pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker);\n"
CHECK = """  if not found then
    raise exception 'worker % has lost its lease (epoch %)', p_worker, p_epoch using errcode = 'HF001';
  end if;
  return query"""
UNFENCED = rewritten("record", (LOCK, ""), ("      for share;", "      ;"), (CHECK, "  return query"))
UNLOCKED = rewritten("record", (LOCK, ""), ("      for share;", "      ;"))
NO_SHARE = rewritten("record", ("      for share;", "      ;"))

ENDS_NOTHING = """
create or replace function holdfast.end_transactions(p_worker int, p_pid int default null) returns int
language sql as 'select 0'
"""
"""So that what is open after the lease can be looked at."""

_marks = itertools.count()


class Performing:
    """A transactional activity: a session with its effect in it, up to the commit."""

    def __init__(self, ground: Ground, hand: Hand, session: Session, level: Level | None) -> None:
        self._hand = hand
        self._session = session
        self._mark = f"mark {next(_marks)}"
        self._transaction = session.connection.transaction(isolation=level)

    @property
    def session(self) -> Session:
        return self._session

    async def begin(self) -> None:
        await self._transaction.start()
        await transactions.begin_activity(
            self._session, self._hand.identity, name="worker", mark=self._mark, limit=60.0
        )
        await self._session.connection.execute("insert into effect default values")

    def outcome(self, run: UUID, *, seq: int = 1) -> transactions.Outcome:
        return transactions.Outcome(run, self._hand.holds[run], step(seq), '"done"')

    async def record(self, run: UUID) -> transactions.Recorded:
        return await transactions.record(self._session, self._hand.identity, self.outcome(run), mark=self._mark)

    async def commit(self) -> None:
        await self._transaction.commit()

    async def rollback(self) -> None:
        await self._transaction.rollback()


async def performing(ground: Ground, level: Level | None = None) -> tuple[UUID, Hand, Performing]:
    """A run that is held, and the transaction of an activity of it."""
    await ground.execute("create table effect (at timestamptz default now())")
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    activity = Performing(ground, hand, await ground.more(), level)
    await activity.begin()
    return run, hand, activity


@pytest.mark.parametrize("level", [None, "repeatable_read", "serializable"])
@shown(
    ("waits for the commit", "taken after it"),
    what_recovery_looks_at=(UNSEEING, ("taken before it", "taken before it")),
    the_locks=(UNLOCKED, ("taken before it", "taken before it")),
)
async def test_p13_nobody_takes_a_run_whose_effect_is_being_committed(
    ground: Ground, expected: object, level: Level | None
) -> None:
    run, hand, activity = await performing(ground, level)
    await activity.record(run)
    await ground.lease_over(hand)
    recovering = await ground.more()
    recovery = asyncio.ensure_future(work.recover(recovering))
    # Recovery waits for nobody: it comes again later.
    assert not await waits(ground, recovering, recovery)
    during = "taken before it" if await ground.is_due(run) else "waits for the commit"
    if during == "waits for the commit":
        await activity.commit()
        await work.recover(recovering)
        assert await ground.value("select count(*) from effect") == 1
    assert await ground.is_due(run)
    after = "taken after it" if during == "waits for the commit" else during
    assert (during, after) == expected


@pytest.mark.parametrize("level", [None, "repeatable_read", "serializable"])
@shown("refused", the_check=(UNFENCED, "committed"))
async def test_p13_an_effect_that_comes_after_the_take_over_is_not_committed(
    ground: Ground, expected: object, level: Level | None
) -> None:
    run, hand, activity = await performing(ground, level)
    await ground.lease_over(hand)
    # What would end the transaction is out of the way: it is too late all the same. And somebody is at the run's row,
    # so that it is still in its bucket, to be given back by the next call.
    await ground.execute(ENDS_NOTHING)
    other = await ground.more()
    await other.connection.execute("begin")
    await other.connection.execute("select from holdfast.task where run_id = $1 for update", run)
    assert await work.recover(await ground.more()) is not None
    came_to = await refusal(activity.record(run))
    if came_to == "done":
        await activity.commit()
    else:
        # In a snapshot from before it cannot be told why: only that something has changed.
        assert came_to == ("HF001" if level is None else "40001")
        await activity.rollback()
    assert ("committed" if came_to == "done" else "refused") == expected
    assert await ground.value("select count(*) from effect") == (1 if expected == "committed" else 0)


@shown("refused", the_share_lock=(NO_SHARE, "committed"))
async def test_p13_the_row_is_locked_because_a_snapshot_may_be_old(ground: Ground, expected: object) -> None:
    run, hand, activity = await performing(ground, "repeatable_read")
    await ground.lease_over(hand)
    await ground.execute(ENDS_NOTHING)
    await work.recover(await ground.more())
    came_to = await refusal(activity.record(run))
    await activity.rollback()
    assert ("committed" if came_to == "done" else "refused") == expected


@shown(False, the_lock=(UNLOCKED, True))
async def test_p13_a_record_that_comes_while_the_epoch_is_raised_waits_for_it(ground: Ground, expected: object) -> None:
    run, hand, activity = await performing(ground)
    await ground.lease_over(hand)
    await ground.execute(ENDS_NOTHING)
    recovering = await ground.more()
    raising = recovering.connection.transaction()
    await raising.start()
    assert await work.recover(recovering) is not None
    recording = asyncio.ensure_future(refusal(activity.record(run)))
    await waits(ground, activity.session, recording)
    await raising.commit()
    # What counts is what is there when the epoch has been raised.
    assert (await recording == "done") is expected


@shown(0, the_end=(rewritten("recover", (ENDS, "")), 1))
async def test_p13_what_a_fenced_worker_has_open_is_ended_with_its_lease(ground: Ground, expected: object) -> None:
    _, hand, activity = await performing(ground)
    await ground.lease_over(hand)
    await work.recover(await ground.more())
    pid = activity.session.connection.get_server_pid()
    look = "select count(*) from pg_stat_activity where pid = $1"
    if expected == 0:
        await ground.until(f"select ({look}) = 0", pid)
    assert await ground.value(look, pid) == expected


@shown(
    "HF012", the_mark=(rewritten("record", ("is distinct from p_mark", "is distinct from 'nothing' and false")), "done")
)
async def test_p13_the_transaction_must_be_the_one_that_was_begun(ground: Ground, expected: object) -> None:
    run, _, activity = await performing(ground)
    await activity.session.connection.execute("commit; begin")
    assert await refusal(activity.record(run)) == expected
    await activity.session.connection.execute("rollback")


@shown(
    "never",
    the_wait=(
        rewritten("settle", ("if v_status = 'in progress' then", "if false then")),
        "never, and committed all the same",
    ),
)
async def test_p13_a_commit_that_is_not_there_yet_is_not_believed_to_be_missing(
    ground: Ground, expected: object
) -> None:
    run, _, activity = await performing(ground)
    recorded = await activity.record(run)
    outcome = activity.outcome(run)
    asking = await ground.more()
    first = await transactions.settle(asking, outcome, recorded, end=False)
    if first.verdict == "open":
        # Its backend is ended, and then it can be believed.
        await transactions.settle(asking, outcome, recorded, end=True)
        await ground.until("select pg_xact_status($1::text::xid8) <> 'in progress'", recorded.xid)
        second = await transactions.settle(asking, outcome, recorded, end=False)
        came_to: str = second.verdict
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
            await activity.commit()
    else:
        await activity.commit()
        came_to = f"{first.verdict}, and committed all the same"
    assert came_to == expected


async def test_p13_a_commit_that_was_made_is_found_with_its_time(ground: Ground) -> None:
    run, _, activity = await performing(ground)
    recorded = await activity.record(run)
    await activity.commit()
    outcome = activity.outcome(run)
    settled = await transactions.settle(await ground.more(), outcome, recorded, end=False)
    assert settled == ("committed", recorded.at)
    # A server that knows no such transaction, after a failover for example: what counts is what is there.
    unknown = recorded._replace(xid=str(int(recorded.xid) + 1_000_000))
    assert (await transactions.settle(ground.session, outcome, unknown, end=False)).verdict == "committed"
    assert (
        await transactions.settle(ground.session, activity.outcome(run, seq=2), unknown, end=False)
    ).verdict == "never"


class Run:
    """A run that writes through its gate, and what it sees of that, in order."""

    def __init__(self) -> None:
        self.hold = 1
        self.seen: list[int] = []
        self._owner = Owner(new_id(), 1)
        self._seqs = itertools.count(1)
        self._handed_in: list[Unit] = []
        self._durable = 0
        self._written = 0
        self._gate = Gate(self)

    @property
    def under_way(self) -> int | None:
        return self._written - self._durable

    def pass_on(self, unit: Unit) -> None:
        self._handed_in.append(unit)

    def recorded(self, row: JournalWrite, at: datetime) -> None:
        self.seen.append(row.seq)

    def write(self) -> None:
        unit = Unit(self._owner, journal=[step(next(self._seqs))])
        self._written += 1
        if not self._gate.hold(unit):
            self.pass_on(unit)

    def group_commit(self) -> None:
        """What was handed to the group commit is durable."""
        self.seen += [row.seq for unit in self._handed_in for row in unit.journal]
        self._durable += len(self._handed_in)
        self._handed_in.clear()
        self._gate.advance()

    def ask(self) -> Turn:
        return self._gate.ask(self._owner, step(next(self._seqs)))


def passes(_gate: Gate, _unit: Unit) -> bool:
    return False


def waits_for_nobody(gate: Gate) -> None:
    for one in gate._line:
        if isinstance(one, Turn):
            one.grant()
        elif gate._run is not None:
            gate._run.pass_on(one)
    gate._line.clear()


@shown(
    [1, 2, 3],
    holding_back=(replaced("holdfast.worker.gate.Gate.hold", passes), [1, 3, 2]),
    waiting=(replaced("holdfast.worker.gate.Gate.advance", waits_for_nobody), [2, 1, 3]),
)
async def test_p13_what_a_run_sees_is_in_the_order_of_its_journal(expected: object) -> None:
    run = Run()
    run.write()
    turn = run.ask()
    run_at = datetime.now(UTC)
    if turn.granted.done():
        turn.settle(run_at)
    run.write()
    run.group_commit()
    if not turn.over:
        assert turn.granted.done()
        turn.settle(run_at)
    run.group_commit()
    run.group_commit()
    assert run.seen == expected


async def test_p13_a_turn_that_is_withdrawn_holds_nobody_up() -> None:
    run = Run()
    run.write()
    first, second = run.ask(), run.ask()
    run.write()
    first.withdraw()
    assert first.granted.cancelled()
    run.group_commit()
    assert second.granted.done()
    # One that may be committing is not withdrawn: what it comes to is waited for.
    second.withdraw()
    assert not second.over
    run.group_commit()
    assert run.seen == [1]
    second.settle(None)
    run.group_commit()
    run.group_commit()
    assert run.seen == [1, 4]
