"""The scheduler: starts the runs of schedules when they are due. One in every worker process; the database decides.

It sleeps until the next tick, and is woken by a hint when a schedule has changed or when a run has ended that a queue
waits for. Without hints it finds out by looking. What is due is computed from the row and the database's clock, and
decided about by one function there, under the row's lock and by its revision: so two schedulers make one run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

import asyncpg

from holdfast.core.cadence import jitter_of
from holdfast.core.schedule import Decision, Overlap, decide, filled
from holdfast.store import schedules as store
from holdfast.store.connect import is_away, said
from holdfast.store.link import Link
from holdfast.supervise.backoff import Backoff
from holdfast.upkeep.census import Census, CodeSchedule

if TYPE_CHECKING:
    from holdfast.core.seal import Seal
    from holdfast.store.outage import Outage
    from holdfast.store.session import Session
    from holdfast.store.statements import Statements

log = logging.getLogger("holdfast.schedules")

_BATCH = 50
_LIMIT = 30.0
"""Seconds after which a connection that does not answer is given up."""
_SPREAD = 0.01
"""So many seconds schedulers that wait for the same tick are spread over: mostly one of them does it all."""
_QUEUE_LOOK = 1.0
_UNABLE = 60.0
"""Seconds for which a schedule that this process cannot see to is left to others."""
_CENSUS_EVERY = 10.0
_PATIENCE = 5.0
_IN_THE_WAY = frozenset({"40", "55"})
"""SQLSTATE classes: a deadlock, a lock that was not to be had."""
_SHORTLY = 1.0


class Scheduler:
    """Sees to all schedules of the database, for as long as the block lasts, once ``begin`` was called.

    Args:
        dsn: Where the database is.
        statements: The statements for its schema.
        seal: The codec and limit of inputs, for schedules whose ticks go into them.
        schedules: Those in this process's code, by name.
        poll: How often it looks at least, where no hints come.
        hints: Whether hints come, and are sent.
        turn: Held while it looks, where there are several in one process and one of them is enough.
        application: The connection's name in ``pg_stat_activity``.
        outage: Says that the database is away, for all of the process.
    """

    def __init__(
        self,
        *,
        dsn: str,
        statements: Statements,
        seal: Seal,
        schedules: Mapping[str, CodeSchedule],
        poll: timedelta,
        hints: bool,
        application: str = "holdfast schedules",
        turn: asyncio.Lock | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._link = Link(dsn, statements, application=application, outage=outage)
        self._seal = seal
        self._census = Census(schedules)
        seconds = poll.total_seconds()
        self._poll = max(seconds, min(5.0, 5 * seconds)) if hints else seconds
        self._hints = hints
        self._turn = asyncio.Lock() if turn is None else turn
        self._begun = asyncio.Event()
        self._wake = asyncio.Event()
        self._census_at = 0.0
        self._watched: frozenset[str] = frozenset()
        self._unable: dict[UUID, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._resting = False
        self._serving = False
        """Whether it has begun, and is the one whose turn it is."""

    @property
    def idle(self) -> bool:
        """Whether it has seen to all that was due, and waits."""
        return self._resting and not self._wake.is_set()

    def look(self) -> None:
        """Something may be due: it looks at once."""
        self._wake.set()

    @property
    def carried(self) -> str | None:
        """What this process's code has, as its worker tells the database: JSON, or None where there is nothing."""
        digests = self._census.digests
        return json.dumps(digests) if digests else None

    def begin(self) -> None:
        """The worker of this process is there: from now on schedules are seen to."""
        self._census_at = 0.0
        self._begun.set()
        self._wake.set()

    def heard(self, payload: str) -> None:
        """A hint has come: it counts if a schedule has changed, or a run has ended that a queue waits for."""
        word, _, rest = payload.partition(" ")
        if word == "schedule" or (
            word == "end" and self._watched and (rest == "*" or not self._watched.isdisjoint(rest.split(" ")))
        ):
            self._wake.set()

    def stop(self) -> None:
        """No tick is begun any more. May be called from any thread."""
        self._stopping = True
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="holdfast schedules")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        task = self._task
        assert task is not None
        if not self._serving:
            task.cancel()
        # What it is writing is let finish: a tick is decided in milliseconds.
        _, unfinished = await asyncio.wait({task}, timeout=_PATIENCE)
        if unfinished:
            self._link.discard()
            task.cancel()
            await asyncio.wait({task}, timeout=_PATIENCE)
        await self._link.close()

    async def _run(self) -> None:
        await self._begun.wait()
        async with self._turn:
            self._serving = True
            await self._serve()

    async def _serve(self) -> None:
        backoff = Backoff(first=0.2, most=5.0)
        busy = Backoff(first=0.005, most=1.0)
        while not self._stopping:
            try:
                async with asyncio.timeout(_LIMIT), self._link.session() as session:
                    if time.monotonic() >= self._census_at:
                        await self._census.take(session)
                        self._census_at = time.monotonic() + _CENSUS_EVERY * random.uniform(0.9, 1.1)
                    wait = await self._see_to_all(session, busy)
                backoff.reset()
            except Exception as error:
                if not self._link.away(error):
                    known = is_away(error) or isinstance(error, asyncpg.PostgresError)
                    level = logging.WARNING if known else logging.ERROR
                    log.log(level, "schedules could not be seen to: %s", said(error), exc_info=not known)
                self._link.discard()
                wait = backoff.delay()
            await self._rest(wait)

    async def _rest(self, seconds: float) -> None:
        if not self._stopping:
            self._resting = True
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            self._resting = False
        self._wake.clear()

    async def _see_to_all(self, session: Session, busy: Backoff) -> float:
        """One look, and what is to be done; gives how long to wait for the next one."""
        now = time.monotonic()
        self._unable = {schedule: until for schedule, until in self._unable.items() if until > now}
        outlook = await store.read_due(session, without=self._unable.keys(), limit=_BATCH)
        looked = time.monotonic()
        self._watched = frozenset(str(run) for due in outlook.waiting for run in due.running)
        if outlook.due:
            assert outlook.now is not None
            done = 0
            for due in outlook.due:
                done += await self._see_to(session, due, outlook.now)
            if done:
                busy.reset()
                return 0.0
            # Somebody else is at them.
            return busy.delay()
        wait = min(self._poll, max(self._census_at - looked, 0.0))
        if outlook.next_at is not None and outlook.now is not None:
            ahead = (outlook.next_at - outlook.now).total_seconds() + random.uniform(0.0, _SPREAD)
            wait = min(wait, max(ahead - (time.monotonic() - looked), 0.0005))
        if outlook.waiting or self._unable:
            wait = min(wait, _QUEUE_LOOK)
        return wait

    async def _see_to(self, session: Session, due: store.Due, now: datetime) -> bool:
        """Decides about one schedule; whether anything came of it."""
        try:
            decision = _decision(due, now)
            # Of a queue only the first can be let go, unless all may run at once.
            queued = due.queued if due.overlap is Overlap.ALLOW else due.queued[:1]
            starts = [self._start(due, tick) for tick in (*queued, *decision.ticks)]
            made = await store.tick(
                session,
                due,
                next_at=decision.next_at,
                missed=decision.missed,
                new=decision.ticks,
                starts=starts,
                hint=self._hints,
            )
        except Exception as error:
            state = getattr(error, "sqlstate", None) or ""
            if state[:2] in _IN_THE_WAY:
                # A row of a run that is to be cancelled is somebody else's for longer than is waited for.
                self._unable[due.id] = time.monotonic() + _SHORTLY
                return True
            if is_away(error):
                raise
            log.warning("schedule %r cannot be seen to here, others may: %s", due.name, said(error))
            self._unable[due.id] = time.monotonic() + _UNABLE
            await store.note_problem(session, due.id, said(error))
            return True
        if made is None:
            return False
        if decision.missed:
            log.warning("schedule %r: of its missed ticks %d are left out", due.name, decision.missed)
        for tick in made:
            log.debug("schedule %r: the run of %s was started", due.name, tick.isoformat())
        return True

    def _start(self, due: store.Due, tick: datetime) -> tuple[datetime, datetime, str | None]:
        text = None
        if due.tick_parameter is not None and due.input is not None:
            plain = filled(self._seal.open(due.input), due.tick_parameter, tick, due.cadence.zone)
            text = self._seal.close(plain, what=f"the input of schedule {due.name!r}")
        return tick, tick + jitter_of(due.id, tick, due.jitter), text


def _decision(due: store.Due, now: datetime) -> Decision:
    if due.next_at is None or due.next_at > now:
        # It is here for its queue alone.
        return Decision(ticks=(), missed=0, next_at=due.next_at)
    return decide(
        due.cadence,
        due.span,
        next_at=due.next_at,
        now=now,
        not_before=due.not_before,
        catch_up=due.catch_up,
        limit=due.catch_up_limit,
    )
