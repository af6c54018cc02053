"""The group commit: everything that the runs of a worker want written goes through one fenced call at a time.

Idle: flush at once. A flush in flight: collect, and flush again when it returns. Who waits here waits for one round
trip, and a thousand who wait together pay for one commit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from holdfast.core.errors import HoldfastError, WorkerFenced
from holdfast.store import work
from holdfast.store.connect import is_away, said
from holdfast.supervise.backoff import Backoff
from holdfast.workflow.log_context import of_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from holdfast.store.link import Link
    from holdfast.worker.clock import DatabaseClock
    from holdfast.worker.held import Unit
    from holdfast.worker.herald import Herald
    from holdfast.worker.seams import Flush

log = logging.getLogger("holdfast.worker")

_MOST_UNITS = 1000
_MOST_BYTES = 8 * 1024 * 1024
_PATIENCE = 3  # a run whose row is busy waits for the next flush; at the third time, for the lock


class _Verdicts:
    """What became of each unit of a batch."""

    __slots__ = ("at", "busy", "committed", "elapsed", "lost", "overtaken", "rejected")

    def __init__(self) -> None:
        self.at: datetime | None = None
        self.elapsed = 0.0
        self.committed: list[Unit] = []
        self.busy: list[Unit] = []
        self.lost: list[Unit] = []
        self.overtaken: set[Unit] = set()
        """Of those that are busy: the ends of attempts that were completed from outside before."""
        self.rejected: list[tuple[Unit, BaseException]] = []


class GroupCommit:
    """Collects units and flushes them; tells each owner what became of it, from a callback and never from a task."""

    def __init__(
        self,
        link: Link,
        patient: Link,
        identity: work.Identity,
        clock: DatabaseClock,
        *,
        limit: float,
        fenced: Callable[[WorkerFenced], None],
        flushed: Callable[[Sequence[Unit]], None],
        told: Callable[[work.Flushed], None],
        doubted: Callable[[], None],
        herald: Herald,
        flush: Flush | None = None,
    ) -> None:
        self._link = link
        self._patient = patient
        self._identity = identity
        self._clock = clock
        self._limit = limit
        self._fenced = fenced
        self._flushed = flushed
        self._told = told
        self._doubted = doubted
        self._herald = herald
        self._call = flush
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Unit] = deque()
        self._scheduled = False
        self._flight: asyncio.Task[_Verdicts] | None = None
        self._waits: dict[asyncio.Task[_Verdicts], set[UUID]] = {}
        self._behind: dict[UUID, list[Unit]] = {}
        """What runs want written that wait for a busy row: their writes must not overtake each other."""
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._closed = False
        self.began: float | None = None
        """Loop time at which the flush in flight began: what the heartbeat looks at."""
        self.flushes = 0

    def add(self, unit: Unit) -> None:
        """Have these writes made; the owner hears of it."""
        if self._closed:
            return
        behind = self._behind.get(unit.run_id) if self._behind else None
        if behind is not None:
            behind.append(unit)
            return
        self._pending.append(unit)
        if self._flight is None and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._go)

    async def drained(self) -> None:
        """Returns when nothing is pending and nothing in flight."""
        while self._pending or self._flight or self._waits:
            await self._idle.wait()

    def close(self) -> None:
        """Drops what is pending: the worker is fenced, or has given everything back."""
        self._closed = True
        self._pending.clear()
        self._behind.clear()
        for task in (self._flight, *self._waits):
            if task is not None:
                task.cancel()

    def _go(self) -> None:
        self._scheduled = False
        if self._closed or not self._pending:
            self._settle_idle()
            return
        batch = self._take()
        self.began = self._loop.time()
        self._flight = self._loop.create_task(self._flush(self._link, batch, wait=False), name="holdfast flush")
        self._flight.add_done_callback(self._done)

    def _take(self) -> list[Unit]:
        pending = self._pending
        batch: list[Unit] = []
        size = 0
        if len(pending) <= _MOST_UNITS and sum(unit.size for unit in pending) <= _MOST_BYTES:
            batch.extend(pending)
            pending.clear()
            return batch
        while pending and len(batch) < _MOST_UNITS and (not batch or size + pending[0].size <= _MOST_BYTES):
            size += pending[0].size
            batch.append(pending.popleft())
        return batch

    def _done(self, task: asyncio.Task[_Verdicts]) -> None:
        self._flight = None
        self.began = None
        self._conclude(task)
        if self._pending and not self._closed:
            self._go()
        else:
            self._settle_idle()

    def _waited(self, task: asyncio.Task[_Verdicts]) -> None:
        behind = [unit for run_id in self._waits.pop(task) for unit in self._behind.pop(run_id, ())]
        self._conclude(task)
        for unit in behind:
            self.add(unit)
        if self._pending and self._flight is None and not self._scheduled and not self._closed:
            self._go()
        self._settle_idle()

    def _settle_idle(self) -> None:
        if not self._pending and self._flight is None and not self._waits and not self._scheduled:
            self._idle.set()

    def _conclude(self, task: asyncio.Task[_Verdicts]) -> None:
        if task.cancelled() or self._closed:
            return
        error = task.exception()
        if error is not None:
            self._closed = True
            self._fenced(error if isinstance(error, WorkerFenced) else WorkerFenced(f"the flush failed: {error!r}"))
            return
        verdicts = task.result()
        self.flushes += 1
        if self._herald.flushed:
            refused = len(verdicts.lost) + len(verdicts.rejected)
            self._herald.tell_flushed(len(verdicts.committed) + refused, refused, verdicts.elapsed)
        at = verdicts.at
        if at is not None:
            for unit in verdicts.committed:
                unit.owner.committed(unit, at)
        for unit in verdicts.lost:
            unit.owner.lost()
        if verdicts.lost:
            # Memory was wrong about these. If they are this worker's all the same, nobody else would ever take them.
            self._doubted()
        for unit, refusal in verdicts.rejected:
            if unit.is_beat:
                # Losing them costs a while of work after a crash; losing the run for it would cost more.
                log.warning(
                    "heartbeats of run %s could not be stored: %s",
                    unit.run_id,
                    refusal,
                    extra=of_run(unit.run_id, unit.owner.name),
                )
                unit.owner.committed(unit, self._clock.now())
            else:
                unit.owner.rejected(unit, refusal)
        if verdicts.busy:
            self._retry(verdicts.busy if not verdicts.overtaken else list(_left(verdicts)))
        self._flushed(verdicts.committed)

    def _retry(self, busy: Sequence[Unit]) -> None:
        of_run: dict[UUID, list[Unit]] = {}
        for unit in busy:
            unit.busy += 1
            of_run.setdefault(unit.run_id, []).append(unit)
        patient: dict[UUID, list[Unit]] = {}
        for run_id, units in of_run.items():
            if units[0].busy < _PATIENCE:
                # Before what the run has added meanwhile: its writes keep their order.
                self._pending.extendleft(reversed(units))
            else:
                # Siblings wait together: their parent's row is the one that others are at.
                end = units[-1].end
                patient.setdefault((end and end.parent) or run_id, []).extend(units)
        for units in patient.values():
            self._wait_for(units)

    def _wait_for(self, units: list[Unit]) -> None:
        # Somebody's transaction holds on to the row. Waiting for it here would hold up everybody else.
        runs = {unit.run_id for unit in units}
        behind = [unit for unit in self._pending if unit.run_id in runs]
        if behind:
            self._pending = deque(unit for unit in self._pending if unit.run_id not in runs)
        for run_id in runs:
            self._behind[run_id] = []
        for unit in behind:
            self._behind[unit.run_id].append(unit)
        task = self._loop.create_task(self._flush(self._patient, units, wait=True), name="holdfast patient flush")
        self._waits[task] = runs
        task.add_done_callback(self._waited)

    async def _flush(self, link: Link, batch: list[Unit], *, wait: bool) -> _Verdicts:
        verdicts = _Verdicts()
        began = self._loop.time()
        await self._write(link, batch, verdicts, wait=wait, again=False)
        verdicts.elapsed = self._loop.time() - began
        return verdicts

    async def _write(self, link: Link, batch: list[Unit], verdicts: _Verdicts, *, wait: bool, again: bool) -> None:
        backoff = Backoff()
        while batch:
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(self._limit), link.session() as session:
                    call = self._call or work.flush
                    flushed = await call(session, self._identity, batch, wait=wait, again=again)
            except Exception as error:
                verdict = _judge(error, again=again)
                # Whatever follows may be the second time: the answer may have been lost, not the call.
                again = True
                if verdict is _Verdict.FENCED:
                    raise WorkerFenced(f"{error}; other workers have its runs") from error
                if verdict is _Verdict.CULPRIT:
                    await self._single_out(link, batch, error, verdicts, wait=wait)
                    return
                if verdict is _Verdict.FOREIGN:
                    batch = self._without(batch, _named_in(error), verdicts)
                elif verdict is _Verdict.AWAY:
                    await self._pause(link, error, backoff.delay())
            else:
                # Of a call that was made before, the answer may be the time of the first.
                self._clock.observe(flushed.at, None if again else asked_at)
                self._sort(batch, flushed, verdicts)
                return

    async def _pause(self, link: Link, error: BaseException, delay: float) -> None:
        if not link.away(error):
            log.warning("flush failed (%s), trying again in %.2f s", said(error), delay)
        if not isinstance(error, asyncpg.PostgresError):
            link.discard()
        await asyncio.sleep(delay)

    def _sort(self, batch: list[Unit], flushed: work.Flushed, verdicts: _Verdicts) -> None:
        verdicts.at = flushed.at
        if flushed.tells:
            self._told(flushed)
        if not flushed.busy and not flushed.lost and not flushed.overtaken:
            verdicts.committed.extend(batch)
            return
        left_out = flushed.busy.union(run_id for run_id, _ in flushed.overtaken)
        for unit in batch:
            if unit.quiet is not None and (unit.run_id, unit.quiet) in flushed.overtaken:
                verdicts.overtaken.add(unit)
            if unit.run_id in left_out:
                verdicts.busy.append(unit)
            elif unit.run_id in flushed.lost:
                verdicts.lost.append(unit)
            else:
                verdicts.committed.append(unit)

    async def _single_out(
        self, link: Link, batch: list[Unit], error: BaseException, verdicts: _Verdicts, *, wait: bool
    ) -> None:
        """Splits the batch, by run and never by row, until the culprit stands alone."""
        runs = list(dict.fromkeys(unit.run_id for unit in batch))
        if len(runs) == 1:
            foreign = isinstance(error, asyncpg.UniqueViolationError)
            for unit in batch:
                if foreign:
                    verdicts.lost.append(unit)
                else:
                    verdicts.rejected.append((unit, error))
            return
        first = set(runs[: len(runs) // 2])
        for half in ([u for u in batch if u.run_id in first], [u for u in batch if u.run_id not in first]):
            await self._write(link, half, verdicts, wait=wait, again=True)

    @staticmethod
    def _without(batch: list[Unit], runs: set[UUID], verdicts: _Verdicts) -> list[Unit]:
        verdicts.lost.extend(unit for unit in batch if unit.run_id in runs)
        return [unit for unit in batch if unit.run_id not in runs]


def _left(verdicts: _Verdicts) -> Iterator[Unit]:
    """What is still to be written, in its order."""
    for unit in verdicts.busy:
        left = unit.owner.overtaken(unit) if unit in verdicts.overtaken else unit
        if left is not None:
            yield left


class _Verdict(Enum):
    """What an error of a flush means. Only errors of the data may fail a run; all others are tried again."""

    FENCED = auto()
    FOREIGN = auto()
    """Some runs, named in the error, have another holder."""
    AGAIN = auto()
    CULPRIT = auto()
    """One of the runs wants something written that can never be."""
    AWAY = auto()


def _judge(error: Exception, *, again: bool) -> _Verdict:
    state = (getattr(error, "sqlstate", None) or "") if isinstance(error, asyncpg.PostgresError) else ""
    if isinstance(error, WorkerFenced) or state == "HF001":
        return _Verdict.FENCED
    if state == "HF006":
        return _Verdict.FOREIGN
    if state == "23505" and not again:
        return _Verdict.AGAIN
    # The driver's own errors of this kind: it could not encode a value, which never reached the server.
    if state[:2] in {"22", "23", "54"} or isinstance(
        error, asyncpg.DataError | TypeError | OverflowError | UnicodeError
    ):
        return _Verdict.CULPRIT
    if is_away(error) or isinstance(error, HoldfastError | asyncpg.PostgresError | asyncpg.InterfaceError):
        return _Verdict.AWAY
    raise error


def _named_in(error: BaseException) -> set[UUID]:
    detail = getattr(error, "detail", None) or ""
    return {UUID(word) for word in str(detail).split()}
