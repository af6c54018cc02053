"""W11: the code changes under a waiting run. What still fits goes on; what does not blocks the run, and says why."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.errors import ForbiddenInWorkflow, InvalidInput, NonDeterminismError
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage


@Activity
async def charge(amount: int, currency: str = "EUR") -> str:
    return f"{amount} {currency}"


@Activity
async def audit(what: str) -> None: ...


@Activity
async def ship(what: str) -> str:
    return what


def deployed(stage: Stage, fn: Any) -> Stage:
    """The same run under other code."""
    stage.instance.close()
    other = Stage(Workflow(fn, name="order"), journal=stage.journal)
    other.asked = stage.asked
    return other


async def order() -> str:
    paid = await charge(5)
    await sleep(timedelta(days=2))
    return paid + await ship("chair")


@pytest.fixture
def paid() -> Stage:
    """A run that has paid and waits for its timer."""
    stage = Stage(Workflow(order))
    stage.go()
    stage.work("charge#1")
    return stage


def test_a_step_that_is_added_before_others_is_taken(paid: Stage) -> None:
    async def with_audit() -> str:
        await audit("begin")
        paid = await charge(5)
        await audit("paid")
        await sleep(timedelta(days=2))
        return paid + await ship("chair")

    stage = deployed(paid, with_audit)
    assert [command.key for command in stage.go().commands] == ["audit#1"]
    stage.work("audit#1")
    stage.work("audit#2")
    stage.fire("timer#1")
    stage.work("ship#1")
    assert stage.result.output == '"5 EURchair"'
    stage.move()
    assert stage.result.output == '"5 EURchair"'


def test_a_changed_input_blocks_the_run_and_a_fixed_deploy_finishes_it(paid: Stage) -> None:
    async def dearer() -> str:
        return await charge(6, currency="USD")

    stage = deployed(paid, dearer)
    error = stage.blocked()
    assert isinstance(error, NonDeterminismError)
    assert error.asked == 'activity charge#1 with the input {"amount":6,"currency":"USD"}'
    assert error.recorded.startswith("charge#1, the outcome of an activity, recorded at 2026-03-01T09:00:01")
    assert error.recorded.endswith("as entry 1 with another input")
    assert stage.blocked() is error
    assert stage.instance.activate().commands == ()

    fixed = deployed(stage, order)
    fixed.go()
    fixed.fire("timer#1")
    fixed.work("ship#1")
    assert fixed.result.ending is Ending.SUCCEEDED


def test_code_does_not_go_on_beyond_what_blocks_it(paid: Stage) -> None:
    went_on: list[str] = []

    async def dearer() -> None:
        async def other() -> None:
            await asyncio.sleep(0)
            went_on.append("other")

        task = asyncio.create_task(other())
        try:
            await charge(6)
        except BaseException as error:
            went_on.append(type(error).__name__)
            raise
        await task

    stage = deployed(paid, dearer)
    assert isinstance(stage.blocked(), NonDeterminismError)
    assert went_on == []
    stage.instance.close()
    assert went_on == ["Dropped"]


def test_a_default_that_is_not_passed_is_no_part_of_the_input(paid: Stage) -> None:
    stage = deployed(paid, order)
    charge_with_more = Activity(_charge_with_more, name="charge")

    async def more() -> str:
        return await charge_with_more(5)

    stage = deployed(stage, more)
    stage.go()
    assert stage.result.output == '"5 EUR"'


async def _charge_with_more(amount: int, currency: str = "EUR", note: str = "") -> str:
    return f"{amount} {currency} {note}"


def test_a_step_that_is_removed_blocks_the_run_at_its_end(paid: Stage) -> None:
    async def for_free() -> str:
        return "free"

    error = deployed(paid, for_free).blocked()
    assert isinstance(error, NonDeterminismError)
    assert error.asked == "nothing more: the workflow has ended"
    assert error.recorded.startswith("charge#1, the outcome of an activity")


def test_a_step_that_is_renamed_blocks_the_run_at_its_end(paid: Stage) -> None:
    debit = Activity(charge.fn, name="debit")

    async def renamed() -> str:
        paid: str = await debit(5)
        return paid

    stage = deployed(paid, renamed)
    assert [command.key for command in stage.go().commands] == ["debit#1"]
    stage.record(EntryKind.ACTIVITY, "debit#1", output='"5 EUR"')
    assert isinstance(stage.blocked(), NonDeterminismError)


def test_code_that_breaks_before_a_recorded_step_blocks_instead_of_failing(paid: Stage) -> None:
    async def broken() -> str:
        raise AttributeError("a typing error")

    assert isinstance(deployed(paid, broken).blocked(), NonDeterminismError)


def test_an_outcome_whose_waiter_was_cancelled_is_not_missed_at_the_end() -> None:
    @Workflow
    async def changes_its_mind() -> str:
        task = asyncio.create_task(charge(1))
        await sleep(1)
        task.cancel()
        return await ship("x")

    stage = Stage(changes_its_mind)
    stage.go()
    stage.fire("timer#1")
    stage.finish("charge#1", '"late"')
    stage.work("ship#1")
    assert stage.result.output == '"x"'
    stage.move()
    assert stage.result.output == '"x"'


def test_a_longer_wait_than_the_one_that_is_over_blocks_the_run(paid: Stage) -> None:
    async def patient() -> str:
        paid = await charge(5)
        await sleep(timedelta(days=3))
        return paid

    paid.fire("timer#1")
    error = deployed(paid, patient).blocked()
    assert isinstance(error, NonDeterminismError)
    assert error.asked == "timer#1 to fire at 2026-03-04T09:00:01+00:00"
    assert error.recorded.startswith("timer#1, a timer that fired, recorded at 2026-03-03T09:00:01+00:00")


def test_a_shorter_wait_than_the_one_that_is_over_goes_on(paid: Stage) -> None:
    async def hasty() -> str:
        paid = await charge(5)
        await sleep(timedelta(days=1))
        return paid

    paid.fire("timer#1")
    stage = deployed(paid, hasty)
    stage.go()
    assert stage.result.output == '"5 EUR"'


def test_a_wait_that_is_not_over_is_as_long_as_the_code_says_now(paid: Stage) -> None:
    async def patient() -> str:
        paid = await charge(5)
        await sleep(timedelta(days=30))
        return paid

    stage = deployed(paid, patient)
    stage.go()
    assert stage.instance.next_timer == paid.clock + timedelta(days=30)
    stage.instance.close()


def test_a_result_that_does_not_fit_its_type_any_more_blocks_the_run(paid: Stage) -> None:
    async def _count(amount: int) -> int:
        return amount

    counted = Activity(_count, name="charge")

    async def counts() -> int:
        return await counted(5)

    error = deployed(paid, counts).blocked()
    assert isinstance(error, NonDeterminismError)
    assert error.asked == "charge#1 as activity 'charge' declares its result"
    assert '"5 EUR"' in error.recorded


def test_an_input_that_does_not_fit_any_more_blocks_a_run_that_has_begun(paid: Stage) -> None:
    async def takes_more(what: str) -> str:
        return what

    other = Workflow(takes_more, name="order")
    paid.instance.close()
    paid.workflow = other
    paid.instance = paid.made(paid.journal)
    assert isinstance(paid.blocked(), InvalidInput)


def test_a_named_call_keeps_its_key_when_calls_change_their_order() -> None:
    async def first_order() -> list[str]:
        return list(await asyncio.gather(*[charge.options(key=str(i))(i) for i in (1, 2, 3)]))

    async def other_order() -> list[str]:
        return list(await asyncio.gather(*[charge.options(key=str(i))(i) for i in (3, 1, 2)]))

    stage = Stage(Workflow(first_order, name="order"))
    assert [command.key for command in stage.go().commands] == ["charge:1#1", "charge:2#1", "charge:3#1"]
    stage.work("charge:2#1")
    stage = deployed(stage, other_order)
    assert [command.key for command in stage.go().commands] == ["charge:3#1", "charge:1#1"]
    stage.instance.close()


def test_a_loop_that_never_waits_blocks_the_run() -> None:
    @Workflow
    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    stage = Stage(spins)
    error = stage.blocked()
    assert isinstance(error, ForbiddenInWorkflow)
    assert "'spins' has gone 100,000 rounds without waiting" in str(error)
    stage.instance.close()


def test_many_tasks_at_once_are_no_endless_loop() -> None:
    @Workflow
    async def many() -> int:
        async def little() -> int:
            for _ in range(4):
                await asyncio.sleep(0)
            return 1

        return sum(await asyncio.gather(*[little() for _ in range(30_000)]))

    stage = Stage(many)
    stage.go()
    assert stage.result.output == "30000"
