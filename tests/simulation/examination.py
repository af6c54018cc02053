"""Seeds, examined one after the other in as many processes as there are processors, until one shows something."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.simulation.laboratory import Report, examine, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

_TOGETHER = 5


@dataclass(slots=True)
class Examined:
    """What some seeds have come to."""

    seconds: float = 0.0
    schedules: int = 0
    trips: int = 0
    runs: int = 0
    deaths: int = 0
    waits: int = 0
    befallen: Counter[str] = field(default_factory=Counter[str])
    caught: Report | None = None
    """Of the seed that has shown something."""

    def add(self, report: Report) -> None:
        """One more."""
        self.schedules += 1
        self.trips += report.trips
        self.runs += report.runs
        self.deaths += report.deaths
        self.waits += report.waits
        self.befallen.update(report.befallen)
        if report.wrong:
            self.caught = report

    def __str__(self) -> str:
        return (
            f"{self.schedules} schedules in {self.seconds:.0f} s: {self.runs} runs, {self.trips} round trips, "
            f"{self.deaths} deaths, {self.waits} waits for locks"
        )


def examine_seeds(
    dsn: str,
    seeds: Sequence[int],
    *,
    broken: str | None = None,
    processes: int | None = None,
    twice: bool = False,
    minutes: float | None = None,
    each: Callable[[Report], None] | None = None,
) -> Examined:
    """Examines these until one of them shows something, or the time is over; ``each`` is told of every report."""
    began = time.monotonic()
    examined = Examined()
    for report in _reports(dsn, seeds, broken, processes, twice=twice):
        examined.add(report)
        if each is not None:
            each(report)
        if report.wrong or (minutes is not None and time.monotonic() - began > minutes * 60):
            break
    examined.seconds = time.monotonic() - began
    return examined


def _reports(
    dsn: str, seeds: Sequence[int], broken: str | None, processes: int | None, *, twice: bool
) -> Iterator[Report]:
    count = min(processes or os.cpu_count() or 1, len(seeds))
    with ProcessPoolExecutor(count, get_context("spawn"), set_up, (dsn, broken)) as pool:
        waiting = iter(seeds)
        under_way: dict[Future[Report], int] = {}
        try:
            while True:
                while len(under_way) < count * _TOGETHER and (seed := next(waiting, None)) is not None:
                    # One of twenty twice: it has to go the same way again.
                    under_way[pool.submit(examine, seed, twice=twice or seed % 20 == 0)] = seed
                if not under_way:
                    return
                ended = next(as_completed(under_way))
                del under_way[ended]
                yield ended.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
