"""Waiting for results: one waiter for all the runs that a client waits for.

It asks the database for all of them in one statement, often at first and less often while nothing comes, and at once
when a hint says that one of them has ended. So a thousand waits cost a few statements per second, and without hints
everything still arrives.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client.database import closed
from holdfast.core.errors import HoldfastError, InvalidInput, RunNotFound
from holdfast.store.connect import is_away, translate
from holdfast.store.link import Link
from holdfast.store.runs import Ended, Known, read_ended, read_known
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.client.database import Database

MOST_RUNS = 1000
"""So many runs are asked for in one statement at most."""

_FIRST_INTERVAL = 0.02
_LONGEST_INTERVAL = 1.0
_SHORTEST_GAP = 0.002
_LONGEST_GAP = 0.2
_GAP_PER_RUN = 0.0002
_LISTEN_EVERY = 1.0
_LIMIT = 5.0
"""Seconds that a look at so many runs may take; a connection that is half-open is given up then."""


class Waiter:
    """Waits for the ends of any number of runs. A wait that is cancelled leaves nothing behind."""

    def __init__(self, database: Database, *, hints: bool) -> None:
        self._database = database
        self._waits: dict[UUID, _Wait] = {}
        self._unknown: set[UUID] = set()
        self._stirred = asyncio.Event()
        self._interval = _FIRST_INTERVAL
        self._services: list[asyncio.Task[None]] = []
        self._ear = (
            Link(database.dsn, database.statements, application=database.application, notice=self._hear)
            if hints
            else None
        )
        self._closed = False
        self.resting = False
        """Whether it has looked, and now waits for a hint or the next time."""
        self.listening = False
        """Whether hints arrive."""

    async def wait(self, run_id: UUID, *, name: str | None = None, known: bool = False) -> Ended:
        """How the run, or what it has become, ended, once it has. One not ``known`` to exist is looked for first.

        Raises:
            RunNotFound: there is no such run.
            InvalidInput: the run is one of another ``name``.
        """
        ended = await self._wait(run_id, name=name, known=known)
        while ended.newest is not None:
            ended = await self._wait(ended.newest, name=name, known=True)
        return ended

    async def _wait(self, run_id: UUID, *, name: str | None, known: bool) -> Ended:
        if self._closed:
            raise closed()
        wait = self._waits.get(run_id)
        if wait is None:
            wait = self._waits[run_id] = _Wait()
            if not known:
                self._unknown.add(run_id)
        elif wait.name is not None:
            _check_name(run_id, name, wait.name)
        answer: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        wait.answers[answer] = name
        self._interval = _FIRST_INTERVAL
        self._stirred.set()
        if not self._services:
            self._begin()
        try:
            return await answer
        finally:
            wait.answers.pop(answer, None)
            if not wait.answers and self._waits.get(run_id) is wait:
                self._forget(run_id)

    async def look(self, run_id: UUID, *, name: str | None = None) -> Ended | None:
        """How the run, or what it has become, ended; None if it has not. Errors as for ``wait``."""
        known = (await self._database.call(lambda session: read_known(session, [run_id]))).get(run_id)
        if known is None:
            raise RunNotFound(run_id)
        _check_name(run_id, name, known.name)
        if known.ended is not None and known.ended.newest is not None:
            return await self.look(known.ended.newest, name=name)
        return known.ended

    async def close(self) -> None:
        """Ends every wait with an error, and the connection that listens."""
        self._closed = True
        for task in self._services:
            task.cancel()
        if self._services:
            await asyncio.wait(self._services)
        for run_id in list(self._waits):
            self._fail(run_id, closed())
        if self._ear is not None:
            await self._ear.close()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._services.append(loop.create_task(self._look_on(), name="holdfast results"))
        if self._ear is not None:
            self._services.append(loop.create_task(self._listen(self._ear), name="holdfast hints"))

    # ---- looking

    async def _look_on(self) -> None:
        backoff = Backoff()
        while True:
            if not self._waits:
                self._stirred.clear()
                await self._stirred.wait()
            self._stirred.clear()
            try:
                found = await self._look()
            except Exception as error:
                if not is_away(error):
                    # Nobody may wait for ever for a look that cannot succeed.
                    for run_id in list(self._waits):
                        self._fail(run_id, translate(error, self._database.dsn), error)
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            # The more runs a look is for, the more it costs, and the longer is the least time to the next.
            gap = min(max(len(self._waits) * _GAP_PER_RUN, _SHORTEST_GAP), _LONGEST_GAP)
            await asyncio.sleep(gap)
            if found:
                self._interval = max(_FIRST_INTERVAL, gap)
            await self._stir(self._interval)
            self._interval = min(self._interval * 2, _LONGEST_INTERVAL)

    async def _stir(self, seconds: float) -> None:
        self.resting = not self._stirred.is_set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        self.resting = False

    async def _look(self) -> bool:
        """One look at everything that is waited for; says whether any of it has ended."""
        found = False
        unknown = list(self._unknown)
        known = [run_id for run_id in self._waits if run_id not in self._unknown]
        async with self._database.raw_session(limit=_LIMIT * (1 + len(self._waits) // MOST_RUNS)) as session:
            for some in _cut(unknown):
                seen = await read_known(session, some)
                for run_id in some:
                    found |= self._meet(run_id, seen.get(run_id))
            for some in _cut(known):
                for run_id, ended in (await read_ended(session, some)).items():
                    found |= self._tell(run_id, ended)
        return found

    def _meet(self, run_id: UUID, known: Known | None) -> bool:
        wait = self._waits.get(run_id)
        self._unknown.discard(run_id)
        if wait is None:
            return False
        if known is None:
            self._fail(run_id, RunNotFound(run_id))
            return False
        wait.name = known.name
        for answer, name in wait.answers.items():
            try:
                _check_name(run_id, name, known.name)
            except InvalidInput as error:
                if not answer.done():
                    answer.set_exception(error)
        return known.ended is not None and self._tell(run_id, known.ended)

    def _tell(self, run_id: UUID, ended: Ended) -> bool:
        wait = self._forget(run_id)
        if wait is None:
            return False
        for answer in wait.answers:
            if not answer.done():
                answer.set_result(ended)
        return True

    def _fail(self, run_id: UUID, error: HoldfastError, cause: Exception | None = None) -> None:
        wait = self._forget(run_id)
        error.__cause__ = cause
        for answer in wait.answers if wait else ():
            if not answer.done():
                answer.set_exception(error)

    def _forget(self, run_id: UUID) -> _Wait | None:
        self._unknown.discard(run_id)
        return self._waits.pop(run_id, None)

    # ---- listening

    async def _listen(self, ear: Link) -> None:
        backoff = Backoff()
        while True:
            if not ear.is_open:
                self.listening = False
                try:
                    async with ear.session():
                        pass
                except Exception:
                    # Results are found by looking; whoever waits learns from that what is wrong with the database.
                    await asyncio.sleep(backoff.delay())
                    continue
                backoff.reset()
                self.listening = True
                # What was said while nobody listened is lost.
                self._stirred.set()
            await asyncio.sleep(_LISTEN_EVERY)

    def _hear(self, payload: str) -> None:
        # The channel is open to everybody in the database: what is not understood is not for us.
        ids = payload.split()[1:] if payload.startswith("end ") else ()
        if any(run_id == "*" or _parsed(run_id) in self._waits for run_id in ids):
            self._stirred.set()


class _Wait:
    """Those who wait for one run, each with the name that it expects the run to have."""

    __slots__ = ("answers", "name")

    def __init__(self) -> None:
        self.answers: dict[asyncio.Future[Ended], str | None] = {}
        self.name: str | None = None


def _check_name(run_id: UUID, expected: str | None, name: str) -> None:
    if expected is not None and expected != name:
        raise InvalidInput(f"run {run_id} is one of {name!r}, not of {expected!r}")


def _parsed(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _cut(runs: Sequence[UUID]) -> list[Sequence[UUID]]:
    return [runs[start : start + MOST_RUNS] for start in range(0, len(runs), MOST_RUNS)]
