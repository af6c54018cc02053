"""W11, W12, W19: code that changes under a waiting run, workers that lack a name, processes that only start runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Activity, App, ResultTimeout, RunStatus, Signal, Workflow
from tests.house import QUICK, House
from tests.scenarios.soon import SOON

go = Signal[str]("go")

Body = Callable[[Activity[[str], str]], Coroutine[Any, Any, list[str]]]


class Release:
    """One version of the code: an app with a workflow ``order``."""

    def __init__(self, house: House, calls: Counter[str], body: Body) -> None:
        self.app: App = house.app()

        @self.app.activity
        async def step(word: str) -> str:
            calls[word] += 1
            return word

        @self.app.workflow
        async def order() -> list[str]:
            return await body(step)

        self.order: Workflow[[], list[str]] = order


async def old_code(step: Activity[[str], str]) -> list[str]:
    first = await step("first")
    return [first, await go.wait()]


async def with_a_step_before(step: Activity[[str], str]) -> list[str]:
    named = step.options(key="check")
    checked = await named("check")
    first = await step("first")
    return [checked, first, await go.wait()]


async def with_a_step_after(step: Activity[[str], str]) -> list[str]:
    first = await step("first")
    heard = await go.wait()
    return [first, heard, await step("after")]


async def with_other_input(step: Activity[[str], str]) -> list[str]:
    first = await step("changed")
    return [first, await go.wait()]


async def without_the_step(step: Activity[[str], str]) -> list[str]:
    return [await go.wait()]


async def parked_on_old_code(house: House, calls: Counter[str]) -> Any:
    """A run of the old code that waits for its signal, and whose worker has left."""
    old = Release(house, calls, old_code)
    client = await house.client(old.app)
    async with old.app.worker(**QUICK):
        run = await client.start(old.order)
        await house.parked(run.id)
    return run


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (with_a_step_before, ["check", "first", "now"]),
        (with_a_step_after, ["first", "now", "after"]),
    ],
)
async def test_a_step_that_is_added_is_executed_and_what_was_recorded_stays(
    house: House, body: Body, result: list[str]
) -> None:
    calls: Counter[str] = Counter()
    run = await parked_on_old_code(house, calls)
    await house.worker(Release(house, calls, body).app)
    await run.signal(go, "now")
    assert await run.result(timeout=SOON) == result
    assert set(calls.values()) == {1}
    await house.check_invariants()


async def test_a_changed_input_blocks_the_run_with_both_sides_and_fixed_code_finishes_it_at_once(house: House) -> None:
    calls: Counter[str] = Counter()
    run = await parked_on_old_code(house, calls)
    wrong = Release(house, calls, with_other_input)
    async with wrong.app.worker(**QUICK):
        await run.signal(go, "now")
        await house.until("select exists (select from holdfast.blockage where run_id = $1)", run.id)
        assert await run.status() is RunStatus.BLOCKED
        reason = await house.value("select reason from holdfast.blockage where run_id = $1", run.id)
        assert reason.startswith("NonDeterminismError: the code asks for")
        assert "step#1" in reason
        assert "changed" in reason
        assert "journal holds" in reason
        description = await run.describe()
        assert reason in str(description)
        with pytest.raises(ResultTimeout):
            await run.result(timeout=timedelta(0))
    assert calls == {"first": 1}
    await house.check_invariants()
    # Nobody waits for the long pause: a worker that comes with the name tries it at once.
    await house.worker(Release(house, calls, old_code).app)
    assert await run.result(timeout=SOON) == ["first", "now"]
    assert calls == {"first": 1}
    assert not await house.value("select count(*) from holdfast.blockage")
    await house.check_invariants()


async def test_a_step_that_was_taken_out_blocks_the_run_rather_than_end_it(house: House) -> None:
    calls: Counter[str] = Counter()
    run = await parked_on_old_code(house, calls)
    async with Release(house, calls, without_the_step).app.worker(**QUICK):
        await run.signal(go, "now")
        await house.until("select exists (select from holdfast.blockage where run_id = $1)", run.id)
        reason = await house.value("select reason from holdfast.blockage where run_id = $1", run.id)
        assert "step#1" in reason
    await house.worker(Release(house, calls, old_code).app)
    assert await run.result(timeout=SOON) == ["first", "now"]
    await house.check_invariants()


async def test_a_signal_to_a_blocked_run_is_kept_and_does_not_make_it_spin(house: House) -> None:
    calls: Counter[str] = Counter()
    run = await parked_on_old_code(house, calls)
    wrong = Release(house, calls, with_other_input)
    async with wrong.app.worker(**QUICK):
        await run.signal(go, "now")
        await house.until("select exists (select from holdfast.blockage where run_id = $1)", run.id)
        hold = await house.value("select hold from holdfast.task where run_id = $1", run.id)
        await run.signal(go, "another")
        other = await house.client(wrong.app)
        passing = await other.start(wrong.order)
        await passing.signal(go, "x")
        assert await passing.result(timeout=SOON) == ["changed", "x"]
        assert await house.value("select hold from holdfast.task where run_id = $1", run.id) == hold
    await house.check_invariants()


async def test_a_workflow_that_waits_for_nothing_blocks_and_says_so(house: House) -> None:
    app = house.app()

    @app.workflow
    async def stuck() -> None:
        await asyncio.Event().wait()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(stuck)
    await house.until("select exists (select from holdfast.blockage where run_id = $1)", run.id)
    reason = await house.value("select reason from holdfast.blockage where run_id = $1", run.id)
    assert "waits for something that nothing in it will ever do" in reason
    assert await run.status() is RunStatus.BLOCKED
    await house.check_invariants()


async def test_a_worker_that_lacks_the_name_leaves_the_run_alone_and_one_that_has_it_takes_it(house: House) -> None:
    old, new = house.app(), house.app()

    @old.workflow
    async def known() -> str:
        return "known"

    @new.workflow(name="known")
    async def known_too() -> str:
        return "known"

    @new.workflow
    async def novel() -> str:
        return "novel"

    client = await house.client(new)
    await house.worker(old)
    run = await client.start(novel)
    for _ in range(5):
        assert await (await client.start(known_too)).result(timeout=SOON) == "known"
    assert await run.status() is RunStatus.READY
    assert await house.value("select hold from holdfast.task where run_id = $1", run.id) == 0
    await house.worker(new)
    assert await run.result(timeout=SOON) == "novel"
    await house.check_invariants()


async def test_a_process_that_only_starts_runs_never_executes_one(house: House) -> None:
    app = house.app()
    executed: list[str] = []

    @app.activity
    async def work() -> None:
        executed.append("activity")

    @app.workflow
    async def flow() -> None:
        executed.append("workflow")
        await work()

    client = await house.client(app)
    runs = [await client.start(flow), await client.start(work), await client.start_by_name("flow")]
    with pytest.raises(ResultTimeout):
        await runs[0].result(timeout=timedelta(milliseconds=300))
    assert executed == []
    assert {await run.status() for run in runs} == {RunStatus.READY}
    await house.worker(app)
    for run in runs:
        await run.result(timeout=SOON)
    assert sorted(executed) == ["activity"] * 3 + ["workflow"] * 2
    await house.check_invariants()
