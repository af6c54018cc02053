"""Looking out: one loop that asks the database for everything that is waited for.

It looks often at first and less often while nothing comes, and at once when a hint says that something has. So a
thousand waits cost a few statements per second, and without hints everything still arrives.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from holdfast.store.connect import is_away, translate
from holdfast.supervise.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.client.database import Database
    from holdfast.client.ear import Ear
    from holdfast.core.errors import HoldfastError
    from holdfast.store.session import Session

MOST = 1000
"""So much is asked for in one statement at most."""

_FIRST_INTERVAL = 0.02
_LONGEST_INTERVAL = 1.0
_SHORTEST_GAP = 0.0002
_LONGEST_GAP = 0.2
_GAP_PER_WAIT = 0.0002
_LIMIT = 5.0
"""Seconds that a look at so much may take; a connection that is half-open is given up then."""


class Watched(Protocol):
    """What is waited for, by whoever knows how to look for it."""

    @property
    def open(self) -> int:
        """How much is waited for."""
        ...

    async def look_at_all(self, session: Session) -> bool:
        """One look at everything; says whether any of it has come."""
        ...

    def give_up(self, error: Callable[[], HoldfastError], cause: Exception | None) -> None:
        """Ends every wait with an error, one each."""
        ...


class Lookout:
    """The loop for one kind of things that are waited for. It runs from the first wait to its close."""

    def __init__(self, database: Database, ear: Ear, watched: Watched, *, name: str) -> None:
        self._database = database
        self._ear = ear
        self._watched = watched
        self._name = name
        self._stirred = asyncio.Event()
        self._interval = _FIRST_INTERVAL
        self._service: asyncio.Task[None] | None = None
        self.resting = False
        """Whether it has looked, and now waits for a hint or the next time."""

    @property
    def settled(self) -> bool:
        """Whether it rests, with nothing to look for before the next time, and hears what there is to hear."""
        return self.resting and not self._stirred.is_set() and self._ear.listening is self._ear.wanted

    def begin(self) -> None:
        """Somebody has begun to wait."""
        self._interval = _FIRST_INTERVAL
        self._stirred.set()
        self._ear.listen()
        if self._service is None:
            self._service = asyncio.get_running_loop().create_task(self._look_on(), name=f"holdfast {self._name}")

    def stir(self) -> None:
        """Something may have come."""
        self._stirred.set()

    async def close(self) -> None:
        """Looks no more."""
        if self._service is not None:
            self._service.cancel()
            await asyncio.wait([self._service])

    async def _look_on(self) -> None:
        backoff = Backoff()
        watched = self._watched
        while True:
            if not watched.open:
                self._stirred.clear()
                await self._stirred.wait()
            self._stirred.clear()
            try:
                async with self._database.raw_session(limit=_LIMIT * (1 + watched.open // MOST)) as session:
                    found = await watched.look_at_all(session)
            except Exception as error:
                if not is_away(error):
                    # Nobody may wait for ever for a look that cannot succeed.
                    watched.give_up(partial(translate, error, self._database.dsn), error)
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            # The more a look is for, the more it costs, and the longer is the least time to the next.
            gap = min(max(watched.open * _GAP_PER_WAIT, _SHORTEST_GAP), _LONGEST_GAP)
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
