"""What a worker does and leaves to others, by its mode: the matrix of duties, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from holdfast import App
from holdfast.app.hosted import WorkerOptions
from holdfast.core.mode import Duty, Mode
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import QUICK, House, eventually

SOON = timedelta(seconds=20)
BRIEF: WorkerOptions = {**QUICK, "lease": timedelta(seconds=1)}


def app_of(house: House) -> App:
    """An app with a workflow, a schedule of every second, and a resource."""
    app = house.app()
    opened: list[str] = []

    @app.lifespan
    async def pool() -> AsyncGenerator[str, None]:
        opened.append("pool")
        yield "pool"

    @app.schedule(every=timedelta(seconds=1))
    @app.workflow
    async def tick() -> None:
        return None

    @app.workflow
    async def flow() -> str:
        return "done"

    vars(app)["opened"] = opened
    return app


async def orphan(house: House) -> int:
    """A worker that is gone, whose lease is over; it held a run."""
    session = Session(house.db, Statements())
    gone = await work.register(
        session, name="gone-1", host="h", pid=1, lane="elsewhere", names=["flow"], lease=timedelta(seconds=1),
        slots=[("elsewhere", 3)], mode="full", version="1",
    )  # fmt: skip
    client = await house.client(app_of(house))
    run = await client.start_by_name("flow", lane="elsewhere")
    await house.db.execute("update holdfast.task set bucket_id = $1 where run_id = $2", gone.buckets[0], run.id)
    await house.expire_lease("gone-1")
    return gone.worker


@pytest.mark.parametrize("mode", Mode)
async def test_a_worker_does_what_its_mode_says_and_nothing_else(house: House, mode: Mode) -> None:
    gone = await orphan(house)
    app = app_of(house)
    client = await house.client(app)
    run = await client.start_by_name("flow")
    overdue = await client.start_by_name("nobody-knows-it", lane="elsewhere", timeout=timedelta(milliseconds=1))
    options: WorkerOptions = {**BRIEF, "mode": mode.value}
    async with app.worker(**options) as worker:
        assert worker.settings.mode == mode
        await house.until("select exists (select from holdfast.worker where mode = $1 and id <> $2)", mode.value, gone)
        buckets = await house.value(
            "select count(*) from holdfast.bucket b join holdfast.worker w on w.id = b.worker_id where w.id <> $1", gone
        )
        assert (buckets > 0) is mode.does(Duty.CLAIM)
        assert (vars(app)["opened"] == ["pool"]) is mode.does(Duty.EXECUTE)
        if mode.does(Duty.EXECUTE):
            assert await run.result(timeout=SOON) == "done"
        if mode.does(Duty.SCAN):
            await house.ended(overdue.id)
            await house.until("select exists (select from holdfast.run where name = 'tick')")
        if mode.does(Duty.RECOVER):
            await house.until("select state = 'lost' from holdfast.worker where id = $1", gone)
            await house.until("select not exists (select from holdfast.bucket where worker_id = $1)", gone)
        # Long enough for the rest to have happened, if it were going to: as long as its lease was renewed twice.
        lease = "select lease_until from holdfast.worker where id <> $1"
        for _ in range(3):
            await house.until(f"select ({lease}) > $2", gone, await house.value(lease, gone))
        ended = "select exists (select from holdfast.result where run_id = $1)"
        assert await house.value(ended, run.id) is mode.does(Duty.EXECUTE)
        assert await house.value(ended, overdue.id) is mode.does(Duty.SCAN)
        assert await house.value("select exists (select from holdfast.run where name = 'tick')") is mode.does(Duty.SCAN)
        lost = await house.value("select state = 'lost' from holdfast.worker where id = $1", gone)
        assert lost is mode.does(Duty.RECOVER)


async def test_a_coordinator_and_an_executor_do_together_what_a_full_worker_does(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    await house.worker(app, mode="coordinator")
    await house.worker(app, mode="execution")
    run = await client.start_by_name("flow")
    assert await run.result(timeout=SOON) == "done"
    await house.until("select exists (select from holdfast.result e join holdfast.run r on r.id = e.run_id "
                      "where r.name = 'tick')")  # fmt: skip
    # The executor has the schedule in its code, so it stays in use when the coordinator is replaced.
    assert await house.value("select count(*) from holdfast.worker where schedules ? 'tick'") == 2


async def test_a_worker_that_executes_nothing_needs_nothing_to_execute(house: House) -> None:
    await house.worker(house.app(), mode="coordinator")
    await house.worker(house.app(), mode="drain")
    await house.until("select count(*) = 2 from holdfast.worker where state = 'active'")


async def test_nobody_counts_on_a_coordinator_to_execute(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    await house.worker(app, mode="coordinator")
    await house.until("select exists (select from holdfast.worker where mode = 'coordinator')")
    run = await client.start_by_name("flow")
    why = await run.why()
    assert "no worker" in str(why)


async def test_several_workers_in_one_process_are_strangers_to_each_other(house: House) -> None:
    """Two lanes, one app: each has its name, its places and its resources."""
    app = house.app()
    gate = asyncio.Event()
    running: list[str] = []
    opened: list[str] = []

    @app.lifespan
    async def pool() -> AsyncGenerator[int, None]:
        opened.append("pool")
        yield len(opened)

    @app.activity
    async def hold() -> int:
        running.append("one")
        await gate.wait()
        return pool.value

    client = await house.client(app)
    async with app.workers("heavy", "light", **QUICK) as workers:
        assert [worker.settings.lane for worker in workers] == ["heavy", "light"]
        heavy = [await client.start(hold, lane="heavy") for _ in range(20)]
        places = next(iter(workers)).settings.capacity
        assert places is not None
        await eventually(lambda: len(running) >= 4, "the heavy lane has no place left")
        light = await client.start(hold, lane="light")
        await house.until("select first_claim_at is not null from holdfast.task where run_id = $1", light.id)
        await eventually(lambda: len(running) == 5, "the light lane has places of its own")
        assert await house.value("select count(distinct name) from holdfast.worker") == 2
        gate.set()
        values = {await run.result(timeout=SOON) for run in (*heavy, light)}
        assert values == {1, 2}
    assert await house.value("select count(*) from holdfast.worker where state = 'left'") == 2
    await house.check_invariants()


async def test_two_contexts_side_by_side_do_as_well(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    one: WorkerOptions = {**QUICK, "lane": "a"}
    other: WorkerOptions = {**QUICK, "lane": "b"}
    async with app.worker(**one), app.worker(**other):
        for lane in ("a", "b"):
            assert await (await client.start_by_name("flow", lane=lane)).result(timeout=SOON) == "done"


async def test_if_one_of_several_cannot_begin_the_others_are_stopped_and_its_error_is_told_once(house: House) -> None:
    from holdfast import SchemaMismatch

    app = App(house.dsn, schema="nowhere", auto_setup=False)

    @app.workflow
    async def flow() -> None:
        return None

    with pytest.raises(SchemaMismatch):
        await app.workers("a", "b", **QUICK).run()
