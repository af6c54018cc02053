"""No permit is lost with the process that held it, and none is given twice: worker processes, ``kill -9``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.client import Client
from tests.apps.ledger import Ledger
from tests.apps.limited import GATE, go, serve, tour, visit
from tests.apps.limited import app as limited
from tests.house import House, WorkerProcess, eventually
from tests.limits.watching import watched
from tests.scenarios.soon import SOON

MODULE = "tests.apps.limited"
LEASE = ("--lease", "2s", "--poll", "200ms", "--parallelism-factor", "3")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


async def started(house: House, ledger: Ledger, gate: Path, count: int) -> list[WorkerProcess]:
    env = {**ledger.env, GATE: str(gate)}
    processes = [await house.process(MODULE, *LEASE, env=env) for _ in range(count)]
    for process in processes:
        await process.name()
    return processes


async def client_of(house: House) -> Client:
    limited.override(origin="the test", database_url=house.dsn)
    return await house.client(limited)


async def test_permits_of_a_killed_worker_come_back_with_its_runs(house: House, ledger: Ledger, gate: Path) -> None:
    client = await client_of(house)
    (victim,) = await started(house, ledger, gate, 1)
    runs = await client.start_many([serve.call(customer, n) for n in range(4) for customer in "abc"])
    await house.until("select count(*) = 4 from holdfast.permit where name = 'serve'")
    await eventually(ledger.lines, "the first one executes")
    async with watched(house, "serve") as seen:
        await victim.kill()
        await started(house, ledger, gate, 1)
        # Of the four that it held, or of others: four are executed again.
        await eventually(lambda: len({line.split()[3] for line in ledger.lines()}) == 2, "the other one executes")
        await house.until("select count(*) = 4 from holdfast.permit where name = 'serve'")
        await house.check_invariants()
        gate.touch()
        await house.ended(*[run.id for run in runs])
    assert seen.together <= 4
    assert max(seen.most.values()) <= 2
    assert await house.value("select count(*) from holdfast.permit") == 0
    await house.check_invariants()


async def test_a_workflow_keeps_its_permit_through_the_death_of_its_worker(
    house: House, ledger: Ledger, gate: Path
) -> None:
    client = await client_of(house)
    (victim,) = await started(house, ledger, gate, 1)
    runs = [await client.start(tour, n) for n in range(4)]
    await house.parked(*[run.id for run in runs[:2]])
    await victim.kill()
    await started(house, ledger, gate, 1)
    for n, run in enumerate(runs):
        await run.signal(go, None)
        assert await run.result(timeout=SOON) == n
        await house.check_invariants()


@pytest.mark.parametrize("seed", [1, 2])
async def test_limits_hold_while_workers_are_killed_again_and_again(
    house: House, ledger: Ledger, gate: Path, seed: int
) -> None:
    chance = random.Random(seed)
    gate.touch()
    client = await client_of(house)
    workers = await started(house, ledger, gate, 2)
    runs = await client.start_many([serve.call(chance.choice("abcde"), n) for n in range(250)])
    visits = await client.start_many([visit.call(customer, 10) for customer in "abcde"])
    async with watched(house, "serve") as seen:
        for kill in range(3):
            target = (kill + 1) * chance.randint(30, 60)
            await eventually(lambda target=target: len(ledger.lines()) >= target, f"{target} have begun")  # type: ignore[misc]
            victim = workers.pop(chance.randrange(len(workers)))
            await victim.kill()
            workers += [await house.process(MODULE, *LEASE, env={**ledger.env, GATE: str(gate)})]
        await house.ended(*[run.id for run in (*runs, *visits)], patience=40)
    assert seen.together <= 4
    assert max(seen.most.values()) <= 2
    assert [await run.result(timeout=SOON) for run in visits] == [45] * 5
    assert await house.value("select count(*) from holdfast.result where status <> 1") == 0
    assert await house.value("select count(*) from holdfast.permit") == 0
    assert await house.value("select count(*) from holdfast.permit_wait") == 0
    await house.check_invariants()
