"""One trial: a load, a sequence of faults, and looks at what comes of it, meanwhile and at the end."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest

from holdfast.client import Client
from holdfast.client.database import DRIVER_ERRORS
from holdfast.core.errors import DatabaseError
from holdfast.store.connect import connect
from tests.apps.ledger import Ledger
from tests.chaos.audit import inspect, install
from tests.chaos.books import Books
from tests.chaos.crew import Crew
from tests.chaos.faults import PAUSES, POOL, SHARES, Faults, Network, Pauses
from tests.chaos.findings import Finding, Findings
from tests.chaos.load import Load
from tests.chaos.traffic import Traffic
from tests.chaos.verdict import Verdict, balance, describe, look_at_invariants
from tests.chaos.workload import app
from tests.faults.machine import Machine, open_machine
from tests.faults.proxy import Proxy
from tests.house import House
from tests.rules.change import Change, as_it_is
from tests.rules.defects import DEFECTS, VARIABLE

_SHOWN = 3
_DUE = (
    "select count(*) from holdfast.task where bucket_id is null and due_at < clock_timestamp() - interval '2 seconds'"
)
_MOST_DUE = 400
"""Where more than so many wait, the machine is too slow for the load: what comes then only stands in line."""


class Plan(NamedTuple):
    """What is asked for."""

    seed: int
    seconds: float
    workers: int = 3
    rate: float = 15.0
    """Runs that are started per second."""
    messages: float = 4.0
    """Messages that are sent, and runs driven by hand that are triggered, per second."""
    patience: float = 90.0
    """Seconds in which all ends once nothing is broken any more."""
    only: frozenset[str] = frozenset()
    """The faults that are dealt; none named: all."""
    calm: bool = False
    """Nothing is broken at all: then more is asked of the engine."""
    pauses: Pauses = PAUSES
    answers: Sequence[str] | None = None
    """Of which statements answers are lost."""
    shares: Mapping[str, float] | None = None
    """Of the kinds of runs."""
    defect: str | None = None
    """What is wrong with the engine."""
    slowed: Change = as_it_is
    """What takes longer than usual, in the database."""
    trial: str | None = None
    """The defect for which it was made, if for one; it may be tried without it."""
    look_every: float = 5.0
    at_once: bool = False
    """Whether it is over with the first finding."""


@dataclass(slots=True)
class Outcome:
    """What has come of it."""

    plan: Plan
    faults: Counter[str]
    journal: Sequence[tuple[float, str]]
    """The faults in their order, each with the seconds after the beginning at which it began."""
    promised: int
    refused: Counter[str]
    held: float
    """For how many seconds nothing was started, because too much stood in line."""
    traffic: Counter[str]
    recoveries: Sequence[float]
    resumptions: Sequence[float]
    missed: Counter[str]
    lost: Counter[str]
    arrived_late: int
    looks: int
    blind: int
    findings: Sequence[Finding]
    looked: Counter[str]
    """How often each check was made."""
    verdict: Verdict
    journals: list[str] = field(default_factory=list[str])
    log: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


async def run(plan: Plan, said: Callable[[str], None] = lambda _: None) -> Outcome:
    """Makes a server, a network and workers, and puts them to the test; ``said`` is told how far it is."""
    if unknown := plan.only - SHARES.keys():
        raise ValueError(f"there is no fault {min(unknown)!r}; there are: {', '.join(SHARES)}")
    with tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o711)
        async with (
            open_machine(scratch) as machine,
            Proxy(machine.house.dsn) as near,
            Proxy(machine.house.dsn) as far,
        ):
            trial = Trial(plan, machine, Network(near, far), Ledger(scratch / "ledger"), said)
            return await trial.run()


class Trial:
    """One of them, on a server of its own."""

    def __init__(
        self, plan: Plan, machine: Machine, network: Network, ledger: Ledger, said: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._network = network
        self._ledger = ledger
        self._said = said
        self._chance = random.Random(plan.seed)
        self._findings = Findings(said)
        self._looks = 0
        self._blind = 0
        self._described: dict[UUID, list[str]] = {}

    async def run(self) -> Outcome:
        """From the beginning to the end."""
        plan, house, network = self._plan, self._machine.house, self._network
        await self._prepare()
        app.override(origin="chaos", database_url=network.near.dsn)
        async with House(network.far.dsn, house.db, house.place) as remote, app.client(pool_size=POOL) as client:
            env = {**self._ledger.env, **({} if plan.defect is None else {VARIABLE: plan.defect})}
            crew = Crew(self._machine, remote, self._findings, env, plan.workers)
            try:
                await crew.fill()
                await crew.ready()
                return await self._break(crew, client)
            finally:
                crew.stop_watching()
                await crew.stop_all()

    async def _prepare(self) -> None:
        house, plan = self._machine.house, self._plan
        app.override(origin="chaos", database_url=house.dsn)
        async with app.client():
            pass  # opening it has made the schema
        await install(house.db)
        patch = pytest.MonkeyPatch()
        if plan.defect is not None:
            await DEFECTS[plan.defect].database(house.db, patch)
        await plan.slowed(house.db, patch)

    async def _break(self, crew: Crew, client: Client) -> Outcome:
        plan, machine, chance = self._plan, self._machine, self._chance
        findings = self._findings
        findings.begin()
        seeds = [random.Random(chance.random()) for _ in range(3)]
        place = self._ledger.place
        load = Load(client, self._network.near.dsn, place, findings, seeds[0], rate=plan.rate, shares=plan.shares)
        traffic = Traffic(client, findings, seeds[1], rate=plan.messages)
        faults = Faults(
            machine,
            crew,
            load,
            self._network,
            seeds[2],
            findings=findings,
            pauses=plan.pauses,
            answers=plan.answers,
            only=plan.only,
        )
        books = Books(self._ledger, findings, crew.thawed)
        verdict = Verdict()
        working = [asyncio.create_task(load.run())]
        consuming: list[asyncio.Task[None]] = []
        if plan.messages:
            await traffic.prepare()
            working.append(asyncio.create_task(traffic.send()))
            consuming.append(asyncio.create_task(traffic.consume()))
        breaking = [] if plan.calm else [asyncio.create_task(faults.run())]
        try:
            await self._watch(findings, books, load, faults, [*working, *breaking, *consuming])
            for task in working:
                task.cancel()
            if not (plan.at_once and findings):
                faults.stop()
                await asyncio.gather(*breaking)
                self._said("mending, and waiting until all has ended")
                await faults.mend()
                verdict = await self._end(crew, load, traffic, client)
        finally:
            for task in (*working, *breaking, *consuming):
                task.cancel()
            load.stop()
            traffic.stop()
        outcome = Outcome(
            plan=plan,
            faults=faults.dealt,
            journal=faults.journal,
            promised=len(load.promises),
            refused=load.refused,
            held=load.held,
            traffic=traffic.counts,
            recoveries=crew.recoveries,
            resumptions=faults.resumptions,
            missed=faults.missed,
            lost=faults.lost,
            arrived_late=sum(proxy.arrived_late for proxy in self._network),
            looks=self._looks,
            blind=self._blind,
            findings=findings.all,
            looked=findings.looked,
            verdict=verdict,
        )
        if findings and not plan.at_once:
            await self._describe()
            outcome.journals = [one for described in self._described.values() for one in described]
        outcome.log = machine.house.log()
        return outcome

    async def _watch(
        self, findings: Findings, books: Books, load: Load, faults: Faults, tasks: Sequence[asyncio.Task[None]]
    ) -> None:
        plan, began = self._plan, time.monotonic()
        while (passed := time.monotonic() - began) < plan.seconds and not (plan.at_once and findings):
            await asyncio.sleep(min(plan.look_every, plan.seconds - passed))
            for task in tasks:
                if task.done():
                    task.result()
            seen = await self._look(findings, books, load)
            self._looks += seen
            self._blind += not seen
            self._said(
                f"{time.monotonic() - began:5.0f} s: {len(load.promises)} promised, "
                f"{sum(faults.dealt.values())} faults, {len(findings)} findings"
            )

    async def _look(self, findings: Findings, books: Books, load: Load) -> bool:
        """In the midst of it; says whether the server was there to be asked."""
        dsn = self._machine.house.dsn
        try:
            # The fourth sets a time, which nobody can keep while all workers are cut off.
            await look_at_invariants(dsn, findings, but=("4. ",))
            db = await connect(dsn, application="chaos")
            try:
                await inspect(db, findings, calm=self._plan.calm)
                await books.compare(db)
                load.is_held = await db.fetchval(_DUE) > _MOST_DUE
                if not self._plan.at_once:
                    await self._describe()
            finally:
                db.terminate()
        except (DatabaseError, *DRIVER_ERRORS):
            return False
        return True

    async def _describe(self) -> None:
        """The first runs at fault, each as it is when that is found, and as it is at the end."""
        for run_id in self._findings.suspects[:_SHOWN]:
            text = f"run {run_id}, after {self._findings.age:.0f} s\n{await describe(self._machine.house, run_id)}"
            self._described[run_id] = [*self._described.get(run_id, ())[:1], text]

    async def _end(self, crew: Crew, load: Load, traffic: Traffic, client: Client) -> Verdict:
        plan, house, findings = self._plan, self._machine.house, self._findings
        # A deploy of the newest version, as in real life: what the older one could not read goes on.
        crew.settle()
        await crew.stop_all()
        await crew.fill()
        began = time.monotonic()
        try:
            async with asyncio.timeout(plan.patience):
                await load.settle()
                await traffic.settle()
        except TimeoutError:
            findings.blame("10. callers are answered", "callers are left without an answer")
        left = max(1.0, plan.patience - (time.monotonic() - began))
        wanted = plan.rate * plan.seconds
        verdict = await balance(house, self._ledger, load, crew, findings, client=client, wanted=wanted, patience=left)
        await traffic.balance(house.db, patience=left)
        return verdict
