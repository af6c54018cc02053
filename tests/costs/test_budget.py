"""The cost budget: statements, commits and WAL bytes, as counts and never as times."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, Client, Connection, Signal
from holdfast.app.hosted import WorkerOptions
from tests.costs.meter import Meter
from tests.house import House

SOON = timedelta(seconds=60)

CALM: WorkerOptions = {
    "lease": timedelta(hours=1),
    "poll": timedelta(seconds=60),
    # Fifty slots and no buffer: batches of fifty.
    "parallelism_factor": 12.5,
    "bucket_buffer_size": 0,
}
"""A worker that does nothing but work while it is measured."""


def workload(house: House) -> App:
    app = house.app()

    @app.activity
    async def noop(number: int) -> int:
        return number

    @app.workflow
    async def steps(count: int) -> int:
        for _ in range(count):
            await noop(1)
        return count

    return app


def call(app: App, name: str, number: int) -> Any:
    return app.definitions[name].call(number)


async def warmed_up(house: House, app: App) -> Client:
    """A client and a worker that have prepared their statements."""
    client = await house.client(app)
    await house.worker(app, **CALM)
    for name in ("noop", "steps"):
        await (await client.start(call(app, name, 1))).result(timeout=SOON)
    for run in await client.start_many([call(app, name, 2) for name in ("noop", "steps") for _ in range(50)]):
        await run.result(timeout=SOON)
    await house.db.execute("checkpoint")
    return client


async def test_a_single_start_is_one_statement_one_commit_and_at_most_a_kilobyte(house: House) -> None:
    app = workload(house)
    client = await house.client(app)
    for _ in range(10):
        await client.start(call(app, "noop", 1))
    await house.db.execute("checkpoint")
    async with Meter(house) as cost:
        for _ in range(100):
            await client.start(call(app, "noop", 1))
    assert cost.calls == {"start_one": 100}
    assert cost.commits == 100
    assert cost.wal <= 100 * 1_000, f"{cost.wal / 100:.0f} bytes each"


async def test_a_no_op_job_costs_a_tenth_of_a_statement_and_eight_hundred_bytes(house: House) -> None:
    app = workload(house)
    client = await warmed_up(house, app)
    count = 1_000
    async with Meter(house) as starting:
        runs = await client.start_many([call(app, "noop", 1) for _ in range(count)], lane="held-back")
    async with Meter(house) as cost:
        # In one transaction, so that the worker finds them all at once.
        await house.db.execute("update holdfast.task set lane = 'default' where lane = 'held-back'")
        moved = await house.value("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        await house.db.execute("select holdfast.hint('due default')")
        await house.ended(*[run.id for run in runs])
    assert starting.calls.total() <= 1 + count // 500
    assert cost.statements / count <= 0.1, cost.calls
    assert cost.commits / count <= 0.1
    spent = cost._after.wal - moved
    assert spent / count <= 800, f"{spent / count:.0f} bytes each"


async def test_each_further_step_costs_a_twentieth_of_a_statement_and_four_hundred_bytes(house: House) -> None:
    app = workload(house)
    client = await warmed_up(house, app)
    count, more = 200, 10
    costs: list[Meter] = []
    for steps in (1, 1 + more):
        async with Meter(house) as cost:
            runs = await client.start_many([call(app, "steps", steps) for _ in range(count)])
            await house.ended(*[run.id for run in runs])
        costs.append(cost)
    few, many = costs
    further = count * more
    assert (many.calls["flush"] - few.calls["flush"]) / further <= 0.05, many.calls
    assert (many.wal - few.wal) / further <= 400, f"{(many.wal - few.wal) / further:.0f} bytes each"


@pytest.mark.parametrize("steps", [1, 10, 50])
async def test_sequential_steps_of_a_single_run_cost_a_statement_each_and_four_more(house: House, steps: int) -> None:
    app = workload(house)
    client = await warmed_up(house, app)
    async with Meter(house) as cost:
        run = await client.start(call(app, "steps", steps))
        await house.ended(run.id)
        await house.until("select not exists (select from holdfast.task)")
    assert cost.statements - cost.calls["results"] <= steps + 4, cost.calls
    assert cost.commits <= steps + 4


async def test_a_replay_reads_the_journal_once_and_rewrites_nothing(house: House) -> None:
    app = house.app()

    @app.activity
    async def noop(number: int) -> int:
        return number

    @app.workflow
    async def long(count: int) -> int:
        for number in range(count):
            await noop(number)
        return await Signal[int]("go").wait()

    client = await house.client(app)
    forgetful: WorkerOptions = {**CALM, "cached_runs": 0}
    await house.worker(app, **forgetful)
    run = await client.start(long, 50)
    await house.parked(run.id)
    async with Meter(house) as cost:
        await run.signal_by_name("go", 7)
        assert await run.result(timeout=SOON) == 7
    assert cost.calls["journals"] == 1
    assert await house.value("select count(*) from holdfast.journal where run_id = $1", run.id) == 51
    # The signal, and its hint; the claim; the letter, journaled; the end; the hint that it has ended.
    assert cost.commits <= 6


async def test_children_of_one_parent_cost_what_as_many_starts_and_jobs_cost(house: House) -> None:
    app = house.app()

    @app.workflow
    async def leaf(number: int) -> int:
        return number

    @app.workflow
    async def wide(count: int) -> int:
        return sum(await asyncio.gather(*(leaf(number) for number in range(count))))

    client = await house.client(app)
    await house.worker(app, **CALM)
    for _ in range(2):
        await (await client.start(wide, 100)).result(timeout=SOON)
    await house.db.execute("checkpoint")
    count = 500
    async with Meter(house) as cost:
        run = await client.start(wide, count)
        await house.ended(run.id)
        await house.until("select not exists (select from holdfast.task)")
    # Beside hints, of which there may be one for each flush.
    assert (cost.statements - cost.calls["hint"]) / count <= 0.1, cost.calls
    assert cost.commits / count <= 0.1
    # A start of 1.0 kB and a job of 0.8 kB; then what its parent has of it: two rows of its journal, and a letter.
    assert cost.wal / count <= 1_800 + 1_200, f"{cost.wal / count:.0f} bytes each"
    # It was woken once, for all of them.
    assert await house.value("select count(distinct hold) from holdfast.journal where run_id = $1", run.id) <= 3


async def test_dispatched_activities_cost_what_as_many_starts_and_jobs_cost(house: House) -> None:
    app = house.app()

    @app.activity
    async def nothing(number: int) -> int:
        return number

    @app.workflow
    async def wide(count: int) -> int:
        return sum(await asyncio.gather(*(nothing(number) for number in range(count))))

    client = await house.client(app)
    small: WorkerOptions = {**CALM, "max_activities": 10}
    await house.worker(app, **small)
    for _ in range(2):
        await (await client.start(wide, 100)).result(timeout=SOON)
    await house.db.execute("checkpoint")
    count = 1000
    async with Meter(house) as cost:
        run = await client.start(wide, count)
        await house.ended(run.id)
        await house.until("select not exists (select from holdfast.task)")
    dispatched = await house.value("select count(*) from holdfast.run where parent = $1", run.id)
    assert dispatched >= count - 100
    # Beside hints, of which there may be one for each flush.
    assert (cost.statements - cost.calls["hint"]) / count <= 0.25, cost.calls
    assert cost.commits / count <= 0.25
    # A start of 1.0 kB and a job of 0.8 kB; then what its parent has of it: two rows of its journal, and a letter.
    assert cost.wal / count <= 1_800 + 1_400, f"{cost.wal / count:.0f} bytes each"


@pytest.mark.parametrize("soon", [0, 250])
async def test_an_idle_worker_asks_at_most_three_times_a_second(house: House, soon: int) -> None:
    """Also while it has its buffer full of what is due before long. Here a poll is a fifth of the default, a second."""
    poll, lease = timedelta(milliseconds=200), timedelta(seconds=3)
    app = workload(house)
    client = await house.client(app)
    await client.start_many([call(app, "noop", 1) for _ in range(2_000)], after=timedelta(days=1))
    if soon:
        await client.start_many([call(app, "noop", 1) for _ in range(soon)], after=timedelta(seconds=29))
    for number in range(50):
        await client.schedules.create(
            f"daily {number}", call(app, "noop", number), "every year on february 29 at 00:00", paused=number > 40
        )
    lead = timedelta(seconds=30)
    await house.worker(app, poll=poll, lease=lease, bucket_buffer_lead_time=lead)
    await house.until("select count(*) = $1 from holdfast.task where bucket_id is not null", soon)
    await house.db.execute("create extension if not exists pg_stat_statements")
    everything = (
        "select sum(calls)::int from pg_stat_statements where query not like '%pg_stat_statements%'"
        # What the driver asks once on each connection, the first time that it meets an array.
        " and query not like '%typeinfo_tree%' and query not like '%set_config(%'"
        " and dbid = (select oid from pg_database where datname = current_database())"
    )
    claims = (
        "select coalesce(sum(calls), 0)::int from pg_stat_statements where query like '%holdfast.claim%' and dbid = "
        "(select oid from pg_database where datname = current_database())"
    )
    first = await house.value(claims)
    await house.until(claims.replace("coalesce(sum(calls), 0)::int", f"sum(calls) >= {first + 2}"))
    began, before = await house.value("select clock_timestamp()"), await house.value(everything)
    polled = await house.value(claims)
    await house.until(claims.replace("coalesce(sum(calls), 0)::int", f"sum(calls) >= {polled + 12}"))
    ended, after = await house.value("select clock_timestamp()"), await house.value(everything)
    assert (after - before) / ((ended - began) / poll) <= 3


@pytest.mark.parametrize("steps", [1, 10])
async def test_a_transactional_step_costs_two_statements_and_one_commit_that_is_its_own(
    house: House, steps: int
) -> None:
    app = house.app()
    await house.db.execute("create table effect (number int)")

    @app.activity(transactional=True)
    async def write(connection: Connection, number: int) -> int:
        await connection.execute("insert into effect values ($1)", number)
        return number

    @app.workflow
    async def writes(count: int) -> int:
        for number in range(count):
            await write(number)
        return count

    client = await house.client(app)
    await house.worker(app, **CALM)
    for _ in range(3):
        await (await client.start(writes, 2)).result(timeout=SOON)
    await house.db.execute("checkpoint")
    async with Meter(house) as cost:
        run = await client.start(writes, steps)
        await house.ended(run.id)
        await house.until("select not exists (select from holdfast.task)")
    assert cost.calls["begin_activity"] == cost.calls["record"] == steps
    assert cost.calls["settle"] == 0
    # The start, the claim, the end of the run, the hint that it has ended; and one for each step and its effect.
    assert cost.calls["flush"] <= 1
    assert cost.commits <= steps + 4
    # Besides the claim that takes it there are looks after a while, more the longer it all takes: those are polls.
    assert cost.statements - cost.calls["results"] - cost.calls["claim"] <= 2 * steps + 3, cost.calls
    assert cost.calls["claim"] <= 4, cost.calls
    # A job ends in the commit of its effect: nothing is flushed for it.
    async with Meter(house) as cost:
        job = await client.start(write, 1)
        await house.ended(job.id)
    assert cost.calls["record"] == 1
    assert cost.calls["flush"] == 0


async def test_a_limit_that_is_far_away_costs_a_job_next_to_nothing(house: House) -> None:
    app = house.app()

    @app.activity(concurrency=10_000)
    async def noop(number: int) -> int:
        return number

    client = await house.client(app)
    await house.worker(app, **CALM)
    for run in await client.start_many([noop.call(n) for n in range(100)]):
        await run.result(timeout=SOON)
    count = 1_000
    runs = await client.start_many([noop.call(n) for n in range(count)], lane="held-back")
    await house.db.execute("checkpoint")
    async with Meter(house) as cost:
        await house.db.execute("update holdfast.task set lane = 'default' where lane = 'held-back'")
        moved = await house.value("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        await house.db.execute("select holdfast.hint('due default')")
        await house.ended(*[run.id for run in runs])
    assert cost.statements / count <= 0.1, cost.calls
    assert cost.commits / count <= 0.1
    spent = cost._after.wal - moved
    assert spent / count <= 820, f"{spent / count:.0f} bytes each"
    assert cost.calls["claim_leased"] > 0
    assert cost.calls["claim_limited"] == 0
