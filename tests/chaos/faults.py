"""The faults, and the order in which a seed deals them."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from tests.faults.proxy import Loss, Proxy

if TYPE_CHECKING:
    from tests.chaos.crew import Crew
    from tests.chaos.load import Load
    from tests.faults.machine import Machine

Fault = Callable[[], Awaitable[None]]

_LEASE = 3.0
_PAUSES = (0.3, 2.5)


class Network(NamedTuple):
    """What lies before the server."""

    near: Proxy
    """On the way of the client."""
    far: Proxy
    """On that of the workers."""


class Faults:
    """Breaks something, then something else. What it breaks for a while it mends itself."""

    def __init__(self, machine: Machine, crew: Crew, load: Load, network: Network, chance: random.Random) -> None:
        self._machine = machine
        self._crew = crew
        self._load = load
        self._network = network
        self._chance = chance
        self._lasting: set[asyncio.Task[None]] = set()
        self.dealt = Counter[str]()
        self._deck: dict[str, tuple[int, Fault]] = {
            "kill -9": (10, self._kill),
            "SIGSTOP beyond the lease": (4, self._freeze),
            "SIGTERM": (4, self._terminate),
            "server: fast restart": (2, lambda: self._restart(signal.SIGINT)),
            "server: immediate restart": (2, lambda: self._restart(signal.SIGQUIT)),
            "server: a backend crashes": (1, self._crash),
            "backends terminated": (5, self._end_backends),
            "connections cut": (5, self._cut),
            "network delayed": (4, self._delay),
            "connections half-open": (3, self._swallow),
            "answers to COMMIT lost": (6, self._lose),
            "hints dropped": (2, self._deafen),
            "connections exhausted": (2, self._exhaust),
            "a transaction left open on hot rows": (4, self._lock),
            "a worker's clock an hour off": (2, self._misset),
            "the other version deployed": (3, self._deploy),
            "a poison run": (1, self._poison),
        }

    async def run(self, only: frozenset[str] = frozenset()) -> None:
        """Deals, until it is cancelled."""
        deck = {name: card for name, card in self._deck.items() if not only or name in only}
        while True:
            await asyncio.sleep(self._chance.uniform(*_PAUSES))
            name = self._chance.choices(list(deck), [share for share, _ in deck.values()])[0]
            self.dealt[name] += 1
            await deck[name][1]()
            await self._crew.fill()

    async def mend(self) -> None:
        """Ends what lasts, and leaves nothing broken."""
        while self._lasting:
            await asyncio.wait(self._lasting)
        for proxy in self._network:
            proxy.heal()
            proxy.delay, proxy.deaf = None, None
            proxy.losses.clear()

    def _last(self, work: Awaitable[None]) -> None:
        async def lasting() -> None:
            await work

        task = asyncio.create_task(lasting())
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    # -- workers

    async def _kill(self) -> None:
        if (one := self._crew.any(self._chance)) is not None:
            await self._crew.kill(one)

    async def _freeze(self) -> None:
        one = self._crew.any(self._chance)
        if one is None:
            return
        seconds = _LEASE * self._chance.uniform(1.1, 2.0)

        async def frozen() -> None:
            with suppress(ProcessLookupError):
                one.send(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                one.send(signal.SIGCONT)

        self._last(frozen())

    async def _terminate(self) -> None:
        if (one := self._crew.any(self._chance)) is not None:
            one.send(signal.SIGTERM)
            with suppress(TimeoutError):
                await one.exit(patience=10)

    async def _misset(self) -> None:
        self._crew.misset(self._chance.choice((-1, 1)))
        await self._kill()

    async def _deploy(self) -> None:
        self._crew.deploy()
        await self._terminate()

    async def _poison(self) -> None:
        self._load.poison()

    # -- the server

    async def _restart(self, number: signal.Signals) -> None:
        await self._machine.restart(number)

    async def _crash(self) -> None:
        flushes = "select exists (select from pg_stat_activity where application_name like 'holdfast flushes %')"
        if await self._machine.ask(flushes):
            await self._machine.crash()

    async def _end_backends(self) -> None:
        share = self._chance.choice((0.2, 1.0))
        await self._machine.ask(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name like 'holdfast%' and random() < $1",
            share,
        )

    async def _exhaust(self) -> None:
        most = int(await self._machine.ask("select current_setting('max_connections')::int") or 0)
        taken: list[asyncpg.Connection[asyncpg.Record]] = []
        try:
            while len(taken) < most:
                taken.append(await asyncpg.connect(self._machine.house.dsn))
        except (asyncpg.PostgresError, OSError):
            await asyncio.sleep(self._chance.uniform(0.5, 2.0))
        finally:
            for connection in taken:
                connection.terminate()

    async def _lock(self) -> None:
        seconds = self._chance.uniform(0.5, 4.0)

        async def locked() -> None:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection = await asyncpg.connect(self._machine.house.dsn)
                try:
                    async with connection.transaction():
                        await connection.execute(
                            "select from holdfast.task order by random() limit 5 for update skip locked"
                        )
                        await asyncio.sleep(seconds)
                finally:
                    connection.terminate()

        self._last(locked())

    # -- the network

    def _proxy(self) -> Proxy:
        return self._chance.choice((self._network.near, self._network.far, self._network.far))

    async def _cut(self) -> None:
        proxy = self._proxy()
        proxy.cut(refuse=self._chance.random() < 0.5)
        await asyncio.sleep(self._chance.uniform(0.1, 1.5))
        proxy.heal()

    async def _delay(self) -> None:
        proxy, most, seconds = self._proxy(), self._chance.uniform(0.01, 0.3), self._chance.uniform(1, 4)
        chance = random.Random(self._chance.random())

        async def delayed() -> None:
            proxy.delay = lambda: chance.uniform(0, most)
            await asyncio.sleep(seconds)
            proxy.delay = None

        self._last(delayed())

    async def _swallow(self) -> None:
        proxy = self._proxy()
        proxy.swallow()
        await asyncio.sleep(self._chance.uniform(0.2, 1.6 * _LEASE))
        proxy.heal()

    async def _lose(self) -> None:
        part = self._chance.choice(
            ("holdfast.flush(", "holdfast.claim(", "insert into holdfast.run ", "holdfast.signal(", "COMMIT")
        )
        proxy, share, seconds = self._proxy(), self._chance.uniform(0.05, 0.5), self._chance.uniform(0.5, 3)
        chance = random.Random(self._chance.random())
        loss: Loss = proxy.lose(part, lambda _place, _rows: chance.random() < share)

        async def losing() -> None:
            await asyncio.sleep(seconds)
            with suppress(ValueError):
                proxy.losses.remove(loss)

        self._last(losing())

    async def _deafen(self) -> None:
        proxy, seconds = self._proxy(), self._chance.uniform(2, 5)

        async def deaf() -> None:
            # Who listens has to begin again, and then hears nothing.
            proxy.deaf = "lost"
            proxy.cut()
            await asyncio.sleep(seconds)
            proxy.deaf = None
            proxy.cut()

        self._last(deaf())
