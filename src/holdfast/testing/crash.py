"""Crashes on purpose: a worker is lost at one exact moment, and another takes over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from holdfast.core.errors import WorkerFenced
from holdfast.store import work
from holdfast.store.writes import Writes
from holdfast.worker.held import Unit
from holdfast.worker.job_run import JobRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.store.session import Session

When = Literal["before", "after"]

END = "end"
"""In place of a key: the end of the run."""


class CrashPoint:
    """A moment at which the worker is lost, once; made by :meth:`Env.crash_at`."""

    def __init__(self, key: str, *, when: When, run: UUID | None) -> None:
        self.key = key
        self.when = when
        self.run = run
        self.happened = False
        """Whether the worker was lost here."""

    def meets(self, unit: Writes) -> bool:
        """Whether what is to be written is what it waits for."""
        if self.happened or self.run not in (None, unit.run_id):
            return False
        if any(row.key == self.key for row in unit.journal):
            return True
        if unit.end is None:
            return False
        # The outcome of a job is its end.
        return self.key == END or (
            isinstance(unit, Unit) and isinstance(unit.owner, JobRun) and unit.owner.key == self.key
        )

    def __repr__(self) -> str:
        of = "" if self.run is None else f" of run {self.run}"
        return f"<crash {self.when} {self.key}{of} is recorded, {'happened' if self.happened else 'not reached'}>"


class CrashingFlush:
    """What the workers of an environment flush with: at a crash point the one that flushes is lost.

    Its connection breaks, before the call or after its commit, and its lease is over: so nothing that it still wants to
    write is accepted, and who comes next has its runs at once.
    """

    def __init__(self, points: Sequence[CrashPoint], end_lease: Callable[[int], Awaitable[None]]) -> None:
        self._points = points
        self._end_lease = end_lease

    async def __call__(
        self, session: Session, identity: work.Identity, writes: Iterable[Writes], /, *, wait: bool, again: bool
    ) -> work.Flushed:
        batch = list(writes)
        point = next((point for point in self._points for unit in batch if point.meets(unit)), None)
        if point is None:
            return await work.flush(session, identity, batch, wait=wait, again=again)
        point.happened = True
        if point.when == "after":
            await work.flush(session, identity, batch, wait=wait, again=again)
        session.connection.terminate()
        await self._end_lease(identity.worker)
        raise _lost(point)

    async def commit(self, unit: Unit, identity: work.Identity, commit: Callable[[], Awaitable[None]], /) -> None:
        """The same for what a transactional activity commits."""
        point = next((point for point in self._points if point.meets(unit)), None)
        if point is None:
            await commit()
            return
        point.happened = True
        if point.when == "after":
            await commit()
        await self._end_lease(identity.worker)
        raise _lost(point)


def _lost(point: CrashPoint) -> WorkerFenced:
    return WorkerFenced(f"the worker is lost on purpose, {point.when} {point.key} is recorded")
