"""J2 to J5: a worker takes no more than it can do, nobody waits behind what does not concern him, and peers share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bench.footprint import Footprint
from holdfast import Activity, App, Client, RunHandle, RunsOverflowed
from holdfast.app.hosted import WorkerOptions
from holdfast.core.priority import Priority
from tests.apps.punctual import app as punctual
from tests.apps.punctual import job
from tests.house import House, WorkerProcess, eventually, until
from tests.scenarios.soon import SOON

AHEAD: WorkerOptions = {"bucket_buffer_lead_time": timedelta(seconds=15)}
SLOTS = Priority.MEDIUM.base_capacity


class Hall:
    """Apps with the same job, one for each worker, that say who has executed it, and when it was over."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.begun: Counter[str] = Counter()
        self.over: dict[str, list[float]] = {}
        self.release = asyncio.Event()

    def app(self, worker: str) -> tuple[App, Activity[[float], str]]:
        """The app of this worker. A job lasts so many seconds, or until it is released."""
        app = self.house.app()

        @app.activity
        async def work(seconds: float) -> str:
            self.begun[worker] += 1
            if seconds:
                await asyncio.sleep(seconds)
            else:
                await self.release.wait()
            self.over.setdefault(worker, []).append(time.monotonic())
            return worker

        return app, work


@pytest.fixture
def hall(house: House) -> Hall:
    return Hall(house)


async def share(runs: Sequence[RunHandle[str]], *, patience: timedelta = SOON) -> Counter[str]:
    """Who has executed them."""
    return Counter([await run.result(timeout=patience) for run in runs])


# -- J2, J3


async def test_j2_a_lane_full_of_slow_jobs_does_not_delay_another(hall: Hall, house: House) -> None:
    heavy, work = hall.app("heavy")
    light, quick = hall.app("light")
    client = await house.client(heavy)
    await house.worker(heavy, lane="heavy")
    await client.start_many([work.call(0.0) for _ in range(500)], lane="heavy")
    await eventually(lambda: hall.begun["heavy"] == SLOTS, "the heavy lane is full")
    await house.worker(light, lane="light")
    for _ in range(20):
        run = await client.start(quick, 0.001, lane="light")
        began = time.monotonic()
        assert await run.result(timeout=SOON) == "light"
        assert time.monotonic() - began < 2
    assert hall.begun["heavy"] == SLOTS
    hall.release.set()
    await house.until("select not exists (select from holdfast.task)", patience=60)
    assert hall.begun["heavy"] == 500
    await house.check_invariants()


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 2.0])
async def test_j3_each_priority_executes_exactly_base_times_factor_at_once_and_never_more(
    house: House, factor: float
) -> None:
    app = house.app()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @app.activity
    async def work(priority: str) -> None:
        running[priority] += 1
        most[priority] = max(most[priority], running[priority])
        await asyncio.sleep(0.02)
        running[priority] -= 1

    client = await house.client(app)
    capacity = {one.word: max(1, round(one.base_capacity * factor)) for one in Priority}
    now = await house.value("select holdfast.now()")
    runs = [
        run
        for one in Priority
        # Some are due at once, some all together a little later, from memory.
        for at in (now, now + timedelta(seconds=1))
        for run in await client.start_many([work.call(one.word)] * (8 * capacity[one.word]), priority=one.word, at=at)
    ]
    options: WorkerOptions = {**AHEAD, "parallelism_factor": factor}
    await house.worker(app, **options)
    await house.ended(*[run.id for run in runs])
    assert most == capacity
    await house.check_invariants()


async def test_j3_low_priority_keeps_its_own_slots_under_a_flood_of_critical_work(hall: Hall, house: House) -> None:
    app, work = hall.app("one")
    client = await house.client(app)
    flood = await client.start_many([work.call(0.0) for _ in range(2_000)], priority="critical")
    await house.worker(app)
    await eventually(lambda: hall.begun["one"] == Priority.CRITICAL.base_capacity, "the critical slots are taken")
    for priority in Priority:
        if priority is not Priority.CRITICAL:
            run = await client.start(work, 0.001, priority=priority.word)
            assert await run.result(timeout=SOON) == "one"
    hall.release.set()
    await house.ended(*[run.id for run in flood])
    await house.check_invariants()


# -- J4


async def test_j4_under_a_flood_a_worker_holds_no_more_than_slots_and_buffer_and_its_memory_is_flat(
    house: House,
) -> None:
    """20,000 here; a million with ``./dev bench backlog``."""
    punctual.override(origin="the test", database_url=house.dsn)
    client = await house.client(punctual)
    process = await house.process("tests.apps.punctual", "--parallelism-factor", "5")
    await process.name()
    await drained(house, client, 1_000)
    before = Footprint.of(process.pid).peak
    most = await drained(house, client, 20_000)
    grown = Footprint.of(process.pid).peak - before
    assert grown <= 50, f"{grown:.0f} MB more for twenty times as many"
    assert 0 < most <= 5 * SLOTS + 250
    await house.check_invariants()


async def drained(house: House, client: Client, count: int) -> int:
    """Has so many jobs executed; gives the most that were held at any look."""
    for first in range(0, count, 5_000):
        await client.start_many([job.call(n) for n in range(min(5_000, count - first))])
    most = 0

    async def look() -> bool:
        nonlocal most
        most = max(most, int(await house.value("select count(*) from holdfast.task where bucket_id is not null")))
        return bool(await house.value("select not exists (select from holdfast.task)"))

    await until(look, f"{count} jobs are done", patience=90)
    return most


# -- J5


async def test_j5_two_workers_that_start_at_once_finish_a_hundred_jobs_together(hall: Hall, house: House) -> None:
    one, work = hall.app("one")
    two, _ = hall.app("two")
    client = await house.client(one)
    runs = await client.start_many([work.call(0.5) for _ in range(100)])
    began = time.monotonic()
    await asyncio.gather(house.worker(one), house.worker(two))
    shares = await share(runs)
    ends = [max(hall.over[worker]) - began for worker in ("one", "two")]
    # Half a second, a job's length, is 8 % of it.
    assert max(ends) - min(ends) <= 0.1 * max(ends) + 0.25, (ends, shares)
    assert min(shares.values()) >= 42
    await house.check_invariants()


async def test_j5_a_worker_that_comes_later_gets_its_share(hall: Hall, house: House) -> None:
    one, work = hall.app("one")
    two, _ = hall.app("two")
    client = await house.client(one)
    runs = await client.start_many([work.call(0.2) for _ in range(120)])
    await house.worker(one)
    await eventually(lambda: hall.begun["one"] >= 20, "the first one is well under way")
    left = len(runs) - hall.begun["one"]
    await house.worker(two)
    shares = await share(runs)
    assert shares["two"] >= 0.35 * left, shares
    await house.check_invariants()


async def test_j5_nothing_stands_behind_jobs_that_do_not_end(hall: Hall, house: House) -> None:
    """Two workers with four slots each and eight long jobs: each executes four."""
    one, work = hall.app("one")
    two, _ = hall.app("two")
    client = await house.client(one)
    await house.worker(one)
    runs = await client.start_many([work.call(0.0) for _ in range(2 * SLOTS)])
    await eventually(lambda: hall.begun["one"] == SLOTS, "the first one is full")
    await house.worker(two)
    await eventually(lambda: hall.begun == {"one": SLOTS, "two": SLOTS}, "each has four")
    hall.release.set()
    assert await share(runs) == {"one": SLOTS, "two": SLOTS}
    await house.check_invariants()


async def test_j5_what_one_has_taken_ahead_is_shared_when_it_is_due(hall: Hall, house: House) -> None:
    one, work = hall.app("one")
    two, _ = hall.app("two")
    client = await house.client(one)
    first = await house.worker(one, **AHEAD)
    overflowed: list[RunsOverflowed] = []
    first.on(RunsOverflowed, overflowed.append)
    runs = await client.start_many([work.call(0.4) for _ in range(60)], after=timedelta(seconds=1.5))
    await house.held(*[run.id for run in runs])
    await house.worker(two, **AHEAD)
    shares = await share(runs)
    assert min(shares.values()) >= 18, shares
    given = sum(event.runs for event in overflowed)
    assert given >= 20
    assert {(event.lane, event.priority) for event in overflowed} == {("default", "medium")}
    assert first.worker is not None
    assert first.worker.tenure is not None
    assert first.worker.tenure.overflowed == given
    name = first.worker.tenure.name

    async def told() -> bool:
        (summary,) = await client.workers.list(name=name)
        assert all(bucket.overflowed == 0 for bucket in summary.buckets if bucket.priority != "medium")
        return summary.overflowed == given

    await until(told, "its heartbeat has said so")
    await house.check_invariants()


# -- overflow


async def test_what_is_not_due_makes_room_for_what_is(hall: Hall, house: House) -> None:
    """A buffer that is full of what is due later holds nobody up."""
    app, work = hall.app("one")
    client = await house.client(app)
    later = await client.start_many([work.call(0.001) for _ in range(40)], after=timedelta(seconds=10))
    options: WorkerOptions = {**AHEAD, "bucket_buffer_size": 40}
    await house.worker(app, **options)
    await house.held(*[run.id for run in later])
    now = await client.start_many([work.call(0.01) for _ in range(400)])
    began = time.monotonic()
    await house.ended(*[run.id for run in now])
    # Four at once would take a second if they never waited for a claim.
    assert time.monotonic() - began < 6
    assert await house.value("select count(*) = 40 from holdfast.task where due_at > holdfast.now()")
    await house.check_invariants()


async def test_work_that_becomes_slow_is_given_back_after_a_moment(house: House) -> None:
    app = house.app()
    begun = 0
    slow, release = 600, asyncio.Event()

    @app.activity
    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun > slow:
            await release.wait()

    client = await house.client(app)
    worker = await house.worker(app)
    overflowed: list[RunsOverflowed] = []
    worker.on(RunsOverflowed, overflowed.append)
    runs = await client.start_many([work.call() for _ in range(1_000)])
    await eventually(lambda: begun == slow + SLOTS, "the slots are taken by slow ones")
    await house.until(f"select count(*) = {SLOTS} from holdfast.task where bucket_id is not null")
    assert overflowed, "a line stood there when they became slow"
    release.set()
    await house.ended(*ids(runs))
    assert begun == len(runs), "each was executed once"
    await house.check_invariants()


async def test_one_slot_and_five_priorities(hall: Hall, house: House) -> None:
    app, work = hall.app("one")
    client = await house.client(app)
    runs: list[RunHandle[Any]] = []
    for place in range(4):
        for priority in Priority:
            after = timedelta(milliseconds=250 * place)
            runs += await client.start_many([work.call(0.01) for _ in range(10)], priority=priority.word, after=after)
    options: WorkerOptions = {**AHEAD, "parallelism_factor": 0.01, "bucket_buffer_size": 1}
    await house.worker(app, **options)
    await house.ended(*[run.id for run in runs])
    assert hall.begun["one"] == len(runs)
    await house.check_invariants()


def ids(runs: Sequence[RunHandle[Any]]) -> list[UUID]:
    """Of these runs."""
    return [run.id for run in runs]


async def test_processes_share_a_backlog_and_one_that_is_killed_leaves_its_part_to_the_other(house: House) -> None:
    punctual.override(origin="the test", database_url=house.dsn)
    client = await house.client(punctual)
    options = ("--lease", "2s", "--poll", "200ms", "--grace", "5s")
    workers: list[WorkerProcess] = [await house.process("tests.apps.punctual", *options) for _ in range(2)]
    for worker in workers:
        await worker.name()
    runs = await client.start_many([job.call(n, 0.05) for n in range(300)])
    late = await client.start_many([job.call(n, 0.05) for n in range(100)], after=timedelta(seconds=2))
    await house.until("select count(*) > 60 from holdfast.result")
    await workers[0].kill()
    await house.ended(*ids(runs), *ids(late), patience=60)
    await house.check_invariants()
