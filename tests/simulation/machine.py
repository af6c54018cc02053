"""Runs, tasks, buckets and leases: whatever is said to the schema's functions, a model says first what it comes to.

Hypothesis chooses what is said. Workers here have no code: they claim, write, park, end and give back as they are told,
also what they do not hold any more, and after their lease is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.core.errors import RunEnded
from holdfast.core.states import Ending, Flag, RunStatus
from holdfast.core.worker_state import WORKER_TRANSITIONS, Wish, WorkerState
from holdfast.store import work
from holdfast.store.inbox import send_signal
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.store.workers import tell_workers
from holdfast.store.writes import Writes
from tests.simulation.laboratory import Laboratory
from tests.simulation.model import ALONE, LANE, SEEN_FLAGS, Hand, Run, aware, follow, micros
from tests.simulation.world import BEGINNING
from tests.simulation.writing import OF_HOLDERS, WORDS, writing
from tests.store.ground import LONG_AGO, new_id

LEASE = timedelta(seconds=10)
LEAD = timedelta(seconds=5)
FENCED = "HF001"
_OPERATIONS = {
    "pause": Run.paused,
    "resume": Run.resumed,
    "wake": Run.woken,
    "cancel": Run.cancelled,
    "terminate": Run.terminated,
}
_VERBS = ["pause", "resume", "wake", "pause", "resume", "wake", "cancel", "terminate"]
_TASKS = """
select v.id, v.status, t.bucket_id, t.hold, t.inbox_count, t.due_at, t.waits_inbox, t.flags & $1 as flags, t.crashes,
       t.lane, t.first_claim_at, t.run_id is not null as is_open
  from holdfast.runs v
  left join holdfast.task t on t.run_id = v.id
"""


class Machine(RuleBasedStateMachine):
    """Says what is to be said, and compares."""

    laboratory: ClassVar[Laboratory]
    reached: ClassVar[Counter[tuple[str, str]]] = Counter()
    """How often which state of what was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGINNING
        self.backends = self.laboratory.backends
        self.session = Session(self.backends.admin, Statements())
        self.hands: list[Hand] = []
        self.runs: list[Run] = []
        self.statuses: dict[UUID, RunStatus] = {}
        self.cleared = False

    @initialize()
    def begin(self) -> None:
        self.laboratory.clear(micros(self.now))
        self.cleared = True
        # Without these nothing can happen, and half of what is said would be for nothing.
        self.add_worker([LANE], None)
        self.add_run(0.0, None)
        self.add_run(3.0, None)

    def teardown(self) -> None:
        if self.cleared:
            for row in self.backends.look("select what, after from simulated.moved where after is not null"):
                self.reached[row["what"], row["after"]] += 1

    # ---- workers

    @precondition(lambda self: len(self.hands) < 4)
    @rule(
        lanes=st.lists(st.sampled_from([LANE, LANE, ALONE]), min_size=1, max_size=2),
        command=st.sampled_from([None, None, None, "pause"]),
    )
    def register(self, lanes: list[str], command: str | None) -> None:
        self.add_worker(lanes, command)

    def add_worker(self, lanes: list[str], command: str | None) -> None:
        pid = len(self.hands) + 1
        identity = self.backends.wait(
            work.register(
                self.session,
                name=f"w{pid}",
                host="host",
                pid=pid,
                lane=LANE,
                names=["flow"],
                lease=LEASE,
                slots=[(lane, 3) for lane in lanes],
                command=command,
            )
        )
        assert identity.worker not in {hand.identity.worker for hand in self.hands}
        state = WorkerState.ACTIVE if command is None else WorkerState.PAUSED
        self.hands.append(Hand(identity, lanes, pid, self.now + LEASE, state, command))
        for run in self.runs:
            # It may have the code that those wait for that are blocked.
            if run.ended is None and run.holder is None and run.flags & (Flag.BLOCKED | Flag.PAUSED) == Flag.BLOCKED:
                run.due = min(run.due, self.now)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        states = [hand.state, *(one for one in WorkerState if one in WORKER_TRANSITIONS[hand.state] and not one.ended)]
        self.heartbeat_as(hand, data.draw(st.sampled_from(states)))

    def heartbeat_as(self, hand: Hand, state: WorkerState) -> None:
        beat = self.backends.wait(work.heartbeat(self.session, hand.identity, state))
        assert beat.alive is hand.is_alive(self.now)
        if beat.alive:
            assert beat.command == hand.command
            hand.lease_until, hand.state = self.now + LEASE, state

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), wish=st.sampled_from(Wish))
    def tell(self, data: st.DataObject, wish: Wish) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        told = self.backends.wait(tell_workers(self.session, [hand.identity.worker], wish))
        takes_it = hand.is_alive(self.now) and wish.may_follow(hand.command, hand.state)
        assert told == ({hand.identity.worker} if takes_it else set())
        if takes_it:
            hand.command = wish.command

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def find_dead(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        ended = self.backends.wait(work.expire(self.session, host="host", pid=hand.pid))
        assert ended == ([hand.identity.worker] if hand.is_alive(self.now) else [])
        if ended:
            hand.lease_until = self.now

    @rule(seconds=st.sampled_from([0.5, 0.5, 2.0, 4.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.move_clock(seconds)

    def move_clock(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.backends.set_clock(micros(self.now))

    @precondition(lambda self: any(not hand.is_alive(self.now) for hand in self.hands))
    @rule(limit=st.integers(1, 3))
    def recover(self, limit: int) -> None:
        self.recover_some(limit)

    def recover_some(self, limit: int) -> None:
        found = self.backends.wait(work.recover(self.session, limit=limit))
        over = [hand for hand in self.hands if self.is_left_over(hand)]
        if found is None:
            assert not over
            return
        (hand,) = [one for one in self.hands if one.identity.worker == found.worker]
        assert hand in over
        held = [run for run in self.runs if run.holder is hand]
        assert found.runs == min(limit, len(held))
        assert found.finished is (len(held) <= limit)
        hand.state = WorkerState.LOST
        for run in held:
            if self.bucket_of(run) is None:
                run.left(self.now, crashed=True)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.leave_as(data.draw(st.sampled_from(self.hands)))

    def leave_as(self, hand: Hand) -> None:
        with self.fenced(hand) as alive:
            given = self.backends.wait(work.leave(self.session, hand.identity))
        if alive:
            held = [run for run in self.runs if run.holder is hand]
            assert given == len(held)
            hand.state = WorkerState.LEFT
            for run in held:
                run.left(self.now, crashed=False)

    @precondition(lambda self: self.claimers())
    @rule(data=st.data(), room=st.integers(1, 3), early=st.sampled_from([0, 0, 2]))
    def claim(self, data: st.DataObject, room: int, early: int) -> None:
        self.claim_as(data.draw(st.sampled_from(self.claimers())), room, early)

    @precondition(lambda self: any(hand.is_alive(self.now) for hand in self.claimers()))
    @rule(data=st.data(), early=st.sampled_from([0, 0, 2]))
    def claim_all(self, data: st.DataObject, early: int) -> None:
        self.claim_as(data.draw(st.sampled_from(self.claimers())), 3, early)

    def claim_as(self, hand: Hand, room: int, early: int) -> None:
        lead = LEAD if early else None
        wanted = [
            work.Wanted(bucket, lane, 3, room, LONG_AGO, early)
            for bucket, lane in zip(hand.identity.buckets, hand.lanes, strict=True)
        ]
        due = [run for run in self.runs if run.is_due(self.now)]
        soon = [run for run in self.runs if lead is not None and run.is_due(self.now, lead)]
        with self.fenced(hand) as alive:
            claim = self.backends.wait(
                work.claim(self.session, hand.identity, wanted, names=["flow"], sweep=True, ahead=LEAD, lead=lead)
            )
        if not alive:
            return
        taken = {claimed.run_id: claimed for claimed in claim.runs}
        assert len(taken) == len(claim.runs)
        assert taken.keys() <= {run.run_id for run in (*due, *soon)}
        for runs, places in ((due, room), (soon, early)):
            for lane in set(hand.lanes):
                line = [run for run in runs if _lane(run) == lane]
                assert sum(run.run_id in taken for run in line) == min(len(line), places * hand.lanes.count(lane))
        for run in (*due, *soon):
            claimed = taken.get(run.run_id)
            if claimed is not None:
                run.taken(hand, self.now, early=run in soon)
                assert (claimed.hold, claimed.inbox_count, claimed.flags & SEEN_FLAGS, claimed.crashes) == (
                    *(run.hold, run.count, run.flags, run.crashes),
                )
                hand.known.setdefault(run.run_id, []).append(claimed.hold)

    # ---- what holders write, and those who think that they are

    @precondition(lambda self: self.claimed())
    @rule(
        data=st.data(),
        what=st.sampled_from(WORDS),
        progress=st.booleans(),
        again=st.booleans(),
    )
    def write(self, data: st.DataObject, what: str, progress: bool, again: bool) -> None:
        hand, run, hold = data.draw(st.sampled_from(self.claimed()))
        self.write_as(hand, run, hold, what, progress=progress, again=again)

    @precondition(lambda self: self.foreign())
    @rule(data=st.data(), what=st.sampled_from(WORDS), progress=st.booleans())
    def write_foreign(self, data: st.DataObject, what: str, progress: bool) -> None:
        hand, run, hold = data.draw(st.sampled_from(self.foreign()))
        self.write_as(hand, run, hold, what, progress=progress, again=False)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), what=st.sampled_from(WORDS), progress=st.booleans(), again=st.booleans())
    def write_held(self, data: st.DataObject, what: str, progress: bool, again: bool) -> None:
        hand, run, hold = data.draw(st.sampled_from(self.held()))
        self.write_as(hand, run, hold, what, progress=progress, again=again)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), what=st.sampled_from(["park", "sleep", "step", "take letters", "block"]))
    def go_on(self, data: st.DataObject, what: str) -> None:
        hand, run, hold = data.draw(st.sampled_from(self.held()))
        self.write_as(hand, run, hold, what, progress=True, again=False)

    def write_as(self, hand: Hand, run: Run, hold: int, what: str, *, progress: bool, again: bool) -> None:
        mine = run.holder is hand and run.hold == hold
        if what in OF_HOLDERS and not mine:
            what = "succeed"
        new = new_id()
        writes = writing(run, hold, what, new, self.now, progress=progress)
        with self.fenced(hand) as alive:
            flushed = self.backends.wait(work.flush(self.session, hand.identity, [writes], wait=False, again=False))
        if not alive:
            return
        # What its holder has given back it does not give back again; but it may end it, as long as nobody else has it.
        matches = run.hold == hold and run.ended is None
        if writes.move is not None or writes.end is not None or what in ("begin", "obey a wake"):
            assert (run.run_id in flushed.lost) is not matches
        if mine or (matches and writes.end is not None):
            self.written(run, what, writes, new)
        if again:
            # The answer was lost, and the same is sent again: it changes nothing.
            before = self.rows()
            self.backends.wait(work.flush(self.session, hand.identity, [writes], wait=False, again=True))
            assert self.rows() == before

    def written(self, run: Run, what: str, writes: Writes, new: UUID) -> None:
        run.rows += len(writes.journal)
        if writes.journal:
            run.progress = run.hold
        if what == "take letters":
            run.seen = run.count
            run.unseen.clear()
        if what == "begin":
            run.begun(self.now)
        if what == "obey a wake":
            run.flags &= ~Flag.WAKE
        if writes.move is not None:
            run.moved(writes.move, self.now)
        elif what == "continue":
            self.runs.append(run.continued(new, self.now))
        elif writes.end is not None:
            run.end(writes.end.status)

    # ---- callers

    @precondition(lambda self: len(self.runs) < 8)
    @rule(after=st.sampled_from([0.0, 0.0, 3.0, 8.0]), timeout=st.sampled_from([None, None, 6.0]))
    def start(self, after: float, timeout: float | None) -> None:
        self.add_run(after, timeout)

    def add_run(self, after: float, timeout: float | None) -> None:
        run_id = new_id()
        self.backends.wait(
            self.session.connection.execute(
                "select holdfast.start_many(array[$1::uuid], '{1}', '{flow}', '{default}', '{3}', array['{}'::json], "
                "array[null::timestamptz], array[$2::interval], array[$3::interval], '{}', '{}', '{}', '{}', false)",
                *(run_id, timedelta(seconds=after), None if timeout is None else timedelta(seconds=timeout)),
            )
        )
        deadline = None if timeout is None else self.now + timedelta(seconds=timeout)
        self.runs.append(Run(run_id, f"r{len(self.runs)}", self.now + timedelta(seconds=after), deadline))

    @precondition(lambda self: any(run.deadline for run in self.runs))
    @rule()
    def end_overdue(self) -> None:
        over = [run for run in self.runs if run.ended is None and run.first_claim is None]
        over = [run for run in over if run.deadline is not None and run.deadline <= self.now]
        assert self.backends.wait(work.end_overdue(self.session)) == len(over)
        for run in over:
            run.end(Ending.FAILED)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), key=st.sampled_from([None, "one"]))
    def signal(self, data: st.DataObject, key: str | None) -> None:
        run = data.draw(st.sampled_from(self.runs))
        newest = run.newest()
        try:
            new = self.backends.wait(send_signal(self.session, run.run_id, name="go", payload="1", key=key))
        except RunEnded:
            assert newest.ended is not None
            return
        assert newest.ended is None
        assert new is newest.signalled(self.now, key)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), verb=st.sampled_from(_VERBS))
    def operate(self, data: st.DataObject, verb: str) -> None:
        self.operate_on(data.draw(st.sampled_from(self.runs)), verb)

    def operate_on(self, run: Run, verb: str) -> None:
        said = self.backends.wait(self.session.connection.fetchval(f"select holdfast.{verb}($1)", run.run_id))
        assert said == _OPERATIONS[verb](run.newest(), self.now)

    # ---- what holds at every moment

    @invariant()
    def holds(self) -> None:
        # The fourth says by when somebody recovers, and here nobody has to.
        assert self.laboratory.broken(but=("4. ",)) == []
        workers = {row["id"]: row["state"] for row in self.backends.look("select id, state from holdfast.worker")}
        assert workers == {hand.identity.worker: hand.state for hand in self.hands}
        rows = {row["id"]: row for row in self.backends.look(_TASKS, SEEN_FLAGS)}
        assert rows.keys() == {run.run_id for run in self.runs}
        statuses = {run_id: RunStatus(row["status"]) for run_id, row in rows.items()}
        follow(self.statuses, statuses)
        self.statuses = statuses
        for run in self.runs:
            row, status = rows[run.run_id], statuses[run.run_id]
            assert status is run.status(self.now), f"{run} is {status}, and not {run.status(self.now)}"
            self.reached["run", status] += 1
            assert row["is_open"] is (run.ended is None)
            if run.ended is None:
                self.compare(run, row)

    def compare(self, run: Run, row: asyncpg.Record) -> None:
        buckets = (None,) if run.holder is None else run.holder.identity.buckets
        assert row["bucket_id"] in buckets, f"{run} is in {row['bucket_id']}, not in {buckets}"
        found = (row["hold"], row["inbox_count"], row["waits_inbox"], row["flags"], row["crashes"], row["lane"])
        assert found == (run.hold, run.count, run.waits, run.flags, run.crashes, _lane(run)), f"of {run}"
        assert aware(row["due_at"]) == run.due, f"of {run}"
        assert row["first_claim_at"] == run.first_claim, f"of {run}"
        for flag in Flag:
            if run.flags & flag:
                self.reached["task", flag.name.lower()] += 1

    # ---- the model

    def is_left_over(self, hand: Hand) -> bool:
        """Whether there is something to recover of it."""
        if hand.state.ended:
            return any(run.holder is hand for run in self.runs)
        return hand.lease_until <= self.now

    def claimers(self) -> list[Hand]:
        """Those that may claim, and those that think so, but have no lease."""
        return [hand for hand in self.hands if hand.state is WorkerState.ACTIVE or not hand.is_alive(self.now)]

    def claimed(self) -> list[tuple[Hand, Run, int]]:
        """What was ever claimed."""
        return [
            (hand, run, hold) for hand in self.hands for run in self.runs for hold in hand.known.get(run.run_id, ())
        ]

    def foreign(self) -> list[tuple[Hand, Run, int]]:
        """What somebody believes to hold that others hold now, or may take."""
        return [one for one in self.claimed() if one not in self.held() and one[1].ended is None]

    def held(self) -> list[tuple[Hand, Run, int]]:
        """What is held by who has a lease."""
        return [
            (run.holder, run, run.hold) for run in self.runs if run.holder is not None and run.holder.is_alive(self.now)
        ]

    @contextmanager
    def fenced(self, hand: Hand) -> Generator[bool]:
        """What follows is refused if and only if the worker has no lease."""
        alive = hand.is_alive(self.now)
        if alive:
            yield alive
            return
        try:
            yield alive
        except asyncpg.PostgresError as refused:
            if refused.sqlstate != FENCED:
                raise
        else:
            raise AssertionError(f"{hand} has no lease, and what it said was taken")

    def bucket_of(self, run: Run) -> int | None:
        bucket: int | None = self.backends.look("select bucket_id from holdfast.task where run_id = $1", run.run_id)[0][
            "bucket_id"
        ]
        return bucket

    def rows(self) -> list[list[Any]]:
        tables = ("run", "task", "journal", "result", "inbox", "blockage", "pause")
        return [
            [tuple(row) for row in self.backends.look(f"select * from holdfast.{table} order by 1, 2")]
            for table in tables
        ]


def _lane(run: Run) -> str:
    return ALONE if run.alone else LANE
