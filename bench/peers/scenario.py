"""What is measured of everybody, one repetition at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.peers.bout import Bout
from bench.peers.peer import BATCHES, Batch
from bench.percentile import percentile
from bench.yardstick import Yardstick

PACE = "per second"
P50, P99 = "p50, ms", "p99, ms"
DECLINE = "last ÷ first fifth"

CROWD = 100
BULK = 1000
RATE = 1000.0
"""Jobs per second of the stream."""
ROOM: Mapping[Batch, int] = {"small": 10, "large": 1000}
"""How many runs the ceiling has under way at once."""

Figures = Mapping[str, float]
Measure = Callable[[Bout], Awaitable[Figures]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that is measured of each system, and of the bare database.

    Attributes:
        name: What it is called on the command line.
        title: What it is, in a line.
        measure: Measures one system once.
        batches: The sizes of batches that it is measured with; the first alone where there is no worker.
        needs_workflows: Whether a system without workflows is left out, with that reason.
        yardstick: The ceiling, for a number of runs at once.
    """

    name: str
    title: str
    measure: Measure
    batches: Sequence[Batch] = BATCHES
    needs_workflows: bool = False
    yardstick: Callable[[int], Yardstick] | None = None


async def _jobs(bout: Bout) -> Figures:
    return {PACE: (await bout.drain("job", seconds=bout.plan.seconds)).per_second}


async def _workflows(bout: Bout) -> Figures:
    return {PACE: (await bout.drain("workflow", seconds=bout.plan.seconds)).per_second}


async def _singles(bout: Bout) -> Figures:
    return {PACE: await bout.starts("singles", crowd=CROWD)}


async def _bulk(bout: Bout) -> Figures:
    return {PACE: await bout.starts("bulk", size=BULK)}


async def _latency(bout: Bout) -> Figures:
    samples = await bout.latency()
    return {P50: percentile(samples, 0.5), P99: percentile(samples, 0.99)}


async def _steady(bout: Bout) -> Figures:
    pace, delays = await bout.stream(RATE)
    return {PACE: pace, P50: percentile(delays, 0.5), P99: percentile(delays, 0.99)}


async def _pinned(bout: Bout) -> Figures:
    drained = await bout.drain("job", seconds=2 * bout.plan.seconds, pinned=True)
    return {PACE: drained.per_second, DECLINE: drained.decline}


JOBS = Scenario(
    name="jobs",
    title="no-op jobs: a backlog is worked off",
    measure=_jobs,
    yardstick=lambda room: Yardstick(steps=0, room=room, reads="runs_per_second"),
)
WORKFLOWS = Scenario(
    name="workflows-3",
    title="workflows of 3 no-op steps: a backlog is worked off",
    measure=_workflows,
    needs_workflows=True,
    yardstick=lambda room: Yardstick(steps=3, room=room, reads="runs_per_second"),
)
STARTS = Scenario(
    name="starts",
    title=f"single starts from {CROWD} concurrent tasks, nobody executes",
    measure=_singles,
    batches=("large",),
)
BULK_STARTS = Scenario(
    name="bulk-starts",
    title=f"starts of {BULK:,} jobs at once, nobody executes",
    measure=_bulk,
    batches=("large",),
    yardstick=lambda room: Yardstick(steps=0, room=room, reads="starts_per_second"),
)
LATENCY = Scenario(
    name="latency",
    title="from the start of a job until the client knows that it has ended, idle worker",
    measure=_latency,
)
STEADY = Scenario(
    name="steady",
    title=f"a stream of {RATE:,.0f} jobs per second: how many are executed, and how late they begin",
    measure=_steady,
)
PINNED = Scenario(
    name="pinned",
    title="no-op jobs as above, twice as many, while an open transaction pins the xmin horizon",
    measure=_pinned,
    yardstick=lambda room: Yardstick(steps=0, room=room, reads="runs_per_second", pinned=True),
)

SCENARIOS: Sequence[Scenario] = (JOBS, WORKFLOWS, STARTS, BULK_STARTS, LATENCY, STEADY, PINNED)
