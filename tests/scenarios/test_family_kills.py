"""W17, R1: workers of parents and of children are killed; no child is doubled, and none is lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from holdfast import Client, RunStatus
from tests.apps.family import app, counts_child, go, leaves, many, tree
from tests.apps.ledger import Ledger
from tests.house import House, WorkerProcess, eventually
from tests.scenarios.soon import SOON

MODULE = "tests.apps.family"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
async def client(house: House) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def process(house: House, ledger: Ledger) -> WorkerProcess:
    started = await house.process(MODULE, "--lease", "2s", "--poll", "200ms", env=ledger.env)
    await started.name()
    return started


@pytest.mark.parametrize("seed", [1, 2])
async def test_families_whose_workers_are_killed_again_and_again_are_complete(
    house: House, ledger: Ledger, client: Client, seed: int
) -> None:
    chance = random.Random(seed)
    workers = [await process(house, ledger) for _ in range(2)]
    trees = await client.start_many([tree.call(2, 4)] * 6)
    fans = await client.start_many([many.call(30)] * 3)
    chains = await client.start_many([counts_child.call(20)] * 3)
    for kill in range(4):
        # At a random moment: after so many further calls.
        target = len(ledger.lines()) + chance.randint(3, 25)
        await eventually(lambda target=target: len(ledger.lines()) >= min(target, 100), "activities are called")  # type: ignore[misc]
        await workers.pop(chance.randrange(len(workers))).kill()
        workers.append(await process(house, ledger))
        if kill % 2:
            await house.check_invariants()
    for run in trees:
        assert await run.result(timeout=SOON * 2) == 1 + 4 + 16
    for fan in fans:
        assert await fan.result(timeout=SOON * 2) == [f"parcel {order}" for order in range(30)]
    for chain in chains:
        assert (await chain.result(timeout=SOON * 2)).startswith("20 of ")
    # As many runs as there are calls, each started once, each ended by itself.
    for run in trees:
        assert await house.value("select count(*) from holdfast.run where root = $1", run.id) == 20
    for fan in fans:
        assert await house.value("select count(*) from holdfast.run where parent = $1", fan.id) == 30
    for chain in chains:
        assert await house.value("select count(*) from holdfast.run where parent = $1", chain.id) == 21
    assert not await house.value("select count(*) from holdfast.task")
    assert not await house.value("select count(*) from holdfast.result where status not in (1, 4)")
    await house.check_invariants()


@pytest.mark.parametrize("policy", ["cancel", "wait"])
async def test_a_parent_that_is_to_end_while_its_worker_dies_leaves_no_child_alone(
    house: House, ledger: Ledger, client: Client, policy: Any
) -> None:
    (first,) = [await process(house, ledger)]
    runs = [await client.start(leaves, policy, "returns") for _ in range(10)]
    # At whatever point each of them is.
    await house.until("select count(*) > 3 from holdfast.run where parent is not null")
    await first.kill()
    await process(house, ledger)
    if policy == "wait":
        children = await until_all_wait(house, len(runs))
        for child in children:
            await client.signal(child, go, 1)
    for run in runs:
        await run.result(timeout=SOON)
    expected = RunStatus.CANCELLED if policy == "cancel" else RunStatus.SUCCEEDED
    await house.until("select count(*) = 10 from holdfast.runs where parent is not null and status = $1", str(expected))
    assert await house.value("select count(*) from holdfast.run where parent is not null") == 10
    await house.check_invariants()


async def until_all_wait(house: House, count: int) -> list[UUID]:
    await house.until("select count(*) = $1 from holdfast.runs where parent is not null and status = 'waiting'", count)
    rows = await house.db.fetch("select id from holdfast.run where parent is not null")
    return [row["id"] for row in rows]
