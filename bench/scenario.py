"""A scenario, and how it is run: the ceiling before and after it, each tuning between two of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from bench.figure import Figure, Target
from bench.record import Record
from bench.sitting import Sitting
from bench.tuning import Tuning
from bench.yardstick import Yardstick

RATIO = "ratio to the ceiling"

Measure = Callable[[Sitting, Tuning], Awaitable[Sequence[Figure]]]
"""Gives the figures, one value per repetition; the first is the one that is compared with the ceiling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that is measured.

    Attributes:
        name: What it is called on the command line.
        title: What it is, in a line.
        measure: Measures it.
        targets: What its figures should be.
        yardstick: The ceiling of the first of them.
        has_worker: Whether the tuning of the worker matters.
        only_named: Whether it is measured only where it is asked for, because it takes very long.
    """

    name: str
    title: str
    measure: Measure
    targets: Sequence[Target] = ()
    yardstick: Yardstick | None = None
    has_worker: bool = True
    only_named: bool = False

    async def run(self, sitting: Sitting, tunings: Sequence[Tuning]) -> AsyncGenerator[Record]:
        """A record for each tuning; one that could not be measured says why."""
        before: float | None = None
        for tuning in tunings if self.has_worker else tunings[:1]:
            sitting.subject = f"{self.name} {tuning.name}" if self.has_worker else self.name
            record = Record(
                scenario=self.name,
                title=self.title,
                tuning=tuning if self.has_worker else None,
                targets=tuple(self.targets),
            )
            try:
                figures, before = await self._measure(sitting, tuning, before)
                record = replace(record, figures=figures)
            except Exception as error:
                before = None
                record = replace(record, failure=f"{type(error).__name__}: {error}")
                sitting.note(f"FAILED: {record.failure}")
            yield record

    async def _measure(
        self, sitting: Sitting, tuning: Tuning, before: float | None
    ) -> tuple[tuple[Figure, ...], float | None]:
        """The figures, with the ceiling from before and after them; and the latter, which is before what comes next."""
        if self.yardstick is None:
            return tuple(await self.measure(sitting, tuning)), None
        if before is None:
            before = await self.yardstick.measure(sitting)
        own, *others = await self.measure(sitting, tuning)
        after = await self.yardstick.measure(sitting)
        mean = (before + after) / 2
        ratio = Figure(name=RATIO, values=tuple(value / mean for value in own.values))
        ceiling = Figure(name="ceiling, before and after", values=(before, after))
        return (own, ratio, ceiling, *others), after
