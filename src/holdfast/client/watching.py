"""Watching how far attempts are: one look now and then at all that a client watches."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client.database import closed
from holdfast.client.lookout import MOST
from holdfast.core.errors import HoldfastError, RunNotFound, Unreadable
from holdfast.core.progress import Progress, read_progress
from holdfast.store.connect import is_away, translate
from holdfast.store.runs import Reported, read_reports
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from holdfast.client.context import Context
    from holdfast.client.database import Database
    from holdfast.client.ear import Ear
    from holdfast.core.seal import Seal

PACE = 0.5
"""Seconds between two looks; attempts report no oftener. The end of a run is seen at once, where hints arrive."""
_LIMIT = 5.0


async def progress(context: Context, run_id: UUID) -> Progress | None:
    """What was reported last of the attempts of this run that are under way.

    Raises:
        RunNotFound: there is no such run.
    """
    rows = await context.database.call(lambda session: read_reports(session, [run_id]))
    if not rows:
        raise RunNotFound(run_id)
    return newest(rows, context.seal)


async def watch(context: Context, run_id: UUID) -> AsyncIterator[Progress]:
    """What is reported of the run from now on, until it has ended."""
    seen: Progress | None = None
    while (seen := await context.watchers.next(run_id, seen)) is not None:
        yield seen


def newest(rows: Sequence[Reported], seal: Seal) -> Progress | None:
    """The last of these reports that can be read here."""
    reports = [report for row in rows if (report := _report(row, seal)) is not None]
    return max(reports, key=lambda report: report.at, default=None)


def by_key(rows: Sequence[Reported], seal: Seal) -> dict[str, Progress]:
    """Those of these reports that can be read here, by the keys of their steps."""
    reports = [report for row in rows if (report := _report(row, seal)) is not None]
    return {report.key: report for report in sorted(reports, key=lambda report: report.key)}


def _report(row: Reported, seal: Seal) -> Progress | None:
    if row.report is None or row.key is None or row.attempt is None or row.at is None:
        return None
    try:
        return read_progress(seal.open(row.report), key=row.key, attempt=row.attempt, at=row.at)
    except Unreadable:
        return None


class Watchers:
    """All those of one client who wait for something to be reported. A wait that is cancelled leaves nothing behind."""

    def __init__(self, database: Database, ear: Ear, seal: Seal) -> None:
        self._database = database
        self._ear = ear
        self._seal = seal
        self._waits: dict[UUID, dict[asyncio.Future[Progress | None], Progress | None]] = {}
        self._awaited = asyncio.Event()
        self._stirred = asyncio.Event()
        self._service: asyncio.Task[None] | None = None
        self._closed = False
        self.looks = 0
        ear.attach(heard=self._hear, opened=self._stirred.set)

    async def next(self, run_id: UUID, seen: Progress | None) -> Progress | None:
        """The first report of the run that is newer than the one ``seen``; None once the run has ended.

        Raises:
            RunNotFound: there is no such run.
        """
        if self._closed:
            raise closed()
        answer: asyncio.Future[Progress | None] = asyncio.get_running_loop().create_future()
        self._waits.setdefault(run_id, {})[answer] = seen
        self._awaited.set()
        self._ear.listen()
        if self._service is None:
            self._service = asyncio.get_running_loop().create_task(self._look_on(), name="holdfast progress")
        try:
            return await answer
        finally:
            waits = self._waits.get(run_id, {})
            waits.pop(answer, None)
            if not waits:
                self._waits.pop(run_id, None)

    async def close(self) -> None:
        """Ends every wait with an error."""
        self._closed = True
        if self._service is not None:
            self._service.cancel()
            await asyncio.wait([self._service])
        self._give_up(closed, None)

    async def _look_on(self) -> None:
        backoff = Backoff()
        while True:
            if not self._waits:
                self._awaited.clear()
                await self._awaited.wait()
            self._stirred.clear()
            try:
                await self._look()
            except Exception as error:
                if not is_away(error):
                    # Nobody may wait for ever for a look that cannot succeed.
                    self._give_up(partial(translate, error, self._database.dsn), error)
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            try:
                async with asyncio.timeout(PACE):
                    await self._stirred.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        self.looks += 1
        watched = list(self._waits)
        async with self._database.raw_session(limit=_LIMIT * (1 + len(watched) // MOST)) as session:
            for start in range(0, len(watched), MOST):
                asked = watched[start : start + MOST]
                rows: dict[UUID, list[Reported]] = {run_id: [] for run_id in asked}
                for row in await read_reports(session, asked):
                    rows[row.asked].append(row)
                for run_id, found in rows.items():
                    self._tell(run_id, found)

    def _tell(self, run_id: UUID, rows: Sequence[Reported]) -> None:
        report = newest(rows, self._seal)
        ended = bool(rows) and rows[0].ended
        for answer, seen in self._waits.get(run_id, {}).items():
            if answer.done():
                continue
            if not rows:
                answer.set_exception(RunNotFound(run_id))
            elif report is not None and (seen is None or (report.at, report.key) != (seen.at, seen.key)):
                answer.set_result(report)
            elif ended:
                answer.set_result(None)

    def _give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        waits, self._waits = self._waits, {}
        for answers in waits.values():
            for answer in answers:
                if not answer.done():
                    failed = error()
                    failed.__cause__ = cause
                    answer.set_exception(failed)

    def _hear(self, payload: str) -> None:
        # The channel is open to everybody in the database: what is not understood is not for us.
        word, *runs = payload.split() or [""]
        if word == "end" and self._waits and ("*" in runs or not {str(one) for one in self._waits}.isdisjoint(runs)):
            self._stirred.set()
