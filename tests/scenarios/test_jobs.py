"""J: single activities as runs of their own; lanes, priorities, and times."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import Activity, App, Retry, RunFailed, RunStatus, activity_info
from holdfast.core.priority import Priority
from tests.house import House, eventually
from tests.scenarios.soon import SOON


async def test_jobs_run_on_the_loop_and_in_threads_and_give_their_results(house: House) -> None:
    app = house.app()

    @app.activity
    async def on_the_loop(n: int) -> str:
        return f"{n} {threading.current_thread() is threading.main_thread()}"

    @app.activity
    def in_a_thread(n: int) -> str:
        return f"{n} {threading.current_thread() is threading.main_thread()}"

    @app.activity(retry=Retry(max_attempts=2, initial=timedelta(milliseconds=10)))
    def fails() -> None:
        raise LookupError(f"attempt {activity_info().attempt}")

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(on_the_loop, 1)).result(timeout=SOON) == "1 True"
    assert await (await client.start(in_a_thread, 2)).result(timeout=SOON) == "2 False"
    run = await client.start(fails)
    with pytest.raises(RunFailed, match="attempt 2") as caught:
        await run.result(timeout=SOON)
    assert isinstance(caught.value.__cause__, LookupError)
    assert await house.journal(run.id) == ["fails#1@1"]
    await house.check_invariants()


async def test_a_job_begins_at_its_time_and_not_before(house: House) -> None:
    app = house.app()

    @app.activity
    async def job() -> None:
        return None

    client = await house.client(app)
    await house.worker(app)
    now = await house.value("select holdfast.now()")
    at = await client.start(job, at=now + timedelta(hours=1))
    after = await client.start(job, after=timedelta(hours=2))
    past = await client.start(job, at=now - timedelta(days=1))
    soon = await client.start(job, after=timedelta(milliseconds=300))
    await past.result(timeout=SOON)
    await soon.result(timeout=SOON)
    lag = await house.value(
        "select e.first_claim_at - r.created_at - interval '300 ms' from holdfast.result e "
        "join holdfast.run r on r.id = e.run_id where r.id = $1",
        soon.id,
    )
    assert timedelta(0) <= lag < timedelta(milliseconds=250)
    assert await at.status() is RunStatus.SCHEDULED
    await house.advance(timedelta(hours=1))
    await at.result(timeout=SOON)
    assert await after.status() is RunStatus.SCHEDULED
    await house.advance(timedelta(hours=1))
    await after.result(timeout=SOON)
    for run, due in ((at, timedelta(hours=1)), (after, timedelta(hours=2))):
        assert await house.value(
            "select first_claim_at - $2 >= $3 from holdfast.result where run_id = $1", run.id, now, due
        )
    await house.check_invariants()


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
async def test_each_priority_executes_exactly_base_times_factor_at_once(house: House, factor: float) -> None:
    app = house.app()
    release = asyncio.Event()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @app.activity
    async def job(priority: str) -> None:
        running[priority] += 1
        most[priority] = max(most[priority], running[priority])
        await release.wait()
        running[priority] -= 1

    client = await house.client(app)
    runs = [await client.start(job, p.word, priority=p.word) for p in Priority for _ in range(15)]
    expected = {p.word: max(1, round(p.base_capacity * factor)) for p in Priority}
    await house.worker(app, parallelism_factor=factor)
    await eventually(lambda: running == expected, f"{expected} are running")
    # What cannot be begun soon is left to others.
    held = "select count(*) = $1 from holdfast.task where bucket_id is not null"
    await house.until(held, min(sum(expected.values()), len(runs)))
    assert running == expected
    release.set()
    for run in runs:
        await run.result(timeout=SOON)
    assert most == expected
    await house.check_invariants()


async def test_a_lane_is_served_by_its_own_workers_only_and_does_not_hold_up_another(house: House) -> None:
    app = house.app()
    release = asyncio.Event()
    begun: list[str] = []

    @app.activity
    async def job(name: str, *, wait: bool = False) -> str:
        begun.append(name)
        if wait:
            await release.wait()
        return name

    client = await house.client(app)
    await house.worker(app, lane="heavy")
    heavy = [await client.start(job.call(f"heavy {n}", wait=True), lane="heavy") for n in range(20)]
    await eventually(lambda: len(begun) == Priority.MEDIUM.base_capacity, "the heavy lane is full")
    light = await client.start(job, "light")
    elsewhere = await client.start(job, "elsewhere", lane="elsewhere")
    await house.worker(app)
    assert await light.result(timeout=SOON) == "light"
    assert await elsewhere.status() is RunStatus.READY
    assert len(begun) == Priority.MEDIUM.base_capacity + 1
    release.set()
    for run in heavy:
        await run.result(timeout=SOON)
    await house.worker(app, lane="elsewhere")
    assert await elsewhere.result(timeout=SOON) == "elsewhere"
    await house.check_invariants()


async def test_a_flood_of_critical_work_leaves_the_other_priorities_their_slots(house: House) -> None:
    app = house.app()
    release = asyncio.Event()

    @app.activity
    async def job(*, wait: bool) -> None:
        if wait:
            await release.wait()

    client = await house.client(app)
    flood = await client.start_many([job.call(wait=True) for _ in range(300)], priority="critical")
    await house.worker(app)
    await house.until("select count(*) >= 6 from holdfast.task where bucket_id is not null")
    for priority in Priority:
        if priority is not Priority.CRITICAL:
            run = await client.start(job.call(wait=False), priority=priority.word)
            await run.result(timeout=SOON)
    held = await house.value("select count(*) from holdfast.task where bucket_id is not null")
    # No more than its slots plus its buffer.
    assert held <= Priority.CRITICAL.base_capacity + 250
    release.set()
    await house.ended(*[run.id for run in flood])
    await house.check_invariants()


async def test_a_worker_without_buckets_of_a_priority_leaves_it_to_others(house: House) -> None:
    app = house.app()
    here: list[str] = []

    @app.activity
    async def job(priority: str) -> str:
        here.append(priority)
        return priority

    client = await house.client(app)
    await house.worker(app, buckets={"low": 0})
    low = await client.start(job, "low", priority="low")
    for _ in range(3):
        await (await client.start(job, "high", priority="high")).result(timeout=SOON)
    assert await low.status() is RunStatus.READY
    await house.worker(app, buckets=dict.fromkeys(("very-low", "medium", "high", "critical"), 0))
    assert await low.result(timeout=SOON) == "low"
    await house.check_invariants()


async def test_no_more_threads_run_at_once_than_the_worker_and_the_activity_allow(house: House) -> None:
    app = house.app()
    lock = threading.Lock()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    gate = threading.Event()

    def enter(name: str) -> None:
        with lock:
            running[name] += 1
            running["all"] += 1
            most[name] = max(most[name], running[name])
            most["all"] = max(most["all"], running["all"])
        gate.wait(20)
        with lock:
            running[name] -= 1
            running["all"] -= 1

    @app.activity(max_concurrency=1)
    def one_at_a_time() -> None:
        enter("single")

    @app.activity
    def many() -> None:
        enter("many")

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(*[one_at_a_time() for _ in range(4)], *[many() for _ in range(8)])

    client = await house.client(app)
    await house.worker(app, max_threads=3)
    run = await client.start(flow)
    await eventually(lambda: running["all"] == 3, "every thread is taken")
    gate.set()
    await run.result(timeout=SOON)
    assert most == {"single": 1, "many": most["many"], "all": 3}
    await house.check_invariants()


async def test_two_workers_share_what_is_due(house: House) -> None:
    shares: Counter[str] = Counter()

    def app_of(worker: str) -> tuple[App, Activity[[], None]]:
        app = house.app()

        @app.activity
        async def job() -> None:
            shares[worker] += 1
            await asyncio.sleep(0.01)  # all of equal length

        return app, job

    app, job = app_of("one")
    other, _ = app_of("two")
    client = await house.client(app)
    await house.worker(app)
    await house.worker(other)
    runs = await client.start_many([job.call() for _ in range(400)])
    await house.ended(*[run.id for run in runs])
    assert shares.total() == 400
    assert min(shares["one"], shares["two"]) >= 120
    await house.check_invariants()
