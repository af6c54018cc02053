"""What a worker does when it is told to pause, resume, drain or stop, as seen from inside."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import App, InvalidInput, WorkerNotFound, WorkerStatus
from holdfast.app.hosted import HostedWorker
from tests.house import House, eventually

SOON = timedelta(seconds=20)


class Gate:
    """Counts what has begun, and holds it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open = asyncio.Event()


def app_of(house: House, gate: Gate, name: str = "one") -> App:
    app = house.app()

    @app.activity
    async def hold() -> str:
        gate.begun.append(name)
        await gate.open.wait()
        return name

    @app.activity
    async def step(number: int) -> int:
        return number

    @app.workflow
    async def flow(count: int) -> str:
        held = await hold()
        for number in range(count):
            await step(number)
        return held

    return app


async def registered(house: House, count: int = 1) -> None:
    """Waits until so many workers are there."""
    await house.until("select count(*) = $1 from holdfast.worker", count)


def name_of(worker: HostedWorker) -> str:
    assert worker.worker is not None
    assert worker.worker.name is not None
    return worker.worker.name


@pytest.mark.usefixtures("long_lines")
async def test_what_stands_in_line_with_a_paused_worker_goes_to_others_at_once(house: House) -> None:
    gate = Gate()
    app = app_of(house, gate)
    client = await house.client(app)
    worker = await house.worker(app)
    first = [await client.start_by_name("hold") for _ in range(4)]
    await eventually(lambda: len(gate.begun) == 4, "every slot is taken")
    more = [await client.start_by_name("hold") for _ in range(5)]
    await house.held(*[run.id for run in more])
    (answer,) = await client.workers.pause(name_of(worker))
    assert (answer.obeyed, answer.status, answer.problem) == (True, WorkerStatus.PAUSED, None)
    await house.until(
        "select count(*) = 5 from holdfast.task where run_id = any ($1::uuid[]) and bucket_id is null and hold = 1",
        [run.id for run in more],
    )
    gate.open.set()
    assert [await run.result(timeout=SOON) for run in first] == ["one"] * 4
    other = app_of(house, gate, "two")
    await house.worker(other)
    assert [await run.result(timeout=SOON) for run in more] == ["two"] * 5
    assert gate.begun == ["one"] * 4 + ["two"] * 5
    await house.check_invariants()


async def test_a_workflow_that_has_begun_goes_on_step_by_step_while_its_worker_is_paused(house: House) -> None:
    gate = Gate()
    app = app_of(house, gate)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start_by_name("flow", {"count": 5})
    await eventually(lambda: gate.begun, "it has begun")
    await client.workers.pause(all=True)
    later = await client.start_by_name("flow", {"count": 1})
    gate.open.set()
    assert await run.result(timeout=SOON) == "one"
    assert len(await house.journal(run.id)) == 6
    assert await house.value("select first_claim_at is null from holdfast.task where run_id = $1", later.id)
    await client.workers.resume(all=True)
    assert await later.result(timeout=SOON) == "one"
    await house.check_invariants()


async def test_it_may_be_paused_and_resumed_again_and_again_under_load(house: House) -> None:
    gate = Gate()
    gate.open.set()
    app = app_of(house, gate)
    client = await house.client(app)
    await house.worker(app)
    await house.worker(app)
    await registered(house, 2)
    runs = [await client.start_by_name("flow", {"count": 3}) for _ in range(100)]
    for _ in range(10):
        for verb in (client.workers.pause, client.workers.resume):
            assert all(answer.obeyed for answer in await verb(all=True))
    for run in runs:
        assert await run.result(timeout=SOON) == "one"
    await house.check_invariants()


async def test_a_paused_worker_asks_for_nothing_to_do(house: House) -> None:
    app = app_of(house, Gate())
    client = await house.client(app)
    worker = await house.worker(app)
    await registered(house)
    await client.workers.pause(all=True)
    assert worker.worker is not None
    tenure = worker.worker.tenure
    assert tenure is not None
    assert tenure._claimer is not None
    claims = tenure._claimer.claims
    await client.start_by_name("step", {"number": 1})
    lease = "select lease_until from holdfast.worker"
    for _ in range(3):
        await house.until(f"select ({lease}) > $1", await house.value(lease))
    assert tenure._claimer.claims == claims


async def test_a_drained_worker_in_a_program_ends_and_its_block_is_left_as_ever(house: House) -> None:
    gate = Gate()
    app = app_of(house, gate)
    client = await house.client(app)
    async with app.worker(skip_warm_up=True) as worker:
        run = await client.start_by_name("hold")
        await eventually(lambda: gate.begun, "it has begun")
        await client.workers.drain(name_of(worker))
        gate.open.set()
        assert await run.result(timeout=SOON) == "one"
        await house.until("select state = 'left' from holdfast.worker")
    assert await client.workers.list() == []


async def test_what_a_list_says(house: House) -> None:
    gate = Gate()
    app = app_of(house, gate)
    client = await house.client(app)
    worker = await house.worker(app, name="payroll", lane="money", mode="execution")
    await client.start_by_name("hold", lane="money")
    await eventually(lambda: gate.begun, "it has begun")
    (one,) = await client.workers.list(name="payroll", lane="money")
    assert (one.name, one.lane, one.mode, one.status, one.asked) == (
        name_of(worker), "money", "execution", WorkerStatus.ACTIVE, None,
    )  # fmt: skip
    assert one.held == 1
    assert timedelta(0) <= one.heartbeat_age < one.lease
    assert await client.workers.list(name="payroll", lane="elsewhere") == []
    gate.open.set()


async def test_the_dead_are_listed_until_others_have_what_they_held(house: House) -> None:
    gate = Gate()
    app = app_of(house, gate)
    client = await house.client(app)
    worker = await house.worker(app, lease=timedelta(hours=1), mode="execution")
    await client.start_by_name("hold")
    await eventually(lambda: gate.begun, "it has begun")
    await house.expire_lease(name_of(worker))
    (one,) = await client.workers.list()
    assert (one.status, one.held) == (WorkerStatus.DEAD, 1)
    (answer,) = await client.workers.stop(one.name)
    assert (answer.told, answer.obeyed) == (False, False)
    assert "it is dead" in str(answer.problem)


@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "stop"])
async def test_it_has_to_be_said_which(house: House, verb: str) -> None:
    client = await house.client(app_of(house, Gate()))
    tell = getattr(client.workers, verb)
    with pytest.raises(InvalidInput, match="which workers"):
        await tell()
    with pytest.raises(InvalidInput, match="which workers"):
        await tell("payroll", all=True)
    with pytest.raises(InvalidInput, match="wait: zero or more"):
        await tell("payroll", wait=timedelta(seconds=-1))
    with pytest.raises(WorkerNotFound, match="no worker called 'payroll' in lane 'money'"):
        await tell("payroll", lane="money")


async def test_without_waiting_it_is_told_and_that_is_all(house: House) -> None:
    app = app_of(house, Gate())
    client = await house.client(app)
    await house.worker(app)
    await registered(house)
    (answer,) = await client.workers.pause(all=True, wait=timedelta(0))
    assert (answer.told, answer.problem) == (True, None)
    await house.until("select state = 'paused' from holdfast.worker")


async def test_the_blocking_client_has_them_too(house: House) -> None:
    app = app_of(house, Gate())
    await house.worker(app, name="payroll")
    await registered(house)

    def use() -> list[str]:
        with app.blocking_client() as client:
            paused = client.workers.pause("payroll")
            listed = client.workers.list()
            client.workers.resume(all=True)
            found = [one.status for one in paused] + [one.status for one in (*listed, *client.workers.list())]
            return [str(status) for status in found]

    assert await asyncio.to_thread(use) == ["paused", "paused", "active"]
