"""A tenure: the time of one identity of a worker, from its registration until it leaves or is fenced.

It holds the runs in memory and wires the services that move them; each service is a loop of its own. A fenced tenure
drops everything: others have its runs, and nothing of it is written any more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import random
import socket
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import RunTimedOut, WorkerFenced
from holdfast.core.failure import Failure
from holdfast.core.priority import Priority
from holdfast.store import work
from holdfast.store.connect import is_away, said
from holdfast.store.link import Link
from holdfast.supervise.backoff import Backoff
from holdfast.worker.bucket import Bucket
from holdfast.worker.claimer import Cargo, Claimer
from holdfast.worker.clock import DatabaseClock
from holdfast.worker.ends import Condemned, Unreadable
from holdfast.worker.executor import Executor
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.heartbeat import Heartbeat, boot_time
from holdfast.worker.held import Unit
from holdfast.worker.hints import Hints, Listener
from holdfast.worker.job_run import JobRun
from holdfast.worker.recovery import Recovery
from holdfast.worker.watch import Watch
from holdfast.worker.workflow_run import WorkflowRun
from holdfast.workflow.activity import Activity
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instance import Instance
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.core.definition import Definition
    from holdfast.core.journal import Entry
    from holdfast.core.seal import Seal
    from holdfast.core.settings import WorkerSettings
    from holdfast.store.statements import Statements
    from holdfast.worker.held import HeldRun
    from holdfast.worker.stop import Stop

log = logging.getLogger("holdfast.worker")

MOST_CRASHES = 5
"""A run that was being executed when its worker died, so many times in a row, is given up."""


class Tenure:
    """One identity, its buckets, and the runs that it holds."""

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        seal: Seal,
        definitions: Mapping[str, Definition[..., Any]],
        settings: WorkerSettings,
        name: str,
    ) -> None:
        self.name = name
        self.seal = seal
        self.clock = DatabaseClock()
        self.draining = False
        self.executor = Executor(max_activities=settings.max_activities, max_threads=settings.max_threads)
        self._dsn = dsn
        self._statements = statements
        self._definitions = definitions
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._held: dict[UUID, HeldRun] = {}
        self._cache: OrderedDict[UUID, WorkflowRun] = OrderedDict()
        self._to_step: list[WorkflowRun] = []
        self._buckets: dict[int, Bucket] = {}
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._empty = asyncio.Event()
        self._claims = Link(dsn, statements, application=f"holdfast claims {name}")
        self._flushes = Link(dsn, statements, application=f"holdfast flushes {name}")
        self._patient = Link(dsn, statements, application=f"holdfast patient {name}")
        notice = (
            Listener(lanes=[settings.lane], due=self._hint_due, inbox=self._hint_inbox, command=self._hint_command)
            if settings.hints
            else None
        )
        self._control = Link(dsn, statements, application=f"holdfast control {name}", notice=notice)
        self._hints = Hints(self._control)
        self._watch = Watch(self._control, self._held, poll=settings.poll, limit=settings.lease.total_seconds() / 2)
        self._claimer: Claimer | None = None
        self._commit: GroupCommit | None = None
        self._heartbeat: Heartbeat | None = None

    # -- its life

    async def run(self, stop: Stop) -> None:
        """Works until ``stop`` is set, then leaves in order; raises WorkerFenced when the lease is lost before."""
        leased_at = boot_time()
        identity = await self._register()
        try:
            async with asyncio.TaskGroup() as services:
                running = [
                    services.create_task(loop, name=f"holdfast {name}")
                    for name, loop in self._services(identity, leased_at)
                ]
                try:
                    await self._until(stop.asked.wait())
                    await self._leave(identity, stop)
                finally:
                    for task in running:
                        task.cancel()
        finally:
            await self._close()

    async def _register(self) -> work.Identity:
        settings = self._settings
        slots = [
            (settings.lane, int(priority))
            for priority in reversed(Priority)
            for _ in range(settings.bucket_count(priority))
        ]
        backoff = Backoff(first=0.1, most=1.0)
        while True:
            try:
                async with self._claims.session() as session:
                    identity = await work.register(
                        session,
                        name=self.name,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        lane=settings.lane,
                        names=sorted(self._definitions),
                        lease=settings.lease,
                        slots=slots,
                    )
                break
            except Exception as error:
                self._claims.discard()
                if not is_away(error):
                    raise
                log.warning("worker %s cannot register: %s", self.name, said(error))
                await asyncio.sleep(backoff.delay())
        for bucket_id, (lane, number) in zip(identity.buckets, slots, strict=True):
            priority = Priority(number)
            self._buckets[bucket_id] = Bucket(
                bucket_id,
                lane,
                priority,
                capacity=settings.capacity(priority),
                buffer_size=settings.bucket_buffer_size,
            )
        return identity

    def _services(self, identity: work.Identity, leased_at: float) -> Iterable[tuple[str, Any]]:
        settings = self._settings
        limit = settings.lease.total_seconds() / 2
        self._commit = GroupCommit(
            self._flushes,
            self._patient,
            identity,
            self.clock,
            limit=limit,
            fenced=self._fenced,
            flushed=self._flushed,
        )
        self._claimer = Claimer(
            self._claims,
            identity,
            list(self._buckets.values()),
            self.clock,
            names=sorted(self._definitions),
            poll=settings.poll,
            limit=limit,
            known=self._knows,
            taken=self._take,
            fenced=self._fenced,
        )
        self._heartbeat = Heartbeat(
            self._dsn,
            self._statements,
            identity,
            name=self.name,
            lease=settings.lease,
            leased_at=leased_at,
            stalled=self._flush_stands_still_for,
            commanded=self._commanded,
            fenced=self._fenced,
        )
        self._heartbeat.start()
        recovery = Recovery(self._control, identity, lease=settings.lease, recovered=lambda _: self._hint_due())
        yield "claims", self._claim_after_warm_up()
        yield "recovery", recovery.run()
        yield "watch", self._watch.run()
        if settings.hints:
            yield "hints", self._hints.run()

    async def _claim_after_warm_up(self) -> None:
        if not self._settings.skip_warm_up:
            await asyncio.sleep(random.uniform(0.05, 0.25))
        assert self._claimer is not None
        await self._claimer.run()

    async def _until(self, *events: Coroutine[Any, Any, Any], patience: float | None = None) -> bool:
        """Waits for the first of these; says whether one came in time; raises WorkerFenced when the lease is lost."""
        waits = [self._loop.create_task(event) for event in events]
        try:
            done, _ = await asyncio.wait({*waits, self._end}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._end.done():
            self._end.result()
        return bool(done)

    async def _leave(self, identity: work.Identity, stop: Stop) -> None:
        """Stop claiming, let what runs finish within the grace, give everything back at once, leave."""
        assert self._claimer is not None
        self.draining = True
        self._claimer.paused = True
        self.executor.drop_waiting()
        for bucket in self._buckets.values():
            bucket.ready.clear()
        for run in list(self._held.values()):
            run.drain()
        over = self._loop.time() + self._settings.grace.total_seconds()
        while self._held and not stop.hurried.is_set():
            self._empty.clear()
            left = over - self._loop.time()
            if left <= 0 or not await self._until(self._empty.wait(), stop.hurried.wait(), patience=left):
                break
        if self._held:
            log.warning(
                "worker %s does not wait for %d runs any longer: they are given back", self.name, len(self._held)
            )
        await self._commit_rest()
        async with asyncio.timeout(5.0), self._claims.session() as session:
            given = await work.leave(session, identity)
            if self._settings.hints:
                await work.send_hints(session, [f"due {self._settings.lane}"])
        log.info("worker %s has left; %d runs given back at the end", self.name, given)

    async def _commit_rest(self) -> None:
        assert self._commit is not None
        try:
            async with asyncio.timeout(5.0):
                await self._commit.drained()
        except TimeoutError:
            log.warning("worker %s: what it wanted written last could not be written", self.name)
        self._commit.close()

    async def _close(self) -> None:
        if self._commit is not None:
            self._commit.close()
        for run in list(self._held.values()):
            run.close()
        self._held.clear()
        for cached in self._cache.values():
            cached.close()
        self._cache.clear()
        self.executor.close()
        await self.executor.settled()
        if self._heartbeat is not None:
            await self._heartbeat.stop()
        for link in (self._claims, self._flushes, self._patient, self._control):
            await link.close()

    # -- what the services say

    def _fenced(self, error: WorkerFenced) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    def _commanded(self, command: str) -> None:
        log.info("worker %s: command %s", self.name, command)

    def _hint_due(self) -> None:
        if self._claimer is not None:
            self._claimer.hint()

    def _hint_inbox(self, bucket_id: int) -> None:
        if bucket_id in self._buckets:
            self._watch.hint()

    def _hint_command(self) -> None:
        """Commands come with the heartbeat."""

    def _flush_stands_still_for(self) -> float:
        began = None if self._commit is None else self._commit.began
        return 0.0 if began is None else time.monotonic() - began

    def _flushed(self, units: Sequence[Unit]) -> None:
        if self._settings.hints:
            ended = [unit.run_id for unit in units if unit.end is not None]
            if ended:
                self._hints.ended(ended)
            if self.draining and any(unit.move is not None for unit in units):
                self._hints.due(self._settings.lane)
        if self._claimer is not None:
            self._claimer.room_made()

    # -- taking runs

    def _knows(self, claimed: work.Claimed) -> bool:
        cached = self._cache.get(claimed.run_id)
        return cached is not None and cached.hold + 1 == claimed.hold

    def _take(self, cargo: Cargo) -> None:
        if self._end.done():
            return
        for claimed in cargo.runs:
            bucket = self._buckets[claimed.bucket]
            previous = self._held.pop(claimed.run_id, None)
            if previous is not None:
                # Claimed again while an earlier hold was still in memory: that one is over.
                previous.bucket.held -= 1
                previous.close()
            run = self._admit(claimed, bucket, cargo)
            self._held[claimed.run_id] = run
            bucket.held += 1
            bucket.ready.append(run)
        # Runs are entered from a callback: workflow code must not run inside a task of this loop.
        self._loop.call_soon(self._begin_all)

    def _admit(self, claimed: work.Claimed, bucket: Bucket, cargo: Cargo) -> HeldRun:
        journal: Sequence[Entry] = cargo.journals.get(claimed.run_id, ())
        letters = cargo.inboxes.get(claimed.run_id, ())
        definition = self._definitions[claimed.name]
        if claimed.crashes >= MOST_CRASHES:
            return Condemned(self, bucket, claimed)
        if isinstance(definition, Workflow):
            cached = self._cache.pop(claimed.run_id, None)
            if cached is not None and cached.hold + 1 == claimed.hold:
                cached.resume(self, bucket, claimed, letters)
                return cached
            if cached is not None:
                cached.close()
            try:
                instance = self._instance(definition, claimed, journal)
            except Exception as error:
                return Unreadable(self, bucket, claimed, error)
            run = WorkflowRun(self, bucket, instance, claimed, journal)
            run.receive(letters)
            return run
        assert isinstance(definition, Activity)
        return JobRun(self, bucket, definition, claimed, journal)

    def _instance(self, definition: Workflow[..., Any], claimed: work.Claimed, journal: Sequence[Entry]) -> Instance:
        seal = self.seal
        info = RunInfo(
            run_id=claimed.run_id,
            name=claimed.name,
            lane=claimed.lane,
            priority=Priority(claimed.priority).word,
            created_at=claimed.created_at,
            tags=json.loads(claimed.tags) if claimed.tags else {},
            parent=claimed.parent,
            root=claimed.root,
        )
        opened = [_opened(entry, seal) for entry in journal]
        text = seal.open(claimed.input or "{}")
        return Instance(definition, info, text, claimed.first_claim_at, opened, resumed=claimed.hold > 1)

    def _begin_all(self) -> None:
        for bucket in self._buckets.values():
            self._begin(bucket)

    def _begin(self, bucket: Bucket) -> None:
        ready = bucket.ready
        while ready and bucket.running < bucket.capacity:
            if self.draining or self._end.done():
                return
            run = ready.popleft()
            bucket.begun()
            if self._held.get(run.run_id) is run:
                run.begin()
        if bucket.hungry() and self._claimer is not None:
            self._claimer.room_made()

    # -- what runs need (Desk)

    def write(self, unit: Unit) -> None:
        """To the group commit."""
        assert self._commit is not None
        self._commit.add(unit)

    def let_go(self, run: HeldRun, *, cached: bool = False) -> None:
        """The run is not held any more."""
        if self._held.get(run.run_id) is not run:
            return
        del self._held[run.run_id]
        run.bucket.held -= 1
        if cached and isinstance(run, WorkflowRun) and not self.draining and self._settings.cached_runs:
            self._cache[run.run_id] = run
            if len(self._cache) > self._settings.cached_runs:
                _, evicted = self._cache.popitem(last=False)
                evicted.close()
        elif cached:
            run.close()
        if not self._held:
            self._empty.set()

    def slot_freed(self, bucket: Bucket) -> None:
        """A slot is free."""
        if bucket.ready:
            self._loop.call_soon(self._begin, bucket)

    def step_soon(self, run: Any) -> None:
        """Steps the run from a callback, together with the others of this flush."""
        if not self._to_step:
            self._loop.call_soon(self._step_all)
        self._to_step.append(run)

    def _step_all(self) -> None:
        runs, self._to_step = self._to_step, []
        for run in runs:
            run.step()

    def sealed(self, failure: Failure) -> str:
        """The failure as it is stored."""
        try:
            return self.seal.close(failure.to_json(), what="an error")
        except Exception:
            short = Failure(type=failure.type, message=failure.message[:500], reason=failure.reason)
            return self.seal.close(short.to_json(), what="an error")

    def remaining(self, claimed: work.Claimed, activity: Activity[..., Any]) -> float | None:
        """Seconds that a job has left."""
        ends = [] if claimed.deadline is None else [claimed.deadline]
        if activity.total_timeout is not None:
            ends.append(claimed.first_claim_at + activity.total_timeout)
        return (min(ends) - self.clock.now()).total_seconds() if ends else None

    def out_of_time(self, claimed: work.Claimed) -> Failure:
        """The failure of a run whose timeout has passed."""
        error = RunTimedOut(claimed.run_id, "RunTimedOut", "the run's timeout has passed")
        return Failure.of(error, reason="timeout")

    def definition(self, name: str) -> Definition[..., Any]:
        """The definition that runs of this name execute."""
        return self._definitions[name]


def _opened(entry: Entry, seal: Seal) -> Entry:
    if entry.output is None and entry.error is None:
        return entry
    return dataclasses.replace(
        entry,
        output=None if entry.output is None else seal.open(entry.output),
        error=None if entry.error is None else seal.open(entry.error),
    )
