"""A shield keeps a cancel out until its part of the workflow is done, and is transparent for everything else."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.shield import shield
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

go = Signal[str]("go")


@Activity
async def step(name: str) -> str:
    if name == "fails":
        raise ValueError(name)
    return name


@Workflow
async def settles(as_block: bool) -> str:
    async def settle() -> str:
        return await step("one") + await step("two")

    if as_block:
        async with shield():
            done = await settle()
    else:
        done = await shield(settle())
    await step("three")
    return done


@pytest.mark.parametrize("as_block", [True, False])
def test_a_cancel_is_delivered_after_it_however_often_it_came(as_block: bool) -> None:
    stage = Stage(settles, as_block)
    stage.go()
    stage.cancel()
    assert stage.open_keys == ["step#1"]
    stage.move()
    stage.work("step#1")
    stage.cancel()
    assert stage.open_keys == ["step#2"]
    stage.work("step#2")
    assert stage.result.ending is Ending.CANCELLED
    assert [command.key for command in stage.asked if command.key == "step#3"] == []


def test_a_cancel_before_it_keeps_it_from_beginning() -> None:
    @Workflow
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        async with shield():
            await step("never")

    stage = Stage(cancels_itself)
    assert stage.go().commands == ()
    assert stage.result.failure is not None


def test_clean_up_that_is_shielded_survives_a_second_cancel() -> None:
    @Workflow
    async def cleans_up() -> None:
        try:
            await go.wait()
        finally:
            async with shield():
                await step("one")
                await step("two")

    stage = Stage(cleans_up)
    stage.go()
    stage.cancel()
    stage.cancel()
    stage.work("step#1")
    stage.cancel()
    stage.work("step#2")
    assert stage.result.ending is Ending.CANCELLED


def test_time_limits_inside_of_it_work_and_those_around_it_wait() -> None:
    @Workflow
    async def limits() -> list[str]:
        said: list[str] = []
        try:
            async with asyncio.timeout(10):
                async with shield():
                    try:
                        async with asyncio.timeout(5):
                            await go.wait()
                    except TimeoutError:
                        said.append("inner")
                    await sleep(20)
                    said.append("whole")
                said.append("never")
        except TimeoutError:
            said.append("outer")
        return said

    stage = Stage(limits)
    stage.go()
    stage.fire("timer#2")
    stage.fire("timer#1")
    stage.fire("timer#3")
    assert stage.result.output == '["inner","whole","outer"]'


def test_a_task_group_inside_of_it_works_and_one_around_it_waits() -> None:
    @Workflow
    async def groups() -> list[str]:
        said: list[str] = []

        async def shielded() -> None:
            async with shield():
                try:
                    async with asyncio.TaskGroup() as inner:
                        inner.create_task(step("fails"))
                        await go.wait()
                except* ValueError:
                    said.append("inner failed")
                await step("one")
                said.append("whole")
            said.append("never")

        try:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(shielded())
                outer.create_task(step("fails"))
        except* ValueError:
            said.append("outer failed")
        return said

    stage = Stage(groups)
    stage.go()
    stage.work("step#1")
    stage.work("step#2")
    stage.work("step#3")
    assert stage.result.output == '["inner failed","whole","outer failed"]'


def test_one_in_another_is_left_twice() -> None:
    @Workflow
    async def nested() -> list[str]:
        said: list[str] = []
        try:
            async with shield():
                try:
                    async with asyncio.timeout(5):
                        async with shield():
                            await step("one")
                            said.append("inner")
                        said.append("never")
                except TimeoutError:
                    said.append("late")
                await step("two")
                said.append("outer")
        except asyncio.CancelledError:
            said.append("cancelled")
        return said

    stage = Stage(nested)
    stage.go()
    stage.cancel()
    stage.fire("timer#1")
    stage.work("step#1")
    stage.work("step#2")
    assert stage.result.output == '["inner","late","outer","cancelled"]'


def test_what_it_raises_goes_first_and_the_cancel_comes_with_the_next_await() -> None:
    @Workflow
    async def fails() -> str:
        try:
            async with shield():
                await step("fails")
        except ValueError:
            await step("never")
        return "?"

    stage = Stage(fails)
    stage.go()
    stage.cancel()
    stage.work("step#1")
    assert stage.result.ending is Ending.CANCELLED
    assert len(stage.asked) == 1


def test_the_shield_of_asyncio_does_what_it_does_elsewhere() -> None:
    @Workflow
    async def shields() -> str:
        inner = asyncio.create_task(step("inner"))
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            return f"finished {await inner}"
        return "?"

    stage = Stage(shields)
    stage.go()
    stage.cancel()
    assert stage.open_keys == ["step#1"]
    stage.work("step#1")
    assert stage.result.output == '"finished inner"'


def test_a_run_that_is_dropped_in_it_leaves_silently() -> None:
    stage = Stage(settles, True)
    stage.go()
    stage.cancel()
    stage.instance.close()
    stage.move()
    stage.work("step#1")
    stage.work("step#2")
    assert stage.result.ending is Ending.CANCELLED


async def test_outside_of_a_workflow_it_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"asyncio\.shield"):
        async with shield():
            pass
    again = shield()
    with pytest.raises(RuntimeError):
        await again.__aenter__()
