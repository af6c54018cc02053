"""Runs, tasks, buckets and leases: whatever is said to the schema's functions, a model says first what it comes to.

Hypothesis chooses what is said. Workers here have no code: they claim, write, park, end and give back as they are told,
also what they do not hold any more, and after their lease is over.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.core.errors import RunEnded
from holdfast.core.journal import EntryKind
from holdfast.core.states import RUN_TRANSITIONS, Ending, RunStatus
from holdfast.core.worker_state import BUCKET_TRANSITIONS, WORKER_TRANSITIONS, BucketState, WorkerState
from holdfast.store import work
from holdfast.store.inbox import send_signal
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.store.writes import End, Writes
from tests.simulation.laboratory import Laboratory
from tests.simulation.world import BEGINNING
from tests.store.ground import LONG_AGO, move, new_id, step

LEASE = timedelta(seconds=10)
FENCED = "HF001"


@dataclass(eq=False, slots=True)
class Hand:
    """A worker without code, and what the model knows of it."""

    identity: work.Identity
    lease_until: datetime
    gone: bool = False
    """Whether it has left, or has been given up."""
    known: dict[UUID, list[int]] = field(default_factory=dict[UUID, list[int]])
    """The holds that it was given, also those that it has no more."""


@dataclass(eq=False, slots=True)
class Run:
    """What the model knows of a run."""

    run_id: UUID
    due: datetime
    holder: Hand | None = None
    hold: int = 0
    waits: bool = False
    paused: bool = False
    ended: bool = False
    letters: int = 0
    seen: int = 0
    steps: int = 0


class Machine(RuleBasedStateMachine):
    """Says what is to be said, and compares."""

    laboratory: ClassVar[Laboratory]

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGINNING
        self.backends = self.laboratory.backends
        self.session = Session(self.backends.admin, Statements())
        self.hands: list[Hand] = []
        self.runs: list[Run] = []
        self.statuses: dict[UUID, RunStatus] = {}
        self.workers: dict[int, WorkerState] = {}
        self.buckets: dict[int, BucketState] = {}

    @initialize()
    def begin(self) -> None:
        self.laboratory.clear(_micros(self.now))

    # ---- workers

    @precondition(lambda self: len(self.hands) < 4)
    @rule(buckets=st.integers(1, 2))
    def register(self, buckets: int) -> None:
        identity = self.backends.wait(
            work.register(
                self.session,
                name=f"w{len(self.hands)}",
                host="host",
                pid=len(self.hands) + 1,
                lane="default",
                names=["flow"],
                lease=LEASE,
                slots=[("default", 3)] * buckets,
            )
        )
        assert identity.worker not in {hand.identity.worker for hand in self.hands}
        self.hands.append(Hand(identity, self.now + LEASE))

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        beat = self.backends.wait(work.heartbeat(self.session, hand.identity))
        assert beat.alive is self.is_alive(hand)
        if beat.alive:
            hand.lease_until = self.now + LEASE

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.backends.set_clock(_micros(self.now))

    @rule(limit=st.integers(1, 3))
    def recover(self, limit: int) -> None:
        found = self.backends.wait(work.recover(self.session, limit=limit))
        over = [hand for hand in self.hands if self.holds_after_its_end(hand)]
        if found is None:
            assert not over
            return
        (hand,) = [one for one in self.hands if one.identity.worker == found.worker]
        assert hand in over
        held = [run for run in self.runs if run.holder is hand and not run.ended]
        assert found.runs == min(limit, len(held))
        hand.gone = True
        for run in held:
            if self.bucket_of(run) is None:
                self.given_back(run)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        with self.fenced(hand) as alive:
            given = self.backends.wait(work.leave(self.session, hand.identity))
        if alive:
            held = [run for run in self.runs if run.holder is hand]
            assert given == len(held)
            hand.gone = True
            for run in held:
                self.given_back(run)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), room=st.integers(1, 3))
    def claim(self, data: st.DataObject, room: int) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        wanted = [work.Wanted(bucket, "default", 3, room, LONG_AGO) for bucket in hand.identity.buckets]
        due = [run for run in self.runs if not run.ended and run.holder is None and run.due <= self.now]
        with self.fenced(hand) as alive:
            claim = self.backends.wait(
                work.claim(self.session, hand.identity, wanted, names=["flow"], sweep=True, ahead=timedelta(seconds=2))
            )
        if not alive:
            return
        taken = {claimed.run_id: claimed for claimed in claim.runs}
        assert taken.keys() <= {run.run_id for run in due}
        assert len(taken) == min(len(due), room * len(wanted))
        for run in due:
            claimed = taken.get(run.run_id)
            if claimed is not None:
                assert claimed.hold == run.hold + 1
                assert claimed.inbox_count == run.letters
                run.holder, run.hold, run.waits = hand, claimed.hold, False
                hand.known.setdefault(run.run_id, []).append(claimed.hold)

    # ---- what holders write, and those who think that they are

    @precondition(lambda self: self.claimed())
    @rule(
        data=st.data(),
        what=st.sampled_from(["step", "park", "sleep", "retry", "end", "take letters"]),
        again=st.booleans(),
    )
    def write(self, data: st.DataObject, what: str, again: bool) -> None:
        hand, run, hold = data.draw(st.sampled_from(self.claimed()))
        mine = run.holder is hand and run.hold == hold and not run.ended
        if what in ("step", "take letters") and not mine:
            # Rows of a journal are written by who holds the run; they go with what moves or ends it.
            what = "end"
        writes = self.writes(run, hold, what)
        with self.fenced(hand) as alive:
            flushed = self.backends.wait(work.flush(self.session, hand.identity, [writes], wait=False, again=False))
        if not alive:
            return
        # What its holder has given back it does not give back again; but it may end it, as long as nobody else has it.
        matches = run.hold == hold and not run.ended
        assert (run.run_id in flushed.lost) is not matches
        if mine or (matches and what == "end"):
            self.written(run, what)
        if again:
            # The answer was lost, and the same is sent again: it changes nothing.
            before = self.rows()
            self.backends.wait(work.flush(self.session, hand.identity, [writes], wait=False, again=True))
            assert self.rows() == before

    def writes(self, run: Run, hold: int, what: str) -> Writes:
        match what:
            case "step":
                return Writes(run.run_id, hold, journal=[step(run.steps + run.seen + 1)])
            case "take letters":
                numbers = list(range(run.seen + 1, run.letters + 1))
                rows = [
                    step(run.steps + number, f"go#{number}", kind=_SIGNAL, digest=None, attempts=0)
                    for number in numbers
                ]
                return Writes(run.run_id, hold, journal=rows, seen=numbers)
            case "park":
                return Writes(run.run_id, hold, move=move(seen=run.seen))
            case "sleep":
                return Writes(
                    run.run_id, hold, move=move(due=None, after=timedelta(seconds=3), seen=run.seen, waits=False)
                )
            case "retry":
                return Writes(
                    run.run_id, hold, move=move(due=None, after=timedelta(seconds=1), seen=run.seen, waits=False)
                )
            case _:
                return Writes(run.run_id, hold, end=End(Ending.SUCCEEDED, "1", None))

    def written(self, run: Run, what: str) -> None:
        match what:
            case "step":
                run.steps += 1
            case "take letters":
                run.seen = run.letters
            case "end":
                run.ended, run.holder = True, None
            case _:
                run.holder, run.waits = None, what == "park"
                if run.paused:
                    run.due = work.FOREVER.replace(tzinfo=BEGINNING.tzinfo)
                elif what == "park":
                    run.due = self.now if run.letters > run.seen else work.FOREVER.replace(tzinfo=BEGINNING.tzinfo)
                else:
                    run.due = self.now + timedelta(seconds=3 if what == "sleep" else 1)

    # ---- callers

    @precondition(lambda self: len(self.runs) < 8)
    @rule(after=st.sampled_from([0.0, 0.0, 5.0]))
    def start(self, after: float) -> None:
        run_id = new_id()
        self.backends.wait(
            self.session.connection.execute(
                "select holdfast.start_many(array[$1::uuid], '{1}', '{flow}', '{default}', '{3}', array['{}'::json], "
                "array[null::timestamptz], array[$2::interval], '{}', '{}', '{}', '{}', '{}', false)",
                run_id,
                timedelta(seconds=after),
            )
        )
        self.runs.append(Run(run_id, self.now + timedelta(seconds=after)))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), key=st.sampled_from([None, "one"]))
    def signal(self, data: st.DataObject, key: str | None) -> None:
        run = data.draw(st.sampled_from(self.runs))
        try:
            new = self.backends.wait(send_signal(self.session, run.run_id, name="go", payload="1", key=key))
        except RunEnded:
            assert run.ended
            return
        assert not run.ended
        if new:
            run.letters += 1
            if run.holder is None and run.waits and not run.paused:
                run.due = min(run.due, self.now)
        else:
            assert key == "one"

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), verb=st.sampled_from(["pause", "resume"]))
    def operate(self, data: st.DataObject, verb: str) -> None:
        run = data.draw(st.sampled_from(self.runs))
        refused = self.refusal(self.session.connection.execute(f"select holdfast.{verb}($1)", run.run_id))
        assert refused in (None, "HF004", "HF008")
        if refused is not None:
            assert run.ended or (verb == "pause") is run.paused
            return
        assert not run.ended
        run.paused = verb == "pause"
        if run.holder is None:
            run.due = self.due_of(run)

    # ---- what holds at every moment

    @invariant()
    def holds(self) -> None:
        assert self.laboratory.broken() == []
        statuses = {row["id"]: RunStatus(row["status"]) for row in self.look("select id, status from holdfast.runs")}
        _follow(self.statuses, statuses, RUN_TRANSITIONS, "run")
        self.statuses = statuses
        workers = {row["id"]: WorkerState(row["state"]) for row in self.look("select id, state from holdfast.worker")}
        _follow(self.workers, workers, WORKER_TRANSITIONS, "worker")
        self.workers = workers
        buckets = {row["id"]: BucketState(row["state"]) for row in self.look("select id, state from holdfast.bucket")}
        _follow(self.buckets, buckets, _REACHED, "bucket")
        self.buckets = buckets
        tasks = {row["run_id"]: row for row in self.look("select * from holdfast.task")}
        for run in self.runs:
            assert (run.run_id in tasks) is not run.ended
            if run.ended:
                continue
            task = tasks[run.run_id]
            held = None if run.holder is None else run.holder.identity.buckets
            assert task["bucket_id"] in (held or (None,)), f"{run.run_id} is in {task['bucket_id']}, not in {held}"
            assert task["hold"] == run.hold
            assert task["inbox_count"] == run.letters
            if run.holder is None and not run.paused:
                assert _aware(task["due_at"]) == run.due

    # ---- the model

    def is_alive(self, hand: Hand) -> bool:
        return not hand.gone and hand.lease_until > self.now

    def holds_after_its_end(self, hand: Hand) -> bool:
        if hand.gone:
            return any(run.holder is hand for run in self.runs)
        return hand.lease_until <= self.now

    def claimed(self) -> list[tuple[Hand, Run, int]]:
        return [
            (hand, run, hold) for hand in self.hands for run in self.runs for hold in hand.known.get(run.run_id, ())
        ]

    def given_back(self, run: Run) -> None:
        run.holder = None
        run.due = self.due_of(run) if run.paused else self.now

    @contextmanager
    def fenced(self, hand: Hand) -> Generator[bool]:
        """What follows is refused if and only if the worker has no lease."""
        alive = self.is_alive(hand)
        if alive:
            yield alive
            return
        with pytest.raises(asyncpg.PostgresError) as refused:
            yield alive
        assert refused.value.sqlstate == FENCED

    def refusal(self, saying: Coroutine[Any, Any, object]) -> str | None:
        """The SQLSTATE with which the database refuses it."""
        try:
            self.backends.wait(saying)
        except asyncpg.PostgresError as error:
            return error.sqlstate
        return None

    def look(self, query: str, *values: object) -> list[asyncpg.Record]:
        return self.backends.look(query, *values)

    def due_of(self, run: Run) -> datetime:
        return _aware(self.look("select due_at from holdfast.task where run_id = $1", run.run_id)[0]["due_at"])

    def bucket_of(self, run: Run) -> int | None:
        bucket: int | None = self.look("select bucket_id from holdfast.task where run_id = $1", run.run_id)[0][
            "bucket_id"
        ]
        return bucket

    def rows(self) -> list[list[Any]]:
        tables = ("run", "task", "journal", "result", "inbox")
        return [[tuple(row) for row in self.look(f"select * from holdfast.{table} order by 1, 2")] for table in tables]


_SIGNAL = EntryKind.SIGNAL


def _micros(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=BEGINNING.tzinfo)).total_seconds() * 1_000_000)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=BEGINNING.tzinfo)


def _follow(
    before: Mapping[Any, Any], after: Mapping[Any, Any], allowed: Mapping[Any, Iterable[Any]], what: str
) -> None:
    for key, state in before.items():
        now = after.get(key)
        assert now == state or now in set(allowed[state]), f"{what} {key} was {state}, and is {now}"


def _reached() -> dict[BucketState, set[BucketState | None]]:
    """What a bucket may have become in one call, which may take it through several states."""
    reached: dict[BucketState, set[BucketState | None]] = {}
    for state in BucketState:
        found: set[BucketState | None] = set()
        new: list[BucketState | None] = list(BUCKET_TRANSITIONS[state])
        while new:
            one = new.pop()
            if one not in found:
                found.add(one)
                new += [] if one is None else list(BUCKET_TRANSITIONS[one])
        reached[state] = found
    return reached


_REACHED = _reached()


def test_whatever_is_said_in_whatever_order_the_model_says_it_before(laboratory: Laboratory) -> None:
    Machine.laboratory = laboratory
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            # What fails is shown as it was found: making it smaller takes minutes.
            phases=[Phase.explicit, Phase.generate],
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
