"""The faults, and the order in which a seed deals them."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from holdfast.client.database import DRIVER_ERRORS
from tests.chaos import rows
from tests.faults.proxy import Loss, Proxy

if TYPE_CHECKING:
    from tests.chaos.crew import Crew
    from tests.chaos.findings import Findings
    from tests.chaos.load import Load
    from tests.faults.machine import Machine
    from tests.house import WorkerProcess

Met = bool | Coroutine[Any, Any, bool]
"""Whether a fault has met anything; of one that lasts that is known when it is over."""
Fault = Callable[[], Awaitable[Met]]
Pauses = tuple[float, float]

_LEASE = 3.0
PAUSES: Pauses = (0.3, 2.5)
"""Seconds between two faults: at least, and at most."""
SHARES = {
    "kill -9": 10,
    "SIGSTOP beyond the lease": 4,
    "SIGTERM": 4,
    "server: fast restart": 2,
    "server: immediate restart": 2,
    "server: a backend crashes": 1,
    "backends terminated": 5,
    "connections cut": 5,
    "network delayed": 4,
    "connections half-open": 3,
    "answers to COMMIT lost": 6,
    "a flush arrives after the recovery": 3,
    "a flush arrives amid the recovery": 1,
    "a flush arrives as its worker leaves": 1,
    "a heartbeat arrives as the lease ends": 1,
    "hints dropped": 2,
    "connections exhausted": 2,
    "the client's pool exhausted": 2,
    "a worker's requests held up": 2,
    "a transaction left open on tasks": 3,
    "a transaction left open on a limit": 1,
    "a transaction left open on a schedule": 1,
    "a transaction left open on a parent": 1,
    "a transaction left open on a listener": 1,
    "a worker's clock an hour off": 2,
    "the other version deployed": 3,
    "a poison run": 1,
}
"""How often each fault is dealt, beside the others."""

_GOES_ON = "R4. work goes on when server and network are back"
_CAUGHT_WITHIN = 3.0
_LOOK = 0.005
_GIVEN_UP_AFTER = 30.0
POOL = 4
"""Connections that the client has."""
_CLIENT = "holdfast client"
_LEAVES_WITHIN = 15.0
SAID_BY_WORKERS = {
    "holdfast.flush(": 5,
    "holdfast.claim": 3,
    "holdfast.recover(": 1,
    "holdfast.heartbeat(": 1,
    "holdfast.register": 1,
    "holdfast.leave(": 1,
    "holdfast.tick(": 1,
    "holdfast.record(": 2,
    "COMMIT": 2,
}
SAID_BY_CLIENTS = {
    "insert into holdfast.run ": 4,
    "holdfast.start_many(": 2,
    "holdfast.put_signal(": 4,
    "holdfast.settle_messages(": 3,
    "holdfast.take_in_hand(": 2,
    "holdfast.take_driven(": 1,
    "holdfast.record_step(": 1,
    "holdfast.update(": 2,
    "holdfast.cancel(": 1,
    "holdfast.trigger_run(": 1,
    "holdfast.complete_attempt(": 1,
    "holdfast.continue_run(": 1,
    "holdfast.pause(": 1,
    "holdfast.resume(": 1,
    "holdfast.terminate(": 1,
    "holdfast.end_driven(": 1,
    "COMMIT": 3,
}
"""Statements whose answers are lost, how often each, on the way of the workers and on that of the client."""

_NAME = "select name from holdfast.worker where pid = $1 and ended_at is null order by id desc limit 1"
_RECOVERED = "select state = 'lost' from holdfast.worker where name = $1"
_TAKEN_FROM = """
select exists (
  select from pg_locks l
    join holdfast.worker w on l.objid::bigint = w.id
   where w.name = $1
     and l.locktype = 'advisory'
     and l.classid::bigint = (holdfast.fence_class()::bigint & 4294967295)
     and l.mode = 'ExclusiveLock'
     and l.granted
)
"""
_ABOUT_TO_END = """
select lease_until < clock_timestamp() + interval '150 milliseconds' from holdfast.worker where name = $1
"""


class Network(NamedTuple):
    """What lies before the server."""

    near: Proxy
    """On the way of the client."""
    far: Proxy
    """On that of the workers."""


class Faults:
    """Breaks something, then something else. What it breaks for a while it mends itself."""

    def __init__(
        self,
        machine: Machine,
        crew: Crew,
        load: Load,
        network: Network,
        chance: random.Random,
        *,
        findings: Findings,
        pauses: Pauses = PAUSES,
        answers: Sequence[str] | None = None,
        only: frozenset[str] = frozenset(),
    ) -> None:
        self._machine = machine
        self._crew = crew
        self._load = load
        self._findings = findings
        self._network = network
        self._chance = chance
        self._pauses = pauses
        by_workers, by_clients = SAID_BY_WORKERS, SAID_BY_CLIENTS
        if answers is not None:
            by_workers, by_clients = dict.fromkeys(answers, 1), dict[str, int]()
        self._answers = ((network.far, by_workers), (network.near, by_clients))
        self._over = asyncio.Event()
        self.resumptions: list[float] = []
        """After how many seconds something ended again, once the server or the network was back."""
        self._lasting: set[asyncio.Task[None]] = set()
        self.dealt = Counter[str]()
        """How often each has met something."""
        self.journal: list[tuple[float, str]] = []
        """All of them in their order, each with the seconds after the beginning at which it began."""
        self.missed = Counter[str]()
        """How often there was nothing to break, or to catch."""
        self.lost = Counter[str]()
        """Whose answers were lost, by what was said."""
        self._deck: dict[str, Fault] = {
            "kill -9": self._kill,
            "SIGSTOP beyond the lease": self._freeze,
            "SIGTERM": self._terminate,
            "server: fast restart": lambda: self._restart(signal.SIGINT),
            "server: immediate restart": lambda: self._restart(signal.SIGQUIT),
            "server: a backend crashes": self._crash,
            "backends terminated": self._end_backends,
            "connections cut": self._cut,
            "network delayed": self._delay,
            "connections half-open": self._swallow,
            "answers to COMMIT lost": self._lose,
            "a flush arrives after the recovery": lambda: self._belate("holdfast.flush(", _RECOVERED),
            "a flush arrives amid the recovery": lambda: self._belate("holdfast.flush(", _TAKEN_FROM),
            "a flush arrives as its worker leaves": self._outlive,
            "a heartbeat arrives as the lease ends": lambda: self._belate("holdfast.heartbeat(", _ABOUT_TO_END),
            "hints dropped": self._deafen,
            "connections exhausted": self._exhaust,
            "the client's pool exhausted": self._exhaust_pool,
            "a worker's requests held up": self._hold_up,
            "a transaction left open on tasks": lambda: self._lock(rows.TASKS),
            "a transaction left open on a limit": lambda: self._lock(rows.LIMIT),
            "a transaction left open on a schedule": lambda: self._lock(rows.SCHEDULE),
            "a transaction left open on a parent": lambda: self._lock(rows.PARENT),
            "a transaction left open on a listener": lambda: self._lock(rows.LISTENER),
            "a worker's clock an hour off": self._misset,
            "the other version deployed": self._deploy,
            "a poison run": self._poison,
        }
        self._shares = {name: share for name, share in SHARES.items() if not only or name in only}

    async def run(self) -> None:
        """Deals, until it is told to stop."""
        while not await self._told_to_stop(self._chance.uniform(*self._pauses)):
            name = self._chance.choices(list(self._shares), list(self._shares.values()))[0]
            self.journal.append((self._findings.age, name))
            await self.deal(name)
            await self._crew.fill()

    async def deal(self, name: str) -> None:
        """This one; what lasts is counted when it is over."""
        met = await self._deck[name]()
        if isinstance(met, bool):
            self._count(name, met=met)
        else:
            self._last(self._count_when_over(name, met))

    def _count(self, name: str, *, met: bool) -> None:
        (self.dealt if met else self.missed)[name] += 1

    async def _count_when_over(self, name: str, lasting: Awaitable[bool]) -> None:
        self._count(name, met=await lasting)

    def stop(self) -> None:
        """No further fault is dealt."""
        self._over.set()

    async def _told_to_stop(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self._over.is_set()

    async def mend(self) -> None:
        """Ends what lasts, and leaves nothing broken."""
        while self._lasting:
            await asyncio.wait(self._lasting)
        for proxy in self._network:
            proxy.heal()
            proxy.delay, proxy.deaf = None, None
            proxy.losses.clear()
            proxy.late = None
            proxy.muted.clear()

    def _last(self, work: Awaitable[None]) -> None:
        async def lasting() -> None:
            await work

        task = asyncio.create_task(lasting())
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    # -- workers

    async def _kill(self) -> bool:
        one = await self._crew.busy(self._chance)
        if one is not None:
            await self._crew.kill(one)
        return one is not None

    async def _freeze(self) -> bool:
        one = await self._crew.busy(self._chance)
        if one is not None:
            self._last(self._crew.freeze(one, _LEASE * self._chance.uniform(1.1, 2.0)))
        return one is not None

    async def _terminate(self) -> bool:
        one = self._crew.any(self._chance)
        if one is not None:
            await self._leave(one)
        return one is not None

    async def _leave(self, one: WorkerProcess) -> None:
        self._crew.tell(one)
        with suppress(TimeoutError):
            await one.exit(patience=_LEAVES_WITHIN)

    async def _misset(self) -> bool:
        self._crew.misset(self._chance.choice((-1, 1)))
        return await self._kill()

    async def _deploy(self) -> bool:
        self._crew.deploy()
        return await self._terminate()

    async def _poison(self) -> Met:
        return self._load.poison()

    # -- the server

    async def _restart(self, number: signal.Signals) -> bool:
        if not self._machine.comes_back:
            return False
        await self._machine.restart(number)
        self._last(self._resume())
        return True

    async def _resume(self) -> None:
        """How long it takes until something ends again."""
        began, since = time.monotonic(), await self._machine.ask("select clock_timestamp()")
        self._findings.looked[_GOES_ON] += since is not None
        while since is not None:
            if await self._machine.ask("select exists (select from holdfast.result where at > $1)", since):
                self.resumptions.append(time.monotonic() - began)
                return
            if time.monotonic() - began > _GIVEN_UP_AFTER:
                sentence = f"nothing has ended in {_GIVEN_UP_AFTER:g} s since it was back"
                self._findings.blame(_GOES_ON, sentence)
                return
            await asyncio.sleep(_LOOK)

    async def _crash(self) -> bool:
        if not await self._machine.crash():
            return False
        self._last(self._resume())
        return True

    async def _end_backends(self) -> bool:
        share = self._chance.choice((0.2, 1.0))
        ended = await self._machine.ask(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name like 'holdfast%' and random() < $1",
            share,
        )
        return bool(ended)

    async def _exhaust(self) -> bool:
        most = int(await self._machine.ask("select current_setting('max_connections')::int") or 0)
        taken: list[asyncpg.Connection[asyncpg.Record]] = []
        try:
            while len(taken) < most:
                taken.append(await asyncpg.connect(self._machine.house.dsn))
        except asyncpg.TooManyConnectionsError:
            await asyncio.sleep(self._chance.uniform(0.5, 2.0))
            return True
        except DRIVER_ERRORS:
            # It is away.
            return False
        finally:
            for connection in taken:
                connection.terminate()
        return False

    async def _lock(self, which: str) -> Met:
        return rows.leave_open(self._machine.house.dsn, which, self._chance.uniform(0.5, 4.0))

    # -- the network

    def _proxy(self) -> Proxy:
        return self._chance.choice((self._network.near, self._network.far, self._network.far))

    async def _cut(self) -> bool:
        proxy = self._proxy()
        met = proxy.connections > 0
        proxy.cut(refuse=self._chance.random() < 0.5)
        await asyncio.sleep(self._chance.uniform(0.1, 1.5))
        proxy.heal()
        if proxy is self._network.far:
            self._last(self._resume())
        return met

    async def _delay(self) -> Met:
        proxy, most, seconds = self._proxy(), self._chance.uniform(0.01, 0.3), self._chance.uniform(1, 4)
        chance, requests = random.Random(self._chance.random()), 0

        def delay() -> float:
            nonlocal requests
            requests += 1
            return chance.uniform(0, most)

        async def delayed() -> bool:
            proxy.delay = delay
            await asyncio.sleep(seconds)
            if proxy.delay is delay:
                proxy.delay = None
            return requests > 0

        return delayed()

    async def _exhaust_pool(self) -> Met:
        """What the client asks waits, until all of its connections do; and then for a while whoever wants one."""
        return self._hold(self._network.near, _CLIENT, POOL, self._chance.uniform(0.5, 3.0))

    async def _hold_up(self) -> Met:
        """What one of the workers says stays on its way, perhaps until its lease is over, and arrives after all."""
        seconds = self._chance.uniform(0.5, 1.6 * _LEASE)
        one = await self._crew.busy(self._chance)
        name = None if one is None else await self._machine.ask(_NAME, one.pid)
        return False if name is None else self._hold(self._network.far, f" {name}", 1, seconds)

    async def _hold(self, proxy: Proxy, part: str, least: int, seconds: float) -> bool:
        hold = proxy.hold(part)
        await asyncio.sleep(seconds)
        proxy.release(hold)
        return hold.most >= least

    async def _swallow(self) -> bool:
        proxy = self._proxy()
        met = proxy.connections > 0
        proxy.swallow()
        await asyncio.sleep(self._chance.uniform(0.2, 1.6 * _LEASE))
        proxy.heal()
        if proxy is self._network.far:
            self._last(self._resume())
        return met

    async def _lose(self) -> Met:
        """Those to one kind of statement, or to a few, where it is said."""
        proxy, parts = self._chance.choice([way for way in self._answers if way[1]])
        part = self._chance.choices(list(parts), list(parts.values()))[0]
        share, seconds = self._chance.uniform(0.1, 0.7), self._chance.uniform(1, 4)
        chance = random.Random(self._chance.random())
        loss: Loss = proxy.lose(part, lambda _place, _rows: chance.random() < share)

        async def losing() -> bool:
            await asyncio.sleep(seconds)
            proxy.losses.remove(loss)
            self.lost[part] += loss.lost
            return loss.lost > 0

        return losing()

    async def _belate(self, part: str, moment: str) -> bool:
        """Whoever says this next is killed at once; what it has said arrives later, when ``moment`` comes true."""
        one = await self._catch(part, moment)
        if one is not None:
            await self._crew.kill(one)
        return one is not None

    async def _outlive(self) -> bool:
        """Who flushes next is told to leave, and no flush of it gets through; but the first does, as it leaves."""
        one = await self._catch("holdfast.flush(", _TAKEN_FROM, mute=True)
        if one is not None:
            await self._leave(one)
        self._network.far.muted.clear()
        return one is not None

    async def _catch(self, part: str, moment: str, *, mute: bool = False) -> WorkerProcess | None:
        proxy, loop = self._network.far, asyncio.get_running_loop()
        caught: asyncio.Future[str] = loop.create_future()

        def catch(application: str) -> None:
            if mute:
                proxy.muted.add(application)
            if not caught.done():
                caught.set_result(application.rpartition(" ")[2])

        async def arrive() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(4 * _LEASE):
                    while caught.done() and not await self._machine.ask(moment, caught.result()):
                        await asyncio.sleep(_LOOK)

        proxy.delay_until_given_up(part, arrive, catch)
        try:
            async with asyncio.timeout(_CAUGHT_WITHIN):
                name = await caught
        except TimeoutError:
            proxy.late = None
            return None
        pid = await self._machine.ask("select pid from holdfast.worker where name = $1", name)
        return None if pid is None else self._crew.of(pid)

    async def _deafen(self) -> Met:
        proxy, seconds = self._proxy(), self._chance.uniform(2, 5)

        async def deaf() -> bool:
            before, proxy.deaf = proxy.dropped, "dropped"
            await asyncio.sleep(seconds)
            proxy.deaf = None
            return proxy.dropped > before

        return deaf()
