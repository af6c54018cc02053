"""A run that kills its worker each time is given up after five crashes, and takes no neighbour along (R8)."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import RunFailed, Signal
from tests.apps import poison
from tests.house import House, WorkerProcess

SOON = timedelta(seconds=60)


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_a_poisonous_run_is_given_up_after_five_crashes_and_its_neighbours_succeed(
    house: House, kind: str
) -> None:
    app = house.app()
    for name, definition in poison.app.definitions.items():
        del name
        app._registry.add(definition)
    client = await house.client(app)
    bad = await (client.start(poison.poisoned, "x") if kind == "workflow" else client.start(poison.die, "x"))
    neighbours = await client.start_many([poison.neighbour.call(n) for n in range(50)])

    workers = [await house.process("tests.apps.poison", "--lease", "2s", "--grace", "5s")]
    while True:
        # Whoever dies is replaced, as an operator would; from the second crash on, nobody of these may die any more.
        ended = await house.value("select count(*) from holdfast.result where run_id = $1", bad.id)
        if ended:
            break
        with suppress(TimeoutError):
            await workers[-1].exit(patience=0.3)
            workers.append(await house.process("tests.apps.poison", "--lease", "2s", "--grace", "5s"))
    assert len(workers) == 3, "two crashes of ordinary workers, the other three in processes of their own"

    with pytest.raises(RunFailed, match="given up after 5 crashes"):
        await bad.result(timeout=SOON)
    assert [await run.result(timeout=SOON) for run in neighbours] == [5 * n for n in range(50)]
    await house.check_invariants()


async def test_hundreds_whose_worker_was_killed_twice_end_within_seconds_but_for_the_one_that_does_it(
    house: House,
) -> None:
    app = house.app()
    for definition in poison.app.definitions.values():
        app._registry.add(definition)
    client = await house.client(app)
    bad = await client.start(poison.patiently_poisoned, "x")
    neighbours = [
        run
        for priority in ("medium", "high")
        for run in await client.start_many([poison.patient_neighbour.call(n) for n in range(150)], priority=priority)
    ]
    go = house.place / "go"
    options = ("--lease", "1s", "--poll", "200ms", "--grace", "5s", "--max-activities", "400")

    async def worker() -> WorkerProcess:
        return await house.process("tests.apps.poison", *options, env={"POISON_GO": str(go)})

    for crashes in range(2):
        killed = await worker()
        await house.until(
            "select count(*) = 301 from holdfast.task where bucket_id is not null and crashes = $1 "
            "and ($1 = 0 or flags & 8 <> 0)",
            crashes,
        )
        await killed.kill()
    go.touch()
    await worker()
    # One after the other they would take a minute.
    await house.ended(bad.id, *[run.id for run in neighbours], patience=30)
    with pytest.raises(RunFailed, match="given up after 5 crashes"):
        await bad.result(timeout=SOON)
    assert [await run.result(timeout=SOON) for run in neighbours] == [*range(150), *range(150)]
    assert await house.value("select count(*) from holdfast.worker where state = 'lost'") == 5
    await house.check_invariants()


@pytest.mark.parametrize("how", ["leaves", "is fenced"])
async def test_that_the_worker_which_has_them_executed_goes_is_no_crash(house: House, how: str) -> None:
    app = house.app()
    for definition in poison.app.definitions.values():
        app._registry.add(definition)
    client = await house.client(app)
    run = await client.start(poison.patient_neighbour, 5)
    await suspect(house, run.id, crashes=4)
    go = house.place / "go"
    options = ("--lease", "2s", "--poll", "200ms", "--grace", "200ms")
    one = await house.process("tests.apps.poison", *options, env={"POISON_GO": str(go)})
    name = await one.name()
    await house.until("select flags & 8 <> 0 from holdfast.task where run_id = $1", run.id)
    apart = await house.value("select name from holdfast.worker where pid <> $1", one.pid)
    if how == "leaves":
        one.send(signal.SIGTERM)
    else:
        await house.db.execute(
            "update holdfast.worker set lease_until = clock_timestamp(), epoch = epoch + 1, state = 'lost', "
            "ended_at = clock_timestamp() where name = $1",
            name,
        )
    # The process in which it is executed ends in order, too.
    await house.until("select state = 'left' from holdfast.worker where name = $1", apart)
    assert await house.value("select crashes from holdfast.task where run_id = $1", run.id) == 4
    await house.check_invariants()


async def suspect(house: House, run: UUID, *, crashes: int) -> None:
    """So many workers have died with it."""
    await house.db.execute(
        "update holdfast.task set crashes = $2, lane = 'default alone' where run_id = $1", run, crashes
    )


async def test_a_suspect_that_has_got_on_goes_on_in_its_own_line(house: House) -> None:
    app = house.app()
    lanes: list[str] = []
    look = "select b.lane from holdfast.task t join holdfast.bucket b on b.id = t.bucket_id where t.run_id = $1"

    @app.activity
    async def step() -> None:
        lanes.append(await house.value(look, run.id))

    @app.workflow
    async def flow() -> None:
        await step()
        await step()

    client = await house.client(app)
    run = await client.start(flow)
    await suspect(house, run.id, crashes=4)
    await house.worker(app)
    await run.result(timeout=SOON)
    assert lanes == ["default alone", "default"]
    assert await house.journal(run.id) == ["step#1", "step#2"]


async def test_a_suspect_with_four_crashes_is_executed_beside_no_other_whatever_comes_for_it(house: House) -> None:
    app = house.app()
    begun: list[str] = []
    over = asyncio.Event()
    word = Signal[int]("word")

    @app.workflow
    async def flow(name: str) -> None:
        await enter(name)

    @app.workflow
    async def listens(name: str) -> None:
        await enter(name)
        await word.wait()

    @app.activity
    async def enter(name: str) -> None:
        begun.append(name)
        if name == "first":
            await over.wait()

    client = await house.client(app)
    first = await client.start(flow, "first")
    await suspect(house, first.id, crashes=4)
    await house.worker(app)
    await house.until("select flags & 8 <> 0 from holdfast.task where run_id = $1", first.id)
    second = await client.start(listens, "second", priority="high", after=timedelta(hours=1))
    other = await client.start(listens, "other")
    await suspect(house, second.id, crashes=2)
    await house.db.execute("update holdfast.task set due_at = holdfast.now() where run_id = $1", second.id)
    await house.held(second.id)
    await second.signal(word, 1)
    # What comes for all that is held is read together: so it was seen, and the suspect not entered for it.
    await other.signal(word, 1)
    await other.result(timeout=SOON)
    assert begun == ["first", "other"]
    assert not await house.value("select flags & 8 from holdfast.task where run_id = $1", second.id)
    over.set()
    await first.result(timeout=SOON)
    await second.result(timeout=SOON)
    assert begun == ["first", "other", "second"]
    await house.check_invariants()


async def test_jobs_whose_worker_has_died_have_no_more_slots_than_others(house: House) -> None:
    app = house.app()
    inside = most = 0

    @app.activity
    async def job() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.005)
        inside -= 1

    client = await house.client(app)
    runs = await client.start_many([job.call() for _ in range(120)])
    await house.db.execute("update holdfast.task set crashes = 1")
    await house.worker(app)
    await house.ended(*[run.id for run in runs])
    assert most == 4
