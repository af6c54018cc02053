"""A load: runs with steps, timers and signals that are under way while something breaks."""

from __future__ import annotations

import random
from datetime import timedelta

from holdfast.client import Client, RunHandle
from tests.apps.journeys import go, journey, journeys_end, lasts
from tests.apps.ledger import Ledger
from tests.house import House, WorkerProcess, eventually

MODULE = "tests.apps.journeys"
OPTIONS = ("--poll", "200ms", "--grace", "5s")

SOON = timedelta(seconds=20)


class Load:
    """Starts journeys and jobs and signals them, a few at a time; at the end all must have come out right, once."""

    def __init__(self, house: House, client: Client, ledger: Ledger) -> None:
        self.house = house
        self.client = client
        self.ledger = ledger
        self._journeys: list[RunHandle[int]] = []
        self._jobs: list[RunHandle[str]] = []
        self._signalled = 0

    async def worker(self, house: House | None = None, *options: str) -> WorkerProcess:
        """A worker process for it, which has registered; in another house than its own if one is given."""
        process = await (house or self.house).process(MODULE, *OPTIONS, *options, env=self.ledger.env)
        await process.name()
        return process

    async def add(self, journeys: int, jobs: int = 0, *, seconds: float = 0.01) -> None:
        """Starts so many more; the jobs take so long."""
        first = len(self._journeys)
        self._journeys += await self.client.start_many([journey.call(first + n) for n in range(journeys)])
        self._jobs += await self.client.start_many([lasts.call(seconds) for _ in range(jobs)])

    async def signal(self, count: int) -> None:
        """Signals so many more of the journeys, each as if it were sent twice."""
        for n in range(self._signalled, min(self._signalled + count, len(self._journeys))):
            for _ in range(2):
                await self._journeys[n].signal(go, n, key="once")
            self._signalled = n + 1

    async def goes_on(self, chance: random.Random | None = None, *, most: int = 10) -> None:
        """Waits until some more activities were called: at least one, unless all have been."""
        wanted = len(self.ledger.lines()) + (1 if chance is None else chance.randint(1, most))
        # Before its signal a journey calls four, and one after it.
        possible = len(self._jobs) + 4 * len(self._journeys) + self._signalled
        await eventually(lambda: len(self.ledger.lines()) >= min(wanted, possible), f"{wanted} activities are called")

    async def ends_well(self, *, patience: float = 30.0) -> None:
        """All have ended by themselves with what they should give, nothing recorded was called again."""
        await self.signal(len(self._journeys))
        runs = [run.id for run in (*self._journeys, *self._jobs)]
        await self.house.ended(*runs, patience=patience)
        wanted = [journeys_end(n, n) for n in range(len(self._journeys))]
        assert [await run.result(timeout=SOON) for run in self._journeys] == wanted
        assert {await run.result(timeout=SOON) for run in self._jobs} <= {"done"}
        assert not await self.house.value("select count(*) from holdfast.task")
        assert not await self.repeated()
        await self.house.check_invariants()

    async def repeated(self) -> list[str]:
        """The calls that began after their outcome, or that of their attempt, had been recorded."""
        rows = await self.house.db.fetch(
            "select run_id, key, extract(epoch from at)::float8 as at from holdfast.journal where kind in (1, 2)"
        )
        recorded = {(str(row["run_id"]), row["key"]): row["at"] for row in rows}
        repeated: list[str] = []
        for line in self.ledger.lines():
            at, _, run, key, attempt = line.split(" ")
            ends = [recorded.get((run, key)), recorded.get((run, f"{key}@{attempt}"))]
            repeated.extend(line for end in ends if end is not None and float(at) > end)
        return repeated

    async def called_once(self) -> None:
        """No attempt of an activity was begun twice: for faults that take nobody's work away."""
        counts = {line: number for line, number in self._calls().items() if number > 1}
        assert not counts

    def _calls(self) -> dict[str, int]:
        calls: dict[str, int] = {}
        for line in self.ledger.lines():
            call = line.split(" ", 2)[2]
            calls[call] = calls.get(call, 0) + 1
        return calls
