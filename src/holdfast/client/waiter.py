"""Waiting for results: one waiter for all the runs that a client waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client.database import closed
from holdfast.client.lookout import MOST, Lookout
from holdfast.core.errors import HoldfastError, InvalidInput, RunNotFound
from holdfast.store.runs import Ended, Known, read_ended, read_known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.client.database import Database
    from holdfast.client.ear import Ear
    from holdfast.store.session import Session

_FIRST_CHECK = 5.0
_CHECK_EVERY = 60.0
"""How often it is made sure that a run which has not ended is there at all."""


class Waiter:
    """Waits for the ends of any number of runs. A wait that is cancelled leaves nothing behind."""

    def __init__(self, database: Database, ear: Ear) -> None:
        self._database = database
        self._waits: dict[UUID, _Wait] = {}
        self._unknown: set[UUID] = set()
        self._closed = False
        self.lookout = Lookout(database, ear, self, name="results")
        ear.attach(heard=self._hear, opened=self.lookout.stir)

    async def wait(self, run_id: UUID, *, name: str | None = None, known: bool = False) -> Ended:
        """How the run, or what it has become, ended, once it has. One not ``known`` to exist is looked for first.

        Raises:
            RunNotFound: there is no such run.
            InvalidInput: the run is one of another ``name``.
        """
        ended = await self._wait(run_id, name=name, known=known)
        while ended.newest is not None:
            try:
                ended = await self._wait(ended.newest, name=name, known=True)
            except RunNotFound:
                # It went on, and its record has gone meanwhile: the first of all still leads to what it has become.
                ended = await self._wait(run_id, name=name, known=False)
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
        self.lookout.begin()
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
        """Ends every wait with an error."""
        self._closed = True
        await self.lookout.close()
        self.give_up(closed, None)

    # ---- looking

    @property
    def open(self) -> int:
        """How many runs are waited for."""
        return len(self._waits)

    async def look_at_all(self, session: Session) -> bool:
        """One look at everything that is waited for; says whether any of it has ended."""
        found = False
        now = asyncio.get_running_loop().time()
        for run_id, wait in self._waits.items():
            if now >= wait.check_at:
                # Its record may have been removed.
                wait.check_at = now + _CHECK_EVERY
                self._unknown.add(run_id)
        unknown = list(self._unknown)
        known = [run_id for run_id in self._waits if run_id not in self._unknown]
        for some in _cut(unknown):
            seen = await read_known(session, some)
            for run_id in some:
                found |= self._meet(run_id, seen.get(run_id))
        for some in _cut(known):
            for run_id, ended in (await read_ended(session, some)).items():
                found |= self._tell(run_id, ended)
        return found

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every wait with an error, one each."""
        for run_id in list(self._waits):
            self._fail(run_id, error(), cause)

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

    def _hear(self, payload: str) -> None:
        # The channel is open to everybody in the database: what is not understood is not for us.
        ids = payload.split()[1:] if payload.startswith("end ") else ()
        if any(run_id == "*" or _parsed(run_id) in self._waits for run_id in ids):
            self.lookout.stir()


class _Wait:
    """Those who wait for one run, each with the name that it expects the run to have."""

    __slots__ = ("answers", "check_at", "name")

    def __init__(self) -> None:
        self.answers: dict[asyncio.Future[Ended], str | None] = {}
        self.name: str | None = None
        self.check_at = asyncio.get_running_loop().time() + _FIRST_CHECK


def _check_name(run_id: UUID, expected: str | None, name: str) -> None:
    if expected is not None and expected != name:
        raise InvalidInput(f"run {run_id} is one of {name!r}, not of {expected!r}")


def _parsed(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _cut(runs: Sequence[UUID]) -> list[Sequence[UUID]]:
    return [runs[start : start + MOST] for start in range(0, len(runs), MOST)]
