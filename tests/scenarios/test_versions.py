"""W11, W12: versions of a workflow. A run stays with the version that it has begun with, whoever takes it."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import InvalidInput, RunHandle, RunStatus, Workflow
from holdfast.core.states import RunKind
from tests.house import QUICK, House
from tests.scenarios.releases import app_with, begun, go
from tests.scenarios.soon import SOON


async def task_name(house: House, run: RunHandle[Any]) -> str:
    return str(await house.value("select name from holdfast.task where run_id = $1", run.id))


async def test_a_deploy_carries_old_and_new_and_each_run_stays_with_its_own(house: House) -> None:
    old = await begun(house, 1)
    new = await begun(house, 1, 2, number=2)
    assert [await task_name(house, run) for run in (old, new)] == ["order@1", "order@2"]
    assert [(await run.describe()).name for run in (old, new)] == ["order", "order"]
    await house.worker(app_with(house, 1, 2, 3))
    for run in (old, new):
        await run.signal(go, "now")
    assert await old.result(timeout=SOON) == "1 order@1 now"
    assert await new.result(timeout=SOON) == "2 order@2 now"
    assert [(await run.describe()).version for run in (old, new)] == ["1", "2"]
    await house.check_invariants()


async def test_a_run_whose_version_is_gone_waits_and_says_for_whom_and_goes_on_when_it_is_back(house: House) -> None:
    run = await begun(house, 1)
    async with app_with(house, 2).worker(**QUICK):
        await run.signal(go, "now")
        client = await house.client(house.app())
        other = await client.start_by_name("order", {"number": 5})
        await other.signal(go, "here")
        assert await other.result(timeout=SOON) == "5 order@2 here"
        description = await run.describe()
        assert description.status is RunStatus.READY
        assert list(description.waits_for) == [
            "a worker of lane 'default' that carries version 1 of 'order': none is there"
        ]
        assert await house.value("select hold from holdfast.task where run_id = $1", run.id) == 1
    await house.worker(app_with(house, 1, 2))
    assert await run.result(timeout=SOON) == "1 order@1 now"
    await house.check_invariants()


async def test_code_without_a_version_that_gets_one_goes_on_with_its_runs_as_the_lowest(house: House) -> None:
    run = await begun(house, None)
    assert await task_name(house, run) == "order"
    await house.worker(app_with(house, 1, 2))
    await run.signal(go, "now")
    assert await run.result(timeout=SOON) == "1 order@1 now"
    assert (await run.describe()).version == "1"
    await house.check_invariants()


async def test_code_without_a_version_keeps_its_runs_beside_one_that_has_one(house: House) -> None:
    run = await begun(house, None)
    app = app_with(house, None, 1)
    await house.worker(app)
    client = await house.client(app)
    fresh = await client.start_by_name("order", {"number": 2})
    for one in (run, fresh):
        await one.signal(go, "now")
    assert await run.result(timeout=SOON) == "1 order@None now"
    assert await fresh.result(timeout=SOON) == "2 order@1 now"
    assert (await run.describe()).version is None
    await house.check_invariants()


async def test_the_version_is_durable_with_the_claim_also_if_its_worker_dies_of_it(house: House) -> None:
    client = await house.client(house.app())
    run = await client.start_by_name("order")
    doomed = await house.process("tests.apps.versions", "--lease", "2s", env={"VERSIONS": "1"})
    await house.held(run.id)
    await doomed.kill()
    assert await task_name(house, run) == "order@1"
    await house.process("tests.apps.versions", "--lease", "2s", env={"VERSIONS": "2"})
    newer = await client.start_by_name("order")
    assert await newer.result(timeout=SOON) == "2"
    await house.until("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    assert await task_name(house, run) == "order@1"
    await house.process("tests.apps.versions", "--lease", "2s", env={"VERSIONS": "1 2", "DYING": "no"})
    assert await run.result(timeout=SOON) == "1"
    await house.check_invariants()


async def test_a_blocked_run_is_tried_again_by_a_worker_with_its_version_and_by_no_other(house: House) -> None:
    run = await begun(house, 1)
    await house.db.execute(
        "update holdfast.task"
        " set flags = flags | 2, waits_inbox = false, due_at = holdfast.now() + interval '5 minutes'"
    )
    await run.signal(go, "now")
    async with app_with(house, 2).worker(**QUICK):
        await house.until("select count(*) = 1 from holdfast.worker where state = 'active'")
        assert await run.status() is RunStatus.BLOCKED
        assert not await house.value("select due_at <= holdfast.now() from holdfast.task")
    await house.worker(app_with(house, 1))
    assert await run.result(timeout=SOON) == "1 order@1 now"


async def test_a_run_that_goes_on_from_another_ones_journal_goes_on_with_its_version(house: House) -> None:
    run = await begun(house, 1)
    await run.terminate()
    assert (await run.describe()).version == "1"
    again = await run.retry()
    beside = await run.fork(from_="note#1")
    assert [await task_name(house, one) for one in (again, beside)] == ["order@1", "order"]
    await house.worker(app_with(house, 1, 2))
    for one in (again, beside):
        await one.signal(go, "now")
    assert await again.result(timeout=SOON) == "1 order@1 now"
    assert await beside.result(timeout=SOON) == "1 order@2 now"
    await house.check_invariants()


async def test_arguments_for_one_version_are_not_given_to_another(house: House) -> None:
    app = app_with(house, 1, 2)
    client = await house.client(app)
    older, newer = app.executables["order@1"], app.executables["order@2"]
    assert isinstance(older, Workflow)
    with pytest.raises(InvalidInput, match=r"workflow 'order@1' is not what new runs begin with: that is .*'order@2'"):
        await client.start(older.call(1))
    with pytest.raises(InvalidInput, match="workflow 'order@1' is not what new runs begin with"):
        await client.start_many([older.call(1)])
    run = await client.start(newer.call(1))
    assert (await run.describe()).kind is RunKind.WORKFLOW
    with pytest.raises(InvalidInput, match="a run begins with the highest version"):
        await client.start_by_name("order@1")
    with pytest.raises(Exception, match="a run begins with the highest version"):
        await house.db.fetchval("select holdfast.start('order@1')")
    assert await house.value("select count(*) from holdfast.run") == 1
