"""What a worker holds in memory: the runs of its buckets, and those that it has parked and may see again."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from holdfast.client.ids import Ids
from holdfast.core.dispatched import Dispatched
from holdfast.core.errors import RunTimedOut
from holdfast.core.failure import Failure
from holdfast.core.headers import headers_of
from holdfast.core.lineage import first_tags, lineage_of
from holdfast.core.priority import Priority
from holdfast.core.states import Flag
from holdfast.store.survival import Held, Survival
from holdfast.worker.company import Company
from holdfast.worker.ends import Condemned, Stray, Terminated, Unreadable
from holdfast.worker.job_run import JobRun
from holdfast.worker.opened import opened
from holdfast.worker.overflow import Overflow
from holdfast.worker.passes import Passes
from holdfast.worker.said import read
from holdfast.worker.timekeeper import Timekeeper
from holdfast.worker.workflow_run import WorkflowRun
from holdfast.workflow.activity import Activity
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instance import Instance
from holdfast.workflow.shift import Shift
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from holdfast.core.definition import Definition
    from holdfast.core.journal import Entry
    from holdfast.core.seal import Seal
    from holdfast.core.settings import JournalLimits
    from holdfast.store.work import Claimed
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.bucket import Bucket
    from holdfast.worker.cargo import Cargo
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.executor import Executor
    from holdfast.worker.held import HeldRun, Unit
    from holdfast.worker.surroundings import Surroundings

AT_ONCE = 64
"""Runs that are entered or stepped in one callback.

Then others have their turn: what these have asked for is begun, and what they want written goes out while the next are
at it, so that neither this process nor the database waits for the other.
"""

MOST_CRASHES = 5
"""A run that was being executed when its worker died, so many times in a row, is given up."""

FRESH = 0.25
"""Seconds for which a look at a run's task is good: one that stood in line for longer is looked at before it begins."""


class Holdings:
    """The runs that a worker holds; the desk at which they hand in what they want written and done."""

    def __init__(
        self,
        definitions: Mapping[str, Definition[..., Any]],
        executor: Executor,
        seal: Seal,
        *,
        clock: DatabaseClock,
        cached_runs: int,
        journal_limits: JournalLimits,
        write: Callable[[Unit], None],
        recorded: Callable[[Unit], None],
        look: Callable[[], None],
        confirm: Callable[[Collection[UUID]], None],
        room_made: Callable[[], None],
        surroundings: Surroundings,
    ) -> None:
        self.clock = clock
        self.draining = False
        self.paused = False
        self.executor = executor
        self.ids = Ids()
        self.herald = surroundings.herald
        self.seal = seal
        self.passes = Passes(surroundings, seal, enter=self._enter) if surroundings.passes else None
        """What workflow runs are entered by, where there is middleware around them."""
        self.buckets: dict[int, Bucket] = {}
        self.held: dict[UUID, HeldRun] = {}
        self.timekeeper = Timekeeper(self.buckets, clock, confirm=confirm, due=self._begin)
        """What is not due yet is in its hands."""
        self.overflow = Overflow(self.held, self.timekeeper, self.herald, idle=lambda: self.draining or self._closed)
        self._company = Company()
        self.empty = asyncio.Event()
        """Set whenever the last run has been let go."""
        self._definitions = definitions
        self.journal_limits = journal_limits
        self._cached_runs = cached_runs
        self._cache: OrderedDict[UUID, WorkflowRun] = OrderedDict()
        self._resuming: dict[UUID, WorkflowRun] = {}
        self._to_step: deque[Any] = deque()
        self._write = write
        self._recorded = recorded
        self._look = look
        self._room_made = room_made
        self._closed = False
        self._loop = asyncio.get_running_loop()

    # -- taking

    def knows(self, claimed: Claimed) -> bool:
        """Whether this run goes on from memory: nobody has held it since it was parked here. If so it stays there."""
        cached = self._cache.get(claimed.run_id)
        if cached is None or cached.hold + 1 != claimed.hold:
            return False
        # Its journal will not be read: so it must not be evicted before it is taken.
        self._resuming[claimed.run_id] = self._cache.pop(claimed.run_id)
        return True

    def take(self, cargo: Cargo) -> None:
        """Takes what a claim brought into memory, and begins what has a slot."""
        if self._closed:
            return
        for claimed in cargo.runs:
            bucket = self.buckets[claimed.bucket]
            previous = self.held.pop(claimed.run_id, None)
            if previous is not None:
                # Claimed again while an earlier hold was still in memory: that one is over.
                previous.bucket.held -= 1
                previous.bucket.ahead.discard(claimed.run_id)
                previous.bucket.parting.discard(claimed.run_id)
                self._company.leave(claimed.run_id)
                previous.close()
            run = self._admit(claimed, bucket, cargo)
            run.looked_at = cargo.asked_at
            self.held[claimed.run_id] = run
            bucket.held += 1
            if self.draining or (self.paused and isinstance(run, JobRun | WorkflowRun)):
                run.drain()
            elif claimed.due_at <= cargo.at or not self.timekeeper.keep(run, claimed):
                if not bucket.ready and not bucket.running:
                    bucket.idles_no_more()
                bucket.ready.append(run)
        # Runs are entered from a callback: workflow code must not run inside a task of this loop.
        self._loop.call_soon(self._begin_all)
        if cargo.runs and cargo.runs[-1].due_at > cargo.at:
            self._loop.call_soon(self.timekeeper.look)

    def _admit(self, claimed: Claimed, bucket: Bucket, cargo: Cargo) -> HeldRun:
        journal: Sequence[Entry] = cargo.journals.get(claimed.run_id, ())
        letters = cargo.inboxes.get(claimed.run_id, ())
        definition = self._definitions[claimed.task_name]
        if claimed.crashes >= MOST_CRASHES:
            return Condemned(self, bucket, claimed)
        if claimed.flags & Flag.TERMINATE:
            return Terminated(self, bucket, claimed)
        if not isinstance(definition, Workflow):
            assert isinstance(definition, Activity)
            beats = cargo.beats.get(claimed.run_id, ())
            dispatched = None if claimed.parent is None else Dispatched.read(claimed.options)
            job = JobRun(self, bucket, definition, claimed, journal=journal, beats=beats, dispatched=dispatched)
            job.receive(letters)
            return job
        cached = self._resuming.pop(claimed.run_id, None) or self._cache.pop(claimed.run_id, None)
        if cached is not None and cached.hold + 1 == claimed.hold:
            cached.resume(self, bucket, claimed, letters)
            return cached
        if cached is not None:
            cached.close()
        try:
            instance = _instance(definition, claimed, journal, self.seal)
            said = read(cargo.beats.get(claimed.run_id, ()), self.seal)
        except Exception as error:
            # A journal or an input that cannot be opened here blocks its run alone.
            return Unreadable(self, bucket, claimed, error)
        run = WorkflowRun(self, bucket, instance, claimed, journal)
        run.receive(letters)
        if said:
            run.remember(said)
        return run

    def disown(self, bucket_id: int, run_id: UUID, hold: int) -> None:
        """The database says that this worker holds the run, and it does not: the answer to a claim was lost."""
        run = Stray(self, self.buckets[bucket_id], run_id, hold)
        self.held[run_id] = run
        run.bucket.held += 1
        run.begin()

    def looked(self) -> None:
        """The tasks of the runs held here were looked at: what waits for that may begin."""
        self._loop.call_soon(self._begin_all)

    def _begin_all(self) -> None:
        for bucket in self.buckets.values():
            self._begin(bucket)

    def _begin(self, bucket: Bucket) -> None:
        with Shift():
            if bucket.guests:
                self._begin_guests(bucket)
            elif bucket.suspects:
                self._begin_suspects()
            else:
                self._begin_some(bucket)
        if bucket.hungry():
            self._room_made()

    def _begin_some(self, bucket: Bucket) -> None:
        ready = bucket.ready
        stale = time.monotonic() - FRESH
        begun = 0
        while ready and bucket.running < bucket.capacity:
            if self.draining or self._closed:
                return
            held = self.held.get(ready[0].run_id) is ready[0]
            if held and ready[0].looked_at < stale:
                # A cancel that was acknowledged while it stood in line holds: one look for all that are in memory.
                self._look()
                return
            if begun == AT_ONCE:
                self._loop.call_soon(self._begin, bucket)
                return
            run = ready.popleft()
            begun += 1
            if not held:
                continue
            running = bucket.running
            self._open(run)
            if bucket.running == running:
                bucket.begun()
        if ready:
            self.overflow.watch(bucket)

    def _open(self, run: HeldRun) -> None:
        if self.passes is not None and isinstance(run, WorkflowRun):
            self.passes.open(run)
        else:
            run.begin()

    def _enter(self, run: WorkflowRun) -> None:
        if self.held.get(run.run_id) is run:
            with Shift():
                run.begin()

    def _begin_guests(self, bucket: Bucket) -> None:
        """Dispatched activities take a place among those of this worker, when there is one for their kind."""
        ready, executor = bucket.ready, self.executor
        stale = time.monotonic() - FRESH
        waiting: list[HeldRun] = []
        begun = 0
        while ready and begun < AT_ONCE and not (self.draining or self._closed):
            run = ready.popleft()
            if self.held.get(run.run_id) is not run:
                continue
            if isinstance(run, JobRun) and not executor.has_place(run.activity):
                executor.await_place(run.activity)
                waiting.append(run)
                continue
            if run.looked_at < stale:
                waiting.append(run)
                self._look()
                break
            bucket.begun()
            begun += 1
            run.begin()
        ready.extendleft(reversed(waiting))
        if begun == AT_ONCE and ready:
            self._loop.call_soon(self._begin, bucket)

    def overflow_counts(self) -> dict[int, int]:
        """How many runs each bucket has given back, of those that have. May be called from any thread."""
        return {bucket.id: bucket.overflowed for bucket in self.buckets.values() if bucket.overflowed}

    def _begin_suspects(self) -> None:
        """Of all buckets together: those who may have each other's company."""
        ready: list[HeldRun] = []
        for bucket in self.buckets.values():
            if bucket.suspects and not (self.draining or self._closed):
                bucket.ready = deque(run for run in bucket.ready if self.held.get(run.run_id) is run)
                ready += bucket.ready
        # What only writes down what has become of a run endangers nobody.
        chosen = [run for run in ready if not isinstance(run, JobRun | WorkflowRun)]
        chosen += self._company.choose(run for run in ready if isinstance(run, JobRun | WorkflowRun))
        stale = time.monotonic() - FRESH
        for run in chosen:
            bucket = run.bucket
            if run.looked_at < stale:
                self._look()
            elif bucket.running < bucket.capacity:
                bucket.ready.remove(run)
                if isinstance(run, JobRun | WorkflowRun):
                    self._company.enter(run.run_id)
                self._open(run)

    # -- what a test asks

    def time_moved(self, at: datetime) -> None:
        """It is later now than these runs could know."""
        self.clock.observe(at)
        self.timekeeper.look()
        for run in list(self.held.values()):
            if isinstance(run, WorkflowRun):
                run.time_moved()

    def at_rest(self, hangs: Callable[[Attempt], bool]) -> dict[UUID, datetime] | None:
        """The moment that each run held here waits for; None while something of one is under way."""
        found: dict[UUID, datetime] = {}
        for run in self.held.values():
            until = run.rests_until(self.clock.now(), hangs) if isinstance(run, WorkflowRun | JobRun) else None
            if until is None:
                return None
            found[run.run_id] = until
        return found

    # -- giving back

    def pause(self) -> None:
        """Begins no run any more: what stands in line here goes to others, and what has begun goes on."""
        self.paused = True
        in_line: set[HeldRun] = set()
        for bucket in self.buckets.values():
            in_line.update(bucket.ready, (early.run for early in bucket.ahead.last(len(bucket.ahead))))
            # What only writes down what has become of a run does so.
            bucket.ready = deque(run for run in bucket.ready if not isinstance(run, JobRun | WorkflowRun))
        self.timekeeper.close()
        for run in list(self.held.values()):
            # A workflow that has begun goes on until it waits; a job may have begun, and wait for a thread.
            if isinstance(run, JobRun) or (isinstance(run, WorkflowRun) and run in in_line):
                run.drain()

    def drain(self) -> None:
        """Begins nothing more, and gives back each run as soon as no code of it runs."""
        self.draining = True
        self.timekeeper.close()
        self.overflow.close()
        for bucket in self.buckets.values():
            bucket.ready.clear()
        for run in list(self.held.values()):
            run.drain()

    def close(self) -> None:
        """Drops everything: the worker is fenced or gone. Nothing is written any more."""
        self._closed = True
        self.timekeeper.close()
        self.overflow.close()
        for run in (*self.held.values(), *self._cache.values(), *self._resuming.values()):
            run.close()
        self.held.clear()
        self._cache.clear()
        self._resuming.clear()

    # -- the desk

    def write(self, unit: Unit) -> None:
        """To the group commit."""
        self._write(unit)

    def recorded(self, unit: Unit) -> None:
        """This is durable already."""
        self._recorded(unit)

    def let_go(self, run: HeldRun, *, cached: bool = False) -> None:
        """The run is not held any more; a cached one is kept aside."""
        if self.held.get(run.run_id) is not run:
            return
        del self.held[run.run_id]
        bucket = run.bucket
        bucket.held -= 1
        if bucket.ahead:
            bucket.ahead.discard(run.run_id)
        if bucket.parting:
            bucket.parting.discard(run.run_id)
        if bucket.suspects:
            self._company.leave(run.run_id)
            self._loop.call_soon(self._begin, bucket)
        if cached and isinstance(run, WorkflowRun) and not self.draining and self._cached_runs:
            self._cache[run.run_id] = run
            if len(self._cache) > self._cached_runs:
                _, evicted = self._cache.popitem(last=False)
                evicted.close()
        elif cached:
            run.close()
        if not self.held:
            self.empty.set()

    def cleared(self) -> None:
        """Others are to hear of it when it is written."""
        self.overflow.untold = True

    def survival(self, worker: int) -> Survival:
        """What is to be said of these runs when this worker is another one, because it was cut off."""
        # Of the others it is not known here how many crashes they have.
        runs = [run for run in self.held.values() if isinstance(run, JobRun | WorkflowRun)]
        return Survival(worker=worker, runs=[Held(run.run_id, run.hold, run.crashed) for run in runs])

    def look(self) -> None:
        """Has the inboxes read."""
        self._look()

    def slot_freed(self, bucket: Bucket) -> None:
        """The next run of the bucket may begin."""
        if not bucket.guests:
            bucket.freed()
        if bucket.ready:
            self._loop.call_soon(self._begin, bucket)

    def step_soon(self, run: Any) -> None:
        """Steps the run from a callback, together with the others of this flush."""
        if not self._to_step:
            self._loop.call_soon(self._step_some)
        self._to_step.append(run)

    def _step_some(self) -> None:
        runs = self._to_step
        with Shift():
            for _ in range(min(AT_ONCE, len(runs))):
                runs.popleft().step()
        if runs:
            self._loop.call_soon(self._step_some)

    def sealed(self, failure: Failure) -> str:
        """The failure as it is stored."""
        try:
            return self.seal.close(failure.to_json(), what="an error")
        except Exception:
            # Whatever of it cannot be stored: that it failed must be.
            short = Failure(type=failure.type, message=failure.message[:500], reason=failure.reason)
            return self.seal.close(short.to_json(), what="an error")

    def remaining(self, claimed: Claimed, activity: Activity[..., Any]) -> float | None:
        """Seconds that a job has left."""
        ends = [] if claimed.deadline is None else [claimed.deadline]
        if activity.total_timeout is not None:
            ends.append(claimed.first_claim_at + activity.total_timeout)
        return (min(ends) - self.clock.now()).total_seconds() if ends else None

    def out_of_time(self, claimed: Claimed) -> Failure:
        """The failure of a run whose timeout has passed."""
        error = RunTimedOut(claimed.run_id, "RunTimedOut", "the run's timeout has passed")
        return Failure.of(error, reason="timeout")


def _instance(definition: Workflow[..., Any], claimed: Claimed, journal: Sequence[Entry], seal: Seal) -> Instance:
    lineage = lineage_of(claimed.options, claimed.run_id, claimed.created_at)
    info = RunInfo(
        run_id=lineage.identity,
        name=claimed.name,
        lane=claimed.lane,
        priority=Priority(claimed.priority).word,
        created_at=lineage.created_at,
        tags=first_tags(claimed.options, claimed.tags),
        parent=claimed.parent,
        root=claimed.root or claimed.run_id,
        headers=headers_of(claimed.options),
    )
    entries = [opened(entry, seal) for entry in journal]
    text = seal.open(claimed.input or "{}")
    return Instance(
        definition,
        info,
        text,
        claimed.first_claim_at,
        entries,
        resumed=bool(claimed.flags & Flag.ENTERED),
        earlier=[(dataclasses.replace(info, run_id=run_id), until) for run_id, until in lineage.earlier],
    )
