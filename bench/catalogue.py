"""All scenarios, with their targets: what one worker process and the database are to reach on two cores."""

from __future__ import annotations

from collections.abc import Sequence

from bench.backlog import WORKER_GROWTH, measure_backlog
from bench.breadth import SECONDS, WAKES, activities_at_once, children_at_once
from bench.costs import measure_costs
from bench.figure import Target
from bench.lanes import COLD_P99, IDLE, LANES, measure_lanes
from bench.latency import P50, P99, PARKED_SHARE, measure_latency, measure_latency_beside_parked
from bench.limited import GLOBAL_SHARE, measure_limits
from bench.memory import CLIENT_GROWTH, WORKER_PEAK, measure_client, measure_worker
from bench.punctuality import P99 as P99_LATE
from bench.punctuality import measure_due_at_once, measure_steady
from bench.queue_drain import Drain, measure_queue_drain
from bench.scale import CLAIM, SIGNAL, START, measure_scale
from bench.scenario import RATIO, Scenario
from bench.sequence import STEPS, runs_at_once
from bench.soak import GROWTH, SIZE, SLOWER, measure_soak
from bench.starts import measure_bulk, measure_singles
from bench.throughput import PINNED_SHARE, measure_jobs, measure_pinned, workflows_of
from bench.yardstick import Yardstick

SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="jobs",
        title="async no-op jobs, typed input and output",
        measure=measure_jobs,
        yardstick=Yardstick(steps=0, reads="runs_per_second"),
        targets=[Target(figure=RATIO, least=0.45, remark="about 17,000/s")],
    ),
    Scenario(
        name="workflows-1",
        title="workflows of 1 step",
        measure=workflows_of(1),
        yardstick=Yardstick(steps=1, reads="runs_per_second"),
    ),
    Scenario(
        name="workflows-3",
        title="workflows of 3 steps",
        measure=workflows_of(3),
        yardstick=Yardstick(steps=3, reads="runs_per_second"),
        targets=[Target(figure=RATIO, least=0.40, remark="about 6,500/s")],
    ),
    Scenario(
        name="workflows-10",
        title="workflows of 10 steps",
        measure=workflows_of(10),
        yardstick=Yardstick(steps=10, reads="runs_per_second"),
    ),
    Scenario(
        name="starts",
        title="single starts from 100 concurrent tasks",
        measure=measure_singles,
        # It starts in batches of 500: a comparison for orientation only.
        yardstick=Yardstick(steps=0, reads="starts_per_second"),
        targets=[Target(figure="starts/s", least=12_000)],
        has_worker=False,
    ),
    Scenario(
        name="bulk-starts",
        title="starts with start_many, 5,000 at a time",
        measure=measure_bulk,
        yardstick=Yardstick(steps=0, reads="starts_per_second"),
        targets=[Target(figure="starts/s", least=60_000)],
        has_worker=False,
    ),
    Scenario(
        name="steps-1",
        title=f"one run of {STEPS} sequential steps after the other",
        measure=runs_at_once(1),
        yardstick=Yardstick(steps=STEPS, room=1, reads="steps_per_second"),
        targets=[Target(figure=RATIO, least=0.65, remark="about 1,400 steps/s")],
    ),
    Scenario(
        name="steps-20",
        title=f"20 runs of {STEPS} sequential steps at once",
        measure=runs_at_once(20),
        yardstick=Yardstick(steps=STEPS, room=20, reads="steps_per_second"),
        targets=[Target(figure=RATIO, least=0.40, remark="about 12,000 steps/s")],
    ),
    Scenario(
        name="latency",
        title="start to durable result, idle worker",
        measure=measure_latency,
        targets=[Target(figure=P50, most=3.0), Target(figure=P99, most=8.0)],
    ),
    Scenario(
        name="steady",
        title="how late jobs begin, in a stream of 1,000 per second",
        measure=measure_steady,
        targets=[Target(figure=P99_LATE, most=20.0)],
    ),
    Scenario(
        name="due-at-once",
        title="jobs that are due in the same second: 10,000 in a measurement of 10 s",
        measure=measure_due_at_once,
    ),
    Scenario(
        name="backlog",
        title="--parked jobs that were due before the worker came: how quickly they are worked off, and its memory",
        measure=measure_backlog,
        yardstick=Yardstick(steps=0, reads="runs_per_second"),
        targets=[Target(figure=WORKER_GROWTH, most=50)],
        only_named=True,
    ),
    Scenario(
        name="lanes",
        title=f"a worker process of {LANES} lanes: idle, then jobs of the cold lanes while one lane has a backlog",
        measure=measure_lanes,
        yardstick=Yardstick(steps=0, reads="runs_per_second"),
        targets=[
            Target(figure=IDLE, most=3.0, remark="whatever the number of lanes"),
            Target(figure=COLD_P99, most=20.0),
        ],
    ),
    Scenario(
        name="latency-parked",
        title="the same beside parked runs (--parked), and in turns without them",
        measure=measure_latency_beside_parked,
        targets=[
            Target(figure=P50, most=3.0),
            Target(figure=P99, most=8.0),
            Target(figure=PARKED_SHARE, most=1.1, remark="no measurable difference"),
        ],
    ),
    Scenario(
        name="pinned",
        title="workflows of 3 steps with a pinned xmin horizon, and in turns without",
        measure=measure_pinned,
        yardstick=Yardstick(steps=3, reads="runs_per_second", pinned=True),
        targets=[Target(figure=PINNED_SHARE, least=0.90)],
    ),
    Scenario(
        name="limits",
        title="no-op jobs with limits that are never reached, in all and for each of 100 keys, and in turns without",
        measure=measure_limits,
        yardstick=Yardstick(steps=0, reads="runs_per_second"),
        targets=[Target(figure=GLOBAL_SHARE, least=0.90)],
    ),
    Scenario(
        name="scale",
        title="claim, start and signal beside --parked parked runs and five times as many results",
        measure=measure_scale,
        targets=[
            Target(figure=START, most=1.1, remark="what they cost on an empty database"),
            Target(figure=SIGNAL, most=1.1),
            Target(figure=CLAIM, most=1.1),
        ],
    ),
    Scenario(
        name="costs",
        title="what a run costs: statements, commits, WAL, storage, processor time",
        measure=measure_costs,
        targets=[
            Target(figure="job: statements", most=0.1),
            Target(figure="job: commits", most=0.1),
            Target(figure="further step: statements", most=0.05),
            Target(figure="further step: commits", most=0.05),
        ],
    ),
    Scenario(
        name="children",
        title="one run with children at once, two worker processes: 1,000 of them in a measurement of 10 s",
        measure=children_at_once(),
        targets=[Target(figure=SECONDS, most=1.0), Target(figure=WAKES, most=1.0)],
    ),
    Scenario(
        name="fan-out",
        title="one run with no-op activities at once, two worker processes: 10,000 in a measurement of 10 s",
        measure=activities_at_once(),
        targets=[Target(figure=SECONDS, most=3.0), Target(figure=WAKES, most=1.0)],
    ),
    Scenario(
        name="memory-worker",
        title="the memory of a worker through which a tenth of --parked runs pass, to be parked",
        measure=measure_worker,
        targets=[Target(figure=WORKER_PEAK, most=200)],
    ),
    Scenario(
        name="memory-client",
        title="the memory of a client that starts --parked runs",
        measure=measure_client,
        targets=[Target(figure=CLIENT_GROWTH, most=10, remark="does not grow")],
        has_worker=False,
    ),
    Scenario(
        name="queue-drain",
        title="draining queues of 50,000 messages, in a measurement of 10 s: consumers 1, 2, 4 × batch 50, 10, 1",
        measure=measure_queue_drain,
        targets=[
            Target(figure=Drain(1, 50).pace, least=20_000),
            Target(figure=Drain(1, 1).pace, least=1_500),
        ],
        has_worker=False,
    ),
    Scenario(
        name="soak",
        title="--minutes of 1,000 runs per second: jobs, steps, signals",
        measure=measure_soak,
        targets=[
            Target(figure=GROWTH, most=1.1, remark="flat"),
            Target(figure=SLOWER, most=1.25, remark="flat"),
            Target(figure=SIZE, most=1.25, remark="flat"),
        ],
        only_named=True,
    ),
)
