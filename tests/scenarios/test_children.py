"""W17, W14: children: results and failures, what cancels them, what becomes of them when their parent ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from holdfast import Client, RunCancelled, RunFailed, RunHandle, RunStatus, Unstorable, start_child
from tests.apps.family import (
    app,
    cancels_it,
    catches,
    go,
    group,
    hears_of_it,
    leaves,
    lets_it_wait,
    limits_it,
    many,
    one,
    signals_it,
    tree,
)
from tests.apps.ledger import PLACE
from tests.house import House, until
from tests.scenarios.soon import SOON


@pytest.fixture
async def client(house: House) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def child_of(house: House, run: RunHandle[Any]) -> UUID:
    """The one child of the run, once it is there."""
    child: UUID = await house.until("select id from holdfast.run where parent = $1", run.id)
    return child


async def status(client: Client, run: UUID, expected: RunStatus) -> None:
    """Waits until the run has this status."""

    async def look() -> bool:
        return await client.get(run).status() is expected

    await until(look, f"{run} is {expected}")


async def test_a_child_gives_its_result_and_its_parent_is_a_row_meanwhile(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(one, 7, priority="critical")
    assert await run.result(timeout=SOON) == "parcel 7"
    assert await house.journal(run.id) == ["ship#1>", "ship#1"]
    child = await house.db.fetchrow("select * from holdfast.run where parent = $1", run.id)
    assert child is not None
    # What is not said of it is as in its parent.
    assert (child["name"], child["lane"], child["priority"]) == ("ship", "default", 5)
    assert (child["root"], child["parent_key"]) == (run.id, "ship#1")
    described = await client.describe(child["id"])
    assert (described.parent, described.root) == (run.id, run.id)
    assert (await run.describe()).root == run.id
    (step,) = (await run.describe()).journal
    assert (step.key, step.kind, step.child, step.output) == ("ship#1", "child", child["id"], "parcel 7")
    await house.check_invariants()


@pytest.mark.parametrize("cached", [0, 2000])
async def test_its_own_exception_class_comes_out_live_and_on_replay(house: House, client: Client, cached: int) -> None:
    await house.worker(app, cached_runs=cached)
    assert await (await client.start(catches, -1)).result(timeout=SOON) == ["OutOfStock", "-1"]
    failing = await client.start(one, -1)
    with pytest.raises(RunFailed, match="OutOfStock") as caught:
        await failing.result(timeout=SOON)
    assert type(caught.value.__cause__).__name__ == "OutOfStock"
    await house.check_invariants()


@pytest.mark.parametrize("flow", [many, group])
async def test_many_at_once(house: House, client: Client, flow: Any) -> None:
    await house.worker(app)
    run = await client.start(flow, 100)
    assert await run.result(timeout=SOON) == [f"parcel {order}" for order in range(100)]
    assert await house.value("select count(*) from holdfast.run where parent = $1", run.id) == 100
    await house.check_invariants()


async def test_who_stops_waiting_cancels_it(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(lets_it_wait, 0.3)
    child = await child_of(house, run)
    assert await run.result(timeout=SOON) == "too late"
    await status(client, child, RunStatus.CANCELLED)
    # It was let clean up.
    assert await house.journal(child) == ["cancel#1", "pack#1"]
    await house.check_invariants()


@pytest.mark.parametrize("lane", ["default", "nowhere"])
async def test_its_timeout_is_an_error_of_its_own(house: House, client: Client, lane: str) -> None:
    """Also where nobody has begun it: then whoever does the upkeep ends it, in the database."""
    await house.worker(app)
    assert await (await client.start(limits_it, lane)).result(timeout=SOON) == ["ChildTimedOut", "waits"]
    await house.check_invariants()


@pytest.mark.parametrize("cached", [0, 2000])
async def test_a_handle_cancels_it(house: House, client: Client, cached: int) -> None:
    await house.worker(app, cached_runs=cached)
    run = await client.start(cancels_it)
    assert await run.result(timeout=SOON) == ["ChildCancelled", "waits"]
    await house.check_invariants()


async def test_a_parent_hears_that_somebody_else_has_cancelled_it(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(hears_of_it)
    child = await child_of(house, run)
    await house.parked(child)
    await client.cancel(child)
    assert "was cancelled" in await run.result(timeout=SOON)
    await house.check_invariants()


async def test_a_cancelled_parent_cancels_what_it_waits_for(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(hears_of_it)
    child = await child_of(house, run)
    await house.parked(run.id, child)
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await status(client, child, RunStatus.CANCELLED)
    await house.check_invariants()


@pytest.mark.parametrize("how", ["returns", "fails", "is cancelled"])
async def test_at_the_end_of_its_parent_it_is_cancelled(house: House, client: Client, how: str) -> None:
    await house.worker(app)
    run = await client.start(leaves, "cancel", "waits" if how == "is cancelled" else how)
    child = await child_of(house, run)
    if how == "is cancelled":
        await house.parked(run.id)
        await run.cancel()
    await house.ended(run.id)
    await status(client, child, RunStatus.CANCELLED)
    await house.until("select not exists (select from holdfast.cancel_request)")
    await house.check_invariants()


@pytest.mark.parametrize("how", ["returns", "fails", "is cancelled"])
async def test_an_abandoned_one_goes_on(house: House, client: Client, how: str) -> None:
    await house.worker(app)
    run = await client.start(leaves, "abandon", "waits" if how == "is cancelled" else how)
    child = await child_of(house, run)
    if how == "is cancelled":
        await house.parked(run.id)
        await run.cancel()
    await house.ended(run.id)
    await house.parked(child)
    await client.signal(child, go, 5)
    assert await client.get(child).result(timeout=SOON) == 5
    assert not await house.value("select count(*) from holdfast.cancel_request")
    await house.check_invariants()


@pytest.mark.parametrize("cached", [0, 2000])
@pytest.mark.parametrize("how", ["returns", "fails"])
async def test_a_parent_may_end_after_it(house: House, client: Client, how: str, cached: int) -> None:
    await house.worker(app, cached_runs=cached)
    run = await client.start(leaves, "wait", how)
    child = await child_of(house, run)
    await house.parked(run.id, child)
    assert await run.status() is RunStatus.WAITING
    assert (await run.describe()).waits_for == (f"child waits#1, run {child}",)
    # Whatever it is sent now, it has nobody to see it.
    await run.signal(go, 1)
    await client.signal(child, go, 5)
    if how == "returns":
        assert await run.result(timeout=SOON) == str(child)
    else:
        with pytest.raises(RunFailed, match=str(child)):
            await run.result(timeout=SOON)
    assert await client.get(child).result(timeout=SOON) == 5
    ended = await house.db.fetch("select run_id from holdfast.result order by at")
    assert [row["run_id"] for row in ended] == [child, run.id]
    await house.check_invariants()


@pytest.mark.parametrize("cached", [0, 2000])
async def test_a_cancel_of_a_parent_that_waits_for_its_end_is_for_the_child(
    house: House, client: Client, cached: int
) -> None:
    await house.worker(app, cached_runs=cached)
    run = await client.start(leaves, "wait", "returns")
    child = await child_of(house, run)
    await house.parked(run.id, child)
    await run.cancel()
    # It had come to its result before.
    assert await run.result(timeout=SOON) == str(child)
    assert await client.get(child).status() is RunStatus.CANCELLED
    await house.check_invariants()


@pytest.mark.parametrize("policy", ["cancel", "wait", "abandon"])
async def test_a_terminated_parent_cancels_all_but_the_abandoned(house: House, client: Client, policy: Any) -> None:
    await house.worker(app)
    run = await client.start(leaves, policy, "waits")
    child = await child_of(house, run)
    await house.parked(run.id, child)
    await run.terminate()
    await house.ended(run.id)
    if policy == "abandon":
        await client.signal(child, go, 1)
        assert await client.get(child).result(timeout=SOON) == 1
    else:
        await status(client, child, RunStatus.CANCELLED)
    await house.check_invariants()


async def test_a_terminated_child_is_told(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(hears_of_it)
    child = await child_of(house, run)
    await house.parked(run.id, child)
    await client.get(child).terminate()
    assert "was cancelled" in await run.result(timeout=SOON)
    await house.check_invariants()


@pytest.mark.parametrize("cached", [0, 2000])
async def test_a_handle_signals_it_once_each_and_says_when_it_has_ended(
    house: House, client: Client, cached: int
) -> None:
    await house.worker(app, cached_runs=cached)
    run = await client.start(signals_it, 5)
    assert await run.result(timeout=SOON) == [0, 1, 2, 3, 4, 36]
    assert [key for key in await house.journal(run.id) if ">send" in key] == [f"hears#1>send#{n}" for n in range(1, 7)]
    await house.check_invariants()


async def test_families_are_listed_by_parent_and_by_root(
    house: House, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "ledger"))
    await house.worker(app)
    top = await client.start(tree, 2, 2)
    other = await client.start(tree, 1, 1)
    assert (await top.result(timeout=SOON), await other.result(timeout=SOON)) == (7, 2)
    children = await client.list(parent=top.id)
    assert len(children) == 2
    below = await client.list(root=top.id)
    assert len(below) == 6
    assert [run.id for run in below] == sorted((run.id for run in below), reverse=True)
    (child, _) = children
    assert len(await client.list(parent=str(child.id))) == 2
    assert len(await client.list(root=top.id, parent=child.id, name="tree", status="succeeded")) == 2
    assert len(await client.list(root=top.id, status=["failed", "waiting"])) == 0
    first = await client.list(root=top.id, limit=4)
    assert len(await client.list(root=top.id, limit=4, after=first.next)) == 2
    for chosen, expected in (
        (client.runs(parent=top.id, status="succeeded"), children),
        (client.runs(root=str(top.id), status="succeeded"), below),
    ):
        assert (await chosen.cancel(dry_run=True)).runs == [run.id for run in expected]
    described = await client.describe(child.id)
    assert (described.parent, described.root) == (top.id, top.id)


async def test_what_cannot_be_stored_is_refused_where_it_is_started(house: House, client: Client) -> None:
    small = house.app(payload_limit=20_000)
    small.include(app)

    @small.workflow
    async def takes(text: str) -> int:
        return len(text)

    @small.workflow
    async def gives() -> list[str]:
        caught: list[str] = []
        for start in (lambda: takes("x" * 50_000), lambda: start_child(takes, "x" * 50_000)):
            try:
                await start()
            except Unstorable as error:
                caught.append(str(error))
        return [str("the input of child 'takes'" in one) for one in caught]

    own = await house.client(small)
    await house.worker(small, cached_runs=0)
    run = await own.start(gives)
    assert await run.result(timeout=SOON) == ["True", "True"]
    assert await house.value("select count(*) from holdfast.run") == 1
    await house.check_invariants()
