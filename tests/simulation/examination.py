"""Seeds, examined one after the other in as many processes as there are processors, until one shows something."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.examiners import Examiners
from tests.simulation.laboratory import examine
from tests.simulation.report import Report

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

    @property
    def shown(self) -> bool:
        """Whether it has shown something of the engine, and did not only fall over something itself."""
        return self.caught is not None and not self.caught.fell

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
    server: str,
    seeds: Sequence[int],
    *,
    broken: str | None = None,
    processes: int | None = None,
    twice: bool = False,
    minutes: float | None = None,
    each: Callable[[Report], None] | None = None,
    examine: Callable[..., Report] = examine,
) -> Examined:
    """Examines these until one of them shows something, or the time is over; ``each`` is told of every report."""
    began = time.monotonic()
    examined = Examined()
    count = min(processes or os.cpu_count() or 1, len(seeds))
    with Examiners(server, broken=broken, count=count, examine=examine) as examiners:
        for report in _reports(examiners, seeds, twice=twice):
            examined.add(report)
            if each is not None:
                each(report)
            if report.wrong or (minutes is not None and time.monotonic() - began > minutes * 60):
                break
    examined.seconds = time.monotonic() - began
    return examined


def _reports(examiners: Examiners, seeds: Sequence[int], *, twice: bool) -> Iterator[Report]:
    waiting = iter(seeds)
    under_way: dict[Future[Report], int] = {}
    while True:
        while len(under_way) < examiners.count * _TOGETHER and (seed := next(waiting, None)) is not None:
            # One of twenty twice: it has to go the same way again.
            under_way[examiners.submit(seed, twice=twice or seed % 20 == 0)] = seed
        if not under_way:
            return
        ended = next(as_completed(under_way))
        yield examiners.result(under_way.pop(ended), ended)
