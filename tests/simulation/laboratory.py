"""Where schedules are simulated one after the other, in a database of their own."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing import Databases
from tests.rules.defects import Defect
from tests.simulation.backends import Backends
from tests.simulation.database import Database, prepare
from tests.simulation.engines import ENGINES
from tests.simulation.report import Report
from tests.simulation.schedule import Outcome, Schedule, described


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

    def broken(self, *, but: tuple[str, ...] = ()) -> list[str]:
        """The invariants that do not hold now, ``but`` for those that begin so."""
        return self._database.broken(but=but)

    def close(self) -> None:
        """Ends its connections, and puts everything back."""
        self.backends.close()
        self._patch.undo()
        gc.unfreeze()


async def _break(engine: Defect, db: Any, patch: pytest.MonkeyPatch) -> None:
    await engine(db, patch)


# ---- in the processes of examiners

_SECONDS = 240.0
"""So long no schedule lasts, also where others are busy: it waits for something that does not come."""


_GRACE = 20.0


class Overdue(BaseException):
    """A schedule lasts too long, by the clock on the wall. Nothing in it takes this for an error of its own."""


_laboratories: list[Laboratory] = []
_places: list[Path] = []


def set_up(server: str, template: str, broken: str | None, places: str) -> None:
    """Makes a database and an engine for this process, which says in the folder ``places`` which seed it is at."""
    if sys.flags.hash_randomization:
        raise RuntimeError("PYTHONHASHSEED is not 0: texts in sets would have an order of their own in this process")

    async def create() -> str:
        databases = Databases(server, template=template)
        await databases.__aenter__()
        return await databases.create()

    _laboratories.append(Laboratory(asyncio.run(create()), None if broken is None else ENGINES[broken]))
    _places.append(Path(places, str(os.getpid())))


def examine(seed: int, *, twice: bool) -> Report:
    """One seed; one that fails is simulated again, to see whether it does so again."""

    def work(laboratory: Laboratory) -> Report:
        outcome = laboratory.simulate_twice(seed) if twice else laboratory.simulate(seed)
        if outcome.wrong and not twice:
            difference = outcome.trace.difference(laboratory.simulate(seed).trace)
            if difference is not None:
                outcome.wrong.append(f"seed {seed} does not give the same trace again:\n{difference}")
        return report_of(outcome)

    return examined(seed, work)


def examined(seed: int, work: Callable[[Laboratory], Report]) -> Report:
    """What comes of it; also where it raises something, or comes to no end."""
    _places[0].write_text(str(seed), encoding="ascii")
    try:
        with _at_most(_SECONDS):
            return work(_laboratories[0])
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # What is claimed of the engine, and does not hold, is said as an assertion.
        return Report(seed=seed, wrong=[described(error)], fell=not isinstance(error, AssertionError))
    finally:
        _places[0].unlink()


def report_of(outcome: Outcome) -> Report:
    """The same, without what stays in its process."""
    return Report(
        seed=outcome.seed,
        wrong=outcome.wrong,
        fell=outcome.fell,
        trace=outcome.trace.lines,
        trips=outcome.trips,
        runs=outcome.runs,
        calls=outcome.calls,
        deaths=outcome.deaths,
        waits=outcome.waits,
        befallen=dict(outcome.befallen),
        suspect=outcome.suspect,
    )


@contextmanager
def _at_most(seconds: float) -> Generator[None]:
    """What lasts longer is ended."""

    def end(_number: int, _frame: object) -> None:
        raise Overdue(f"it has lasted more than {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, end)
    # And again, where somebody has taken the first for an error of his own.
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    # Where nothing else helps the process ends, and says where it was: who has begun it knows which seed it was at.
    faulthandler.dump_traceback_later(seconds + _GRACE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
