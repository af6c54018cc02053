"""The roof: what the workers of one process share, so that a lane more costs rows, and no connection and no poll.

A worker that is alone under its roof has everything for itself. Where there are several, each with a lane and a lease
of its own, few connections serve all, one heart renews their leases, one glance finds what is due in lanes that rest,
and what one of them does for the whole database is done by one at a time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.store.link import Link, Notice
from holdfast.store.outage import Outage
from holdfast.worker.glance import Glance
from holdfast.worker.heart import Heart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from datetime import timedelta

    from holdfast.core.mode import ModeName
    from holdfast.core.settings import WorkerSettings
    from holdfast.store.statements import Statements
    from holdfast.worker.beside import Beside
    from holdfast.worker.recovery import Recovery

ALONE = 6
"""The most connections of a worker alone: claims, flushes, heartbeat, control, busy rows, what runs beside it."""

_SIDE_BY_SIDE = {"claims": 4, "flushes": 4}
"""How many connections several workers share for what each of them does often; one for everything else."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Shared:
    """A connection that several workers use in turns; each hears what it hears."""

    link: Link = field(init=False)
    users: int = 0
    notices: list[Notice] = field(default_factory=list[Notice])
    listening: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def hear(self, payload: str) -> None:
        for notice in self.notices:
            notice(payload)

    def listens(self) -> None:
        for listening in self.listening:
            listening()


class Roof:
    """What is over the workers of one process, of one app and one database, that have these settings."""

    def __init__(self, workers: Sequence[WorkerSettings]) -> None:
        self.glance: Glance | None = None
        """None for one that is alone, which polls by itself."""
        self.workers = len(workers)
        self.outage = Outage()
        """Whether the database is away: known to all that is in this process."""
        if len(workers) > 1:
            self.glance = Glance(
                poll=min(one.poll for one in workers), lead=max(one.bucket_buffer_lead_time for one in workers)
            )
        self.scheduling = asyncio.Lock()
        """Held by the one who sees to schedules."""
        self.days = asyncio.Lock()
        """Held by the one who makes the tables of days to come."""
        self._recovering: defaultdict[ModeName, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._glancing = asyncio.Lock()
        self._recoveries: dict[ModeName, Recovery] = {}
        self._heart: Heart | None = None
        self._shared: dict[tuple[object, ...], _Shared] = {}
        self._places: defaultdict[str, int] = defaultdict(int)
        self._opening = asyncio.Lock()
        self._checked: bool | None = None
        self._refusal: Exception | None = None

    @property
    def connections(self) -> int:
        """The most that they open together, but for those of transactional activities."""
        return ALONE - len(_SIDE_BY_SIDE) + sum(min(most, self.workers) for most in _SIDE_BY_SIDE.values())

    @asynccontextmanager
    async def opening(self) -> AsyncGenerator[None]:
        """One opens after the other; where one cannot, none can: a server may take long to say nothing."""
        async with self._opening:
            if self._refusal is not None:
                raise self._refusal
            try:
                yield
            except Exception as error:
                self._refusal = error
                raise

    async def once(self, check: Callable[[], Awaitable[bool]]) -> bool:
        """What ``check`` gives or raises; it is asked once for all of them."""
        async with self.opening():
            if self._checked is None:
                self._checked = await check()
            return self._checked

    # -- connections

    def link(
        self,
        purpose: str,
        dsn: str,
        statements: Statements,
        *,
        worker: str,
        transaction_timeout: timedelta | None,
        notice: Notice | None = None,
        listening: Callable[[], None] | None = None,
    ) -> Link:
        """A connection for this purpose, until it is given back."""

        def made(notice: Notice | None, listening: Callable[[], None] | None) -> Link:
            return Link(
                dsn,
                statements,
                application=f"holdfast {purpose} {worker}",
                notice=notice,
                listening=listening,
                transaction_timeout=transaction_timeout,
                outage=self.outage,
            )

        if self.workers == 1:
            return made(notice, listening)
        place = self._places[purpose] % _SIDE_BY_SIDE.get(purpose, 1)
        self._places[purpose] += 1
        key = (purpose, place, transaction_timeout, notice is None)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared()
            shared.link = made(None if notice is None else shared.hear, shared.listens)
        shared.users += 1
        if notice is not None:
            shared.notices.append(notice)
        if listening is not None:
            shared.listening.append(listening)
        return shared.link

    async def give_back(
        self, link: Link, notice: Notice | None = None, listening: Callable[[], None] | None = None
    ) -> None:
        """It is not needed any more; if by nobody, it is closed."""
        found = next(((key, shared) for key, shared in self._shared.items() if shared.link is link), None)
        if found is None:
            await link.close()
            return
        key, shared = found
        shared.users -= 1
        if notice is not None:
            shared.notices.remove(notice)
        if listening is not None:
            shared.listening.remove(listening)
        if not shared.users:
            del self._shared[key]
            await link.close()

    def heart(
        self,
        dsn: str,
        statements: Statements,
        *,
        worker: str,
        transaction_timeout: timedelta | None,
        beside: Callable[[str], Beside],
    ) -> Heart:
        """The one that renews their leases."""
        if self._heart is None or self._heart.is_over:
            self._heart = Heart(
                dsn,
                statements,
                application=f"holdfast heartbeat {worker}",
                transaction_timeout=transaction_timeout,
                beside=beside("holdfast heartbeat"),
                outage=self.outage,
            )
        return self._heart

    # -- what one of them does for all

    async def recover(self, recovery: Recovery, mode: ModeName) -> None:
        """Recovers until it is cancelled, whenever no other of this mode does: what is done says the mode."""
        async with self._recovering[mode]:
            self._recoveries[mode] = recovery
            await recovery.run()

    def ask_recovery(self) -> None:
        """There is something to be seen to: requests to cancel."""
        for recovery in self._recoveries.values():
            recovery.ask()

    async def look(self, glance: Glance, link: Link) -> None:
        """Looks at all lanes that rest until it is cancelled, whenever no other of them does."""
        async with self._glancing:
            await glance.run(link)
