"""W13: a fan-out of 10,000 activities: all workers take part, its parent is woken once, and memory stays in bounds."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from holdfast import Client, RunCancelled
from tests.apps.ledger import Ledger
from tests.apps.studio import app, fan, held_fan, noted_fan
from tests.house import House, WorkerProcess, eventually
from tests.scenarios.soon import SOON

MODULE = "tests.apps.studio"
MANY = 10_000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
async def client(house: House) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def two(house: House, ledger: Ledger) -> list[WorkerProcess]:
    workers = [await house.process(MODULE, env=ledger.env) for _ in range(2)]
    for worker in workers:
        await worker.name()
    return workers


async def times_held(house: House, run: UUID) -> int:
    """How often a worker has claimed it, as far as its journal tells."""
    return int(await house.value("select max(hold) from holdfast.journal where run_id = $1", run))


def peak(worker: WorkerProcess) -> float:
    """The most memory that the process has needed so far, in MB."""
    status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def test_all_workers_take_part_and_the_parent_is_woken_once(house: House, client: Client, ledger: Ledger) -> None:
    workers = await two(house, ledger)
    run = await client.start(noted_fan, MANY)
    assert await run.result(timeout=SOON * 3) == sum(range(MANY))
    by = [line.split()[2] for line in ledger.lines()]
    assert len(by) == MANY
    for worker in workers:
        assert by.count(str(worker.pid)) >= MANY // 10
    # It was claimed when it was started, and woken once.
    assert await times_held(house, run.id) == 2
    await house.check_invariants()


async def test_memory_stays_within_50_mb_of_what_a_thousand_need(house: House, client: Client, ledger: Ledger) -> None:
    workers = await two(house, ledger)
    assert await (await client.start(fan, 1000)).result(timeout=SOON) == sum(range(1000))
    before = [peak(worker) for worker in workers]
    assert await (await client.start(fan, MANY)).result(timeout=SOON * 3) == sum(range(MANY))
    grown = [peak(worker) - was for worker, was in zip(workers, before, strict=True)]
    assert max(grown) <= 50, grown


async def test_its_runs_are_made_in_few_commits(house: House, client: Client, ledger: Ledger) -> None:
    await two(house, ledger)
    run = await client.start(fan, MANY)
    assert await run.result(timeout=SOON * 3) == sum(range(MANY))
    made = await house.value("select count(distinct created_at) from holdfast.run where parent = $1", run.id)
    assert made <= 8
    await house.check_invariants()


async def test_a_fan_out_that_is_cancelled_leaves_nothing_behind(house: House, client: Client, ledger: Ledger) -> None:
    await two(house, ledger)
    run = await client.start(held_fan, 3000)
    await eventually(lambda: len(ledger.lines()) >= 100, "some are being executed")
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await house.until("select not exists (select from holdfast.task)")
    assert (
        await house.value("select count(*) from holdfast.runs where parent = $1 and status <> 'cancelled'", run.id) == 0
    )
    await house.check_invariants()


async def test_other_runs_do_not_wait_behind_it(house: House, client: Client, ledger: Ledger) -> None:
    await two(house, ledger)
    await client.start(held_fan, 3000)
    await eventually(lambda: len(ledger.lines()) >= 200, "both workers are full of it")
    # All activities of both workers are taken; runs are claimed and executed all the same.
    assert await house.value("select count(*) from holdfast.task where lane = 'default activities'") > 1000
    waiting = await client.start(fan, 0)
    assert await waiting.result(timeout=SOON) == 0
