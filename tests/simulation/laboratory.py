"""Where schedules are simulated one after the other, in a database of their own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast.testing import Databases
from tests.rules.defects import Defect
from tests.simulation.backends import Backends
from tests.simulation.database import Database, prepare
from tests.simulation.engines import ENGINES
from tests.simulation.schedule import Outcome, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one seed, as one process tells another."""

    seed: int
    wrong: list[str]
    trace: list[str]
    trips: int
    runs: int
    deaths: int
    waits: int
    befallen: Mapping[str, int]
    suspect: str | None


class Laboratory:
    """A database that is made for it, and an engine; to be closed."""

    def __init__(self, dsn: str, engine: Defect | None = None) -> None:
        asyncio.run(prepare(dsn))
        self._patch = pytest.MonkeyPatch()
        self.backends = Backends(dsn)
        if engine is not None:
            self.backends.wait(_break(engine, self.backends.admin, self._patch))
        self._database = Database(self.backends)
        gc.collect()
        gc.freeze()

    def simulate(self, seed: int) -> Outcome:
        """One schedule."""
        return Schedule(self._database, seed).run()

    def simulate_twice(self, seed: int) -> Outcome:
        """One schedule, and whether it goes the same way again."""
        first, second = self.simulate(seed), self.simulate(seed)
        difference = first.trace.difference(second.trace)
        if difference is not None:
            first.wrong.append(f"seed {seed} does not give the same trace again:\n{difference}")
        return first

    def clear(self, micros: int) -> None:
        """An empty database, at this time."""
        self._database.clear(micros)

    def broken(self) -> list[str]:
        """The invariants that do not hold now."""
        return self._database.broken()

    def close(self) -> None:
        """Ends its connections, and puts everything back."""
        self.backends.close()
        self._patch.undo()
        gc.unfreeze()


async def _break(engine: Defect, db: Any, patch: pytest.MonkeyPatch) -> None:
    await engine(db, patch)


# ---- in the processes of the command

_laboratories: list[Laboratory] = []


def set_up(server: str, broken: str | None) -> None:
    """Makes a database and an engine for this process."""

    async def create() -> str:
        databases = Databases(server, template="holdfast_simulation")
        await databases.__aenter__()
        return await databases.create()

    _laboratories.append(Laboratory(asyncio.run(create()), None if broken is None else ENGINES[broken]))


def examine(seed: int, *, twice: bool) -> Report:
    """One seed; one that fails is simulated again, to see whether it does so again."""
    laboratory = _laboratories[0]
    outcome = laboratory.simulate_twice(seed) if twice else laboratory.simulate(seed)
    if outcome.wrong and not twice:
        difference = outcome.trace.difference(laboratory.simulate(seed).trace)
        if difference is not None:
            outcome.wrong.append(f"seed {seed} does not give the same trace again:\n{difference}")
    return Report(
        seed=seed,
        wrong=outcome.wrong,
        trace=outcome.trace.lines,
        trips=outcome.trips,
        runs=outcome.runs,
        deaths=outcome.deaths,
        waits=outcome.waits,
        befallen=dict(outcome.befallen),
        suspect=outcome.suspect,
    )
