"""What is measured of everybody, one repetition at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.peers.bout import Bout, Work
from bench.peers.peer import BATCHES, Batch
from bench.percentile import percentile
from bench.yardstick import Yardstick

PACE = "per second"
P50, P99 = "p50, ms", "p99, ms"
DECLINE = "last ÷ first fifth"
STEPS = "steps per second"

CROWD = 100
BULK = 1000
RATE = 1000.0
"""Jobs per second of the stream."""
ROOM: Mapping[Batch, int] = {"small": 10, "large": 1000}
"""How many runs the ceiling has under way at once."""

CREWS = (1, 2, 3)
"""So many worker processes, one after the other."""
LONG = 50
"""The steps of a workflow that is alone."""

Figures = Mapping[str, float | None]
"""What was measured once; None: it could not be told."""
Measure = Callable[[Bout], Awaitable[Figures]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that is measured of each system, and of the bare database.

    Attributes:
        name: What it is called on the command line.
        title: What it is, in a line.
        measure: Measures one system once.
        batches: The sizes of batches that it is measured with.
        has_worker: Whether the size of batches matters at all.
        needs_workflows: Whether a system without workflows is left out, with that reason.
        only_named: Whether it is measured only where it is asked for, because the whole takes long enough.
        systems: Who takes part, where it is not everybody; it is said of nobody else why not.
        yardstick: The ceiling, for a number of runs at once.
        reads: What figure of the ceiling stands beside which; where nothing is said, the pace.
    """

    name: str
    title: str
    measure: Measure
    batches: Sequence[Batch] = BATCHES
    has_worker: bool = True
    needs_workflows: bool = False
    only_named: bool = False
    systems: Sequence[str] | None = None
    yardstick: Callable[[int], Yardstick] | None = None
    reads: Mapping[str, str] = field(default_factory=dict[str, str])


async def _jobs(bout: Bout) -> Figures:
    return {PACE: (await bout.drain(Work(), seconds=bout.plan.seconds)).per_second}


async def _crews(bout: Bout) -> Figures:
    return {crew(size): await _with(bout, size) for size in CREWS}


async def _with(bout: Bout, workers: int) -> float | None:
    return (await bout.drain(Work(workers=workers), seconds=bout.plan.seconds)).per_second


def crew(size: int) -> str:
    """What the figure of so many worker processes is called."""
    return f"{size} process{'es' if size > 1 else ''}, per second"


async def _messages(bout: Bout) -> Figures:
    return {PACE: (await bout.drain(Work(kind="message"), seconds=bout.plan.seconds)).per_second}


def _workflows(steps: int) -> Measure:
    async def measure(bout: Bout) -> Figures:
        drained = await bout.drain(Work(kind="workflow", steps=steps), seconds=bout.plan.seconds)
        return {PACE: drained.per_second}

    return measure


async def _alone(bout: Bout) -> Figures:
    samples = await bout.latency(Work(kind="workflow", steps=LONG))
    return {STEPS: LONG * len(samples) * 1000 / sum(samples)}


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
    drained = await bout.drain(Work(), seconds=2 * bout.plan.seconds, pinned=True)
    return {PACE: drained.per_second, DECLINE: drained.decline}


JOBS = Scenario(
    name="jobs",
    title="no-op jobs: a backlog is worked off",
    measure=_jobs,
    yardstick=lambda room: Yardstick(steps=0, room=room, reads="runs_per_second"),
)
CREW = Scenario(
    name="jobs-crew",
    title=f"the same with {', '.join(map(str, CREWS))} worker processes, beside the quickest queue for Node",
    measure=_crews,
    batches=("large",),
    systems=("holdfast", "graphile_worker"),
)


def _workflows_of(steps: int, *, only_named: bool = True) -> Scenario:
    return Scenario(
        name=f"workflows-{steps}",
        title=f"workflows of {steps} no-op step{'s' if steps > 1 else ''}: a backlog is worked off",
        measure=_workflows(steps),
        only_named=only_named,
        needs_workflows=True,
        yardstick=lambda room: Yardstick(steps=steps, room=room, reads="runs_per_second"),
    )


WORKFLOWS = _workflows_of(3, only_named=False)
ALONE = Scenario(
    name="steps-1",
    title=f"one workflow of {LONG} no-op steps after the other, each until the client knows that it has ended",
    measure=_alone,
    batches=("large",),
    needs_workflows=True,
    yardstick=lambda _room: Yardstick(steps=LONG, room=1, reads="steps_per_second"),
    reads={STEPS: "steps_per_second"},
)
MESSAGES = Scenario(
    name="queue-drain",
    title="messages of a queue: consumers receive them, and archive them in batches",
    measure=_messages,
    systems=("holdfast", "pgqrs"),
)
STARTS = Scenario(
    name="starts",
    title=f"single starts from {CROWD} concurrent tasks, nobody executes",
    measure=_singles,
    batches=("large",),
    has_worker=False,
    yardstick=lambda _room: Yardstick(steps=0, way="singles", room=CROWD, reads="starts_per_second"),
)
BULK_STARTS = Scenario(
    name="bulk-starts",
    title=f"starts of {BULK:,} jobs at once, nobody executes",
    measure=_bulk,
    batches=("large",),
    has_worker=False,
    yardstick=lambda room: Yardstick(steps=0, room=room, reads="starts_per_second"),
)
LATENCY = Scenario(
    name="latency",
    title="from the start of a job until the client knows that it has ended, idle worker",
    measure=_latency,
    yardstick=lambda _room: Yardstick(steps=0, way="alone", room=1, reads="runs_per_second"),
    reads={P50: "p50_ms", P99: "p99_ms"},
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

SCENARIOS: Sequence[Scenario] = (
    JOBS,
    CREW,
    _workflows_of(1),
    WORKFLOWS,
    _workflows_of(10),
    ALONE,
    MESSAGES,
    STARTS,
    BULK_STARTS,
    LATENCY,
    STEADY,
    PINNED,
)

LEFT_OUT: Mapping[str, str] = {
    "workflows-1": "as *workflows-3*; measured where it is named: `./dev bench --peers workflows-1`",
    "workflows-10": "as *workflows-3*; measured where it is named: `./dev bench --peers workflows-10`",
    "steps-20": "between *steps-1* and *workflows-3* at small batches",
    "due-at-once": "between *steady* and *jobs*: on time as far as there is time, then a backlog",
    "backlog": "*jobs*, with more of them; the memory of a worker is looked at alone",
    "lanes": "about a promise of Holdfast's own, that lanes without work cost nothing",
    "latency-parked": "about a promise of Holdfast's own, that parked runs cost nothing",
    "limits": "what can be limited, and for whom, is something else in each system",
    "scale": "about the plans of Holdfast's own statements",
    "costs": "about Holdfast's own statements, commits and WAL",
    "children": "how workflows start others and wait for them is something else in each system",
    "fan-out": "how many steps one workflow may take at once is something else in each system",
    "memory-worker": "memory is looked at alone",
    "memory-client": "memory is looked at alone",
    "soak": "takes half an hour for each; growth is looked at alone",
}
"""The scenarios of ``./dev bench`` in which peers are not compared, with the reason."""
