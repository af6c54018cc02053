"""W11: a patch gives a run one answer for good: the new way where it comes live, the old one where it has been."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.errors import DefinitionError, NonDeterminismError
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import Activation
from holdfast.workflow.patched import patched
from holdfast.workflow.patches import NewWay
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

go = Signal[int]("go")


@Activity
async def charge(amount: int) -> int:
    return amount


@Activity
async def charge_with_tax(amount: int) -> int:
    return amount + 1


@Workflow
async def shipping(weight: int) -> int:
    return await charge(weight)


async def before() -> int:
    first = await charge(1)
    await go.wait()
    return first + await charge(2)


async def after() -> int:
    first = await charge(1)
    await go.wait()
    if patched("tax"):
        return first + await charge_with_tax(2)
    return first + await charge(2)


async def patched_early() -> int:
    first = await (charge_with_tax(1) if patched("tax") else charge(1))
    await go.wait()
    return first + await (charge_with_tax(2) if patched("tax") else charge(2))


def released(stage: Stage, fn: Callable[..., Any]) -> Stage:
    """The same run under other code, parked before and gone on with since."""
    stage.instance.close()
    other = Stage(Workflow(fn, name="order"), journal=stage.journal, resumed=True)
    other.asked = stage.asked
    other.go()
    return other


def begun(fn: Callable[..., Any]) -> Stage:
    stage = Stage(Workflow(fn, name="order"))
    stage.go()
    return stage


def keys(stage: Stage) -> list[str]:
    return [entry.key for entry in stage.journal]


def test_a_run_that_comes_to_it_live_takes_the_new_way_and_its_journal_says_so() -> None:
    stage = begun(patched_early)
    assert keys(stage) == ["patch:tax"]
    stage.work("charge_with_tax#1")
    stage.move()
    stage.send(go, 0)
    stage.work("charge_with_tax#2")
    assert stage.result.output == "5"
    stage.move()
    assert stage.result.output == "5"
    assert keys(stage).count("patch:tax") == 1


def test_a_run_that_went_on_from_there_before_goes_on_as_it_went() -> None:
    stage = begun(before)
    stage.work("charge#1")
    stage = released(stage, patched_early)
    stage.send(go, 0)
    stage.work("charge#2")
    assert stage.result.output == "3"
    assert not [key for key in keys(stage) if key.startswith("patch")]
    stage.move()
    assert stage.result.output == "3"


def test_a_run_that_waits_where_the_patch_is_has_been_there_although_nothing_is_recorded() -> None:
    stage = released(begun(before), patched_early)
    assert stage.open_keys == ["charge#1"]
    stage.work("charge#1")
    stage.move()
    assert stage.open_keys == []
    stage.instance.close()


def test_a_run_that_is_on_its_way_and_has_not_come_to_it_takes_the_new_way() -> None:
    stage = begun(before)
    stage.work("charge#1")
    stage = released(stage, after)
    stage.send(go, 0)
    assert keys(stage)[-1] == "patch:tax"
    stage.move()
    stage.work("charge_with_tax#1")
    assert stage.result.output == "4"


def test_a_run_that_nobody_has_entered_takes_the_new_way_whoever_has_held_it() -> None:
    """Claimed, and given back before its code began: made from an empty journal, and not resumed."""
    stage = Stage(Workflow(patched_early, name="order"), resumed=False)
    stage.go()
    assert keys(stage) == ["patch:tax"]
    stage.instance.close()


def test_what_lies_beyond_may_not_begin_before_the_way_is_durable() -> None:
    stage = Stage(Workflow(patched_early, name="order"))
    activation = stage.instance.activate()
    (way,) = activation.patches
    assert (way.patch, way.output) == ("tax", '"charge_with_tax#1"')
    assert [command.key for command in activation.commands] == ["charge_with_tax#1"]
    undecided = [stage.instance.undecided]
    stage.decide(way)
    undecided.append(stage.instance.undecided)
    assert undecided == [True, False]
    assert stage.instance.activate() == Activation((), (), None, None)
    stage.instance.close()


def test_a_run_that_ends_with_its_decision_says_so_together() -> None:
    async def ends() -> bool:
        return patched("done")

    activation = Stage(Workflow(ends)).instance.activate()
    assert activation.end is not None
    assert (activation.end.output, activation.patches) == ("true", (NewWay("done"),))


def test_an_answer_holds_for_the_whole_run_in_loops_and_in_every_task() -> None:
    async def monthly() -> list[bool]:
        said: list[bool] = []
        for _ in range(3):
            await go.wait()
            said.append(patched("tax"))
        said += await asyncio.gather(*[ask() for _ in range(3)])
        return said

    async def ask() -> bool:
        await charge(0)
        return patched("tax")

    async def monthly_before() -> None:
        for _ in range(3):
            await go.wait()

    old = begun(monthly_before)
    old.send(go, 1)
    old = released(old, monthly)
    for stage, answer in ((old, "false"), (begun(monthly), "true")):
        for _ in range(3 - len(stage.journal)):
            stage.send(go, 1)
        for number in (3, 1, 2):
            stage.work(f"charge#{number}")
        assert stage.result.output == f"[{','.join([answer] * 6)}]"
        stage.move()
        assert stage.result.output == f"[{','.join([answer] * 6)}]"


def test_a_step_that_was_added_before_does_not_make_the_past_new() -> None:
    async def with_a_step_before() -> str:
        await charge_with_tax(0)
        between = patched("between")
        await charge(1)
        behind = patched("behind")
        await go.wait()
        return f"{between} {behind} {patched('ahead')}"

    stage = begun(before)
    stage.work("charge#1")
    stage = released(stage, with_a_step_before)
    stage.work("charge_with_tax#1")
    stage.send(go, 0)
    assert stage.result.output == '"False False True"'
    stage.move()
    assert stage.result.output == '"False False True"'


def test_the_call_can_be_removed_with_the_old_way_for_runs_that_took_the_new_one() -> None:
    async def only_new() -> int:
        first = await charge_with_tax(1)
        await go.wait()
        return first + await charge_with_tax(2)

    stage = begun(patched_early)
    stage.work("charge_with_tax#1")
    stage = released(stage, only_new)
    stage.send(go, 0)
    stage.work("charge_with_tax#2")
    assert stage.result.output == "5"

    old = begun(before)
    old.work("charge#1")
    old = released(old, only_new)
    old.record(EntryKind.ACTIVITY, "charge_with_tax#1", output="2")
    old.go()
    old.record(EntryKind.SIGNAL, "signal:go#1", output="0")
    old.go()
    old.record(EntryKind.ACTIVITY, "charge_with_tax#2", output="3")
    assert isinstance(old.blocked(), NonDeterminismError)


def test_code_older_than_the_patch_does_not_end_a_run_that_has_gone_the_new_way() -> None:
    """The row of the patch is durable and nothing behind it; then a worker that has the old code goes on."""
    stage = begun(after)
    stage.work("charge#1")
    stage.send(go, 0)
    assert keys(stage)[-1] == "patch:tax"
    old = released(stage, before)
    old.record(EntryKind.ACTIVITY, "charge#2", output="2")
    error = old.blocked()
    assert isinstance(error, NonDeterminismError)
    assert "patch:tax, a new way of the code that begins with charge_with_tax#1" in str(error)
    new = released(stage, after)
    new.work("charge_with_tax#1")
    assert new.result.output == "4"


def test_code_older_than_the_patch_does_not_begin_what_the_new_way_begins_with_another_input() -> None:
    async def dearer() -> int:
        return await charge(2 if patched("dearer") else 1)

    async def cheap() -> int:
        return await charge(1)

    stage = begun(dearer)
    other = Stage(Workflow(cheap, name="order"), journal=stage.journal, resumed=True)
    assert 'activity charge#1 with the input {"amount":1}' in str(other.blocked())
    assert "patch:dearer, a new way of the code that begins with charge#1, recorded at" in str(other.blocked())
    assert "with another input" in str(other.blocked())
    other.instance.close()
    stage = released(stage, dearer)
    stage.work("charge#1")
    assert stage.result.output == "2"


@pytest.mark.parametrize("shape", ["timer", "child", "several", "gathered"])
def test_what_a_new_way_begins_with_may_be_anything(shape: str) -> None:
    async def goes() -> int:
        if not patched("a"):
            return 0
        match shape:
            case "timer":
                await sleep(timedelta(seconds=1))
            case "child":
                return await shipping(1)
            case "several":
                return await charge(int(patched("b")) + int(patched("c")))
            case _:
                return sum(await asyncio.gather(charge(1), charge(1)))
        return 1

    stage = begun(goes)
    first = [entry.output for entry in stage.journal if entry.kind is EntryKind.PATCH]
    key = {"timer": "timer#1", "child": "shipping#1"}.get(shape, "charge#1")
    assert first == [f'"{key}"'] * (3 if shape == "several" else 1)
    # With nothing behind it, again and again; then with all that follows.
    stage.move()
    stage.move()
    assert key in stage.open_keys
    stage.instance.close()


def test_code_that_is_left_behind_decides_nothing() -> None:
    said: list[bool] = []

    async def cleans_up() -> None:
        try:
            await go.wait()
        finally:
            said.append(patched("clean"))

    stage = begun(cleans_up)
    stage.instance.close()
    assert said == [False]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_name_that_cannot_be_used_is_refused(name: str) -> None:
    async def asks() -> bool:
        return patched(name)

    end = begun(asks).result
    assert end.ending is Ending.FAILED
    assert end.failure is not None
    assert "the name of a patch has 1 to 200 characters" in end.failure.message


def test_outside_of_a_workflow_there_is_nothing_to_ask() -> None:
    with pytest.raises(RuntimeError, match=r"patched\(\) works in workflow code only"):
        patched("tax")


def test_no_activity_may_take_the_keys_of_patches() -> None:
    with pytest.raises(DefinitionError, match="the journal uses this name itself"):
        Activity(charge.fn, name="patch")
