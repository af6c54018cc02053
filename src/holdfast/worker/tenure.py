"""A tenure: the time of one identity of a worker, from its registration until it leaves or is fenced.

It holds the runs in memory and wires the services that move them; each service is a loop of its own. A fenced tenure
drops everything: others have its runs, and nothing of it is written any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.errors import WorkerFenced
from holdfast.core.mode import Duty
from holdfast.core.worker_state import WorkerState
from holdfast.store import work
from holdfast.store.connect import said
from holdfast.store.link import Link
from holdfast.worker.bucket import buckets_of, guest_lane, slots_of
from holdfast.worker.claimer import Claimer
from holdfast.worker.companion import Companion
from holdfast.worker.floors import Floors
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.guests import Guests
from holdfast.worker.heartbeat import Heartbeat
from holdfast.worker.held import Unit
from holdfast.worker.hints import Hints, Listener
from holdfast.worker.holdings import Holdings
from holdfast.worker.limited import Limited
from holdfast.worker.membership import Membership
from holdfast.worker.orders import Orders
from holdfast.worker.post import Post
from holdfast.worker.recovery import Recovery
from holdfast.worker.relay import Relay
from holdfast.worker.repertoire import Repertoire
from holdfast.worker.suspects import Suspects
from holdfast.worker.transactions import Transactions
from holdfast.worker.watch import Watch

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from holdfast.core.definition import Definition
    from holdfast.core.seal import Seal
    from holdfast.core.settings import WorkerSettings
    from holdfast.store.link import Notice
    from holdfast.store.statements import Statements
    from holdfast.store.survival import Survival
    from holdfast.worker.attempt import Attempt
    from holdfast.worker.roof import Roof
    from holdfast.worker.seams import Seams
    from holdfast.worker.stop import Stop
    from holdfast.worker.surroundings import Surroundings

log = logging.getLogger("holdfast.worker")


class Stillness(NamedTuple):
    """A worker that waits: each run that it holds with the moment it waits for; and how much it has done so far."""

    runs: Mapping[UUID, datetime]
    done: int


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
        transaction_timeout: timedelta | None,
        alone_command: Sequence[str] | None,
        idle: Callable[[], None],
        seams: Seams,
        companion: Companion | None = None,
        surroundings: Surroundings,
        roof: Roof,
        paused: bool = False,
        before: Survival | None = None,
    ) -> None:
        self.name = name
        self._before = before
        self.survival: Survival | None = None
        """What the next identity is to say of this one: that it was cut off from the database, and nothing else."""
        self.paused = paused
        """Whether it begins nothing because somebody has paused it; under its last name already, at the beginning."""
        self._herald = surroundings.herald
        self._herald.name = name
        self._transaction_timeout = transaction_timeout
        self._roof = roof
        self._dsn = dsn
        self._statements = statements
        self._relay = Relay(settings.lane, hints=settings.hints)
        self._transactions = Transactions(
            dsn,
            statements,
            Link(dsn, statements, application=f"holdfast doubts {name}", transaction_timeout=self._transaction_timeout),
            seal,
            name=name,
            most=settings.max_transactions,
            lease=settings.lease.total_seconds(),
            commit=seams.commit,
            fenced=self._fenced,
            doubted=self._relay.doubted,
            told=self._relay.told,
            relieved=self._relieved,
        )
        self._executor = seams.executor(
            max_activities=settings.max_activities,
            max_threads=settings.max_threads,
            max_processes=settings.max_processes,
            seal=seal,
            transactions=self._transactions,
            relieved=self._relay.due,
        )
        self._executor.surroundings = surroundings
        self._holdings = Holdings(
            definitions,
            self._executor,
            seal,
            clock=seams.clock(),
            cached_runs=settings.cached_runs,
            journal_limits=settings.journal_limits,
            write=self._to_commit,
            recorded=lambda unit: self._relay.flushed([unit]),
            look=self._relay.look,
            confirm=self._relay.confirm,
            room_made=self._relay.room_made,
            surroundings=surroundings,
        )
        self._seams = seams
        self._repertoire = Repertoire.of(definitions)
        self._limited, self._unlimited = Limited.of(self._repertoire, definitions)
        self._guests = Guests(definitions, self._executor)
        self._executor.place_made = self._relay.place_made
        self._settings = settings
        self._alone_command = alone_command
        self._idle = idle
        self._companion = companion
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._claims = self._link("claims")
        self._membership = Membership(self._claims, settings, dsn=dsn, name=name)
        self._flushes = self._link("flushes")
        self._patient = self._link("patient")
        self._notice = (
            Listener(
                lanes=[settings.lane, f"{settings.lane} alone"],
                due=self._relay.due,
                guests=(guest_lane(settings.lane), self._relay.guests),
                inbox=self._relay.inbox,
                command=self._relay.command,
                cancel=self._relay.cancel,
                heard=None if companion is None else companion.heard,
            )
            if settings.hints
            else None
        )
        self._control = self._link("control", self._notice, listening=self.look_around)
        self._hints = Hints(self._control)
        self._executor.post = Post(self._control, seal, limit=settings.lease.total_seconds() / 2)
        self._watch = Watch(
            self._control,
            self._holdings.held,
            poll=settings.poll,
            limit=settings.lease.total_seconds() / 2,
            timekeeper=self._holdings.timekeeper,
            looked=self._holdings.looked,
        )
        self._relay.holdings, self._relay.hints, self._relay.watch = self._holdings, self._hints, self._watch
        self._relay.herald = self._herald
        self._claimer: Claimer | None = None
        self._commit: GroupCommit | None = None
        self._heartbeat: Heartbeat | None = None
        self._orders: Orders | None = None

    @property
    def draining(self) -> bool:
        """Whether it begins nothing more, and gives back what it holds."""
        return self._holdings.draining

    @property
    def overflowed(self) -> int:
        """Runs that it has given back, because others could begin them earlier or what was due needed their room."""
        return self._holdings.overflow.total

    def look_around(self) -> None:
        """There may be something to claim, or letters for what is held, of which nothing was heard."""
        self._watch.hint()
        self._relay.guests()

    # -- what a test asks of it

    def time_moved(self, at: datetime) -> None:
        """The database's clock was set to ``at``: what waits in memory for an earlier moment goes on."""
        self._holdings.time_moved(at)
        self.look_around()

    def stillness(self, hangs: Callable[[Attempt], bool]) -> Stillness | None:
        """What the runs in memory wait for; None while something is under way, or it has not begun or ends.

        An attempt of which ``hangs`` says so counts as waiting.
        """
        if self._claimer is None or self._commit is None or self._end.done():
            return None
        runs = self._holdings.at_rest(hangs)
        return None if runs is None else Stillness(runs, self._claimer.runs + self._commit.flushes)

    # -- its life

    async def run(self, stop: Stop) -> None:
        """Works until ``stop`` is set, then leaves in order; raises WorkerFenced when the lease is lost before."""
        settings = self._settings
        slots = slots_of(settings, with_suspects=self._alone_command is None, with_guests=bool(self._guests))
        registered = await self._membership.join(
            stop,
            # What it does not execute, nobody shall count on.
            names=self._repertoire.names if slots else (),
            slots=slots,
            paused=self.paused,
            schedules=None if self._companion is None else self._companion.schedules,
            survival=self._before,
        )
        if registered is None:
            return
        identity, leased_at = registered
        self._holdings.buckets.update(buckets_of(identity.buckets, slots, settings, foresees=self._seams.foresees))
        self._orders = Orders(self.name, stop, self._holdings, paused=self.paused)
        if self._companion is not None:
            self._companion.registered()
        if self._herald.begun:
            self._herald.tell_begun(settings.lane)
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

    def _link(self, purpose: str, notice: Notice | None = None, listening: Callable[[], None] | None = None) -> Link:
        return self._roof.link(
            purpose,
            self._dsn,
            self._statements,
            worker=self.name,
            transaction_timeout=self._transaction_timeout,
            notice=notice,
            listening=listening,
        )

    def _services(self, identity: work.Identity, leased_at: float) -> Iterable[tuple[str, Any]]:
        settings = self._settings
        limit = settings.lease.total_seconds() / 2
        self._transactions.register(identity)
        self._commit = GroupCommit(
            self._flushes,
            self._patient,
            identity,
            self._holdings.clock,
            limit=limit,
            fenced=self._fenced,
            herald=self._herald,
            flushed=self._relay.flushed,
            told=self._relay.told,
            doubted=self._relay.doubted,
            flush=self._seams.flush,
        )
        claimer = self._claimer = self._relay.claimer = Claimer(
            self._claims,
            identity,
            list(self._holdings.buckets.values()),
            self._holdings.clock,
            repertoire=self._unlimited,
            limited=self._limited,
            poll=settings.poll,
            lead=settings.bucket_buffer_lead_time,
            limit=limit,
            listening=lambda: self._control.is_listening,
            saturated=lambda: self._executor.saturated,
            known=self._holdings.knows,
            taken=self._holdings.take,
            jobs=self._repertoire.jobs,
            held=self._holdings.held,
            stray=self._holdings.disown,
            guests=self._guests.names,
            fenced=self._fenced,
            herald=self._herald,
            evict=self._holdings.overflow.evict,
            idle=self._idle if settings.alone else None,
            glance=self._roof.glance,
        )
        self._heartbeat = self._relay.heartbeat = Heartbeat(
            self._roof.heart(
                self._dsn,
                self._statements,
                worker=self.name,
                transaction_timeout=self._transaction_timeout,
                beside=self._seams.beside,
            ),
            identity,
            name=self.name,
            lease=settings.lease,
            leased_at=leased_at,
            end=self._executor.lease_end,
            state=WorkerState.PAUSED if self.paused else WorkerState.ACTIVE,
            stalled=self._flush_stands_still_for,
            overflowed=self._holdings.overflow_counts,
            commanded=self._commanded,
            renewed=self._herald.tell_renewed,
            fenced=self._fenced,
        )
        assert self._orders is not None
        claimer.paused = self.paused
        self._orders.claimer, self._orders.heartbeat = claimer, self._heartbeat
        self._heartbeat.start()
        if self._alone_command is not None and not settings.alone and self._holdings.buckets:
            suspects = self._relay.suspects = Suspects(
                self._control,
                lane=settings.lane,
                names=self._repertoire.names,
                lease=settings.lease,
                command=self._alone_command,
                paused=lambda: self.paused,
                glance=self._roof.glance,
            )
            yield "suspects", suspects.run()
        if self._holdings.buckets:
            yield "claims", self._claim_after_warm_up()
            yield "watch", self._watch.run()
            lines = sorted({(bucket.lane, int(bucket.priority)) for bucket in self._holdings.buckets.values()})
            yield "floors", Floors(self._control, lines, claims=lambda: claimer.runs).run()
        if settings.does(Duty.RECOVER) or settings.does(Duty.SCAN):
            recovery = Recovery(self._control, identity, settings, recovered=self._recovered)
            self._relay.ask_recovery = self._roof.ask_recovery
            yield "recovery", self._roof.recover(recovery, settings.mode)
        if self._roof.glance is not None:
            yield "glance", self._roof.look(self._roof.glance, self._control)
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
        assert self._orders is not None
        assert self._heartbeat is not None
        self._claimer.paused = True
        holdings = self._holdings
        holdings.drain()
        over: float | None = None
        while True:
            self._orders.report()
            if not holdings.held or stop.hurried.is_set():
                break
            holdings.empty.clear()
            if over is None and not stop.patient:
                over = self._loop.time() + self._settings.grace.total_seconds()
            left = None if over is None else over - self._loop.time()
            if left is not None and left <= 0:
                break
            ends = [holdings.empty.wait(), stop.hurried.wait()]
            # One that drains may yet be told to stop.
            await self._until(*ends, *([stop.pressed.wait()] if stop.patient else []), patience=left)
        self._heartbeat.expect_end()
        if holdings.held:
            log.warning(
                "worker %s does not wait for %d runs any longer: they are given back", self.name, len(holdings.held)
            )
        self._executor.flush_heartbeats()
        await self._commit_rest()
        try:
            async with asyncio.timeout(5.0):
                given = await self._membership.leave(identity)
        except Exception as error:
            # The lease ends by itself, so it is not worth an error: nobody is there any more who could do better.
            log.warning(
                "worker %s could not give back what it holds (%s): others have it when its lease is over",
                self.name,
                said(error),
            )
        else:
            log.info("worker %s has left; %d runs given back at the end", self.name, given)
        if self._herald.left:
            self._herald.tell_left(self._settings.lane)

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
        self._holdings.close()
        self._executor.close()
        if self._holdings.passes is not None:
            await self._holdings.passes.close()
        await self._executor.settled()
        await self._transactions.close()
        if self._heartbeat is not None:
            await self._heartbeat.stop()
        for link in (self._claims, self._flushes, self._patient):
            await self._roof.give_back(link)
        await self._roof.give_back(self._control, self._notice, self.look_around)

    # -- what the services say

    def _fenced(self, error: WorkerFenced) -> None:
        if not self._end.done():
            if self._heartbeat is not None and self._heartbeat.was_cut_off:
                self.survival = self._holdings.survival(self._heartbeat.identity.worker)
            self._end.set_exception(error)

    def _recovered(self, found: work.Recovered) -> None:
        self._relay.recovered()
        if self._roof.glance is not None:
            self._roof.glance.rouse()
        if self._herald.recovered:
            self._herald.tell_recovered(found)

    def _commanded(self, command: str | None) -> None:
        assert self._orders is not None
        self._orders.obey(command)
        self.paused = self._orders.paused

    def _flush_stands_still_for(self) -> float:
        began = None if self._commit is None else self._commit.began
        return 0.0 if began is None else time.monotonic() - began

    def _relieved(self) -> None:
        self._executor.relieve()

    def _to_commit(self, unit: Unit) -> None:
        assert self._commit is not None
        self._commit.add(unit)
