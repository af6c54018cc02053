"""W14, as far as it concerns the run: a request to cancel is an ordinary cancellation of asyncio."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage, play

done = Signal[None]("done")


@Activity
async def book(what: str) -> str:
    return what


@Activity
async def cancel_booking(what: str) -> None: ...


class NoRoom(Exception):
    pass


@Activity
async def pay() -> None:
    raise NoRoom


@Workflow
async def travels() -> str:
    undo: list[str] = []
    try:
        for what in ["flight", "hotel", "car"]:
            undo.append(await book(what))  # noqa: PERF401 - what is done must be known when the next one fails
        await sleep(timedelta(days=30))
    finally:
        while undo:
            await cancel_booking(undo.pop())
    return "travelled"


def test_cancel_while_waiting_runs_the_cleanup_which_may_call_activities() -> None:
    stage = Stage(travels)
    stage.go()
    for i in (1, 2, 3):
        stage.work(f"book#{i}")
    stage.cancel()
    assert stage.withdrawn == ["timer#1"]
    undone: list[str] = []
    for i in (1, 2, 3):
        undone += [command.input for command in stage.open if isinstance(command, RunActivity)]
        stage.move()
        stage.work(f"cancel_booking#{i}")
    assert undone == ['{"what":"car"}', '{"what":"hotel"}', '{"what":"flight"}']
    assert stage.result.ending is Ending.CANCELLED
    assert stage.result.failure is None


def test_cancel_while_an_activity_runs_withdraws_it() -> None:
    stage = Stage(travels)
    stage.go()
    stage.work("book#1")
    stage.cancel()
    assert stage.withdrawn == ["book#2"]
    stage.work("cancel_booking#1")
    assert stage.result.ending is Ending.CANCELLED


def test_cancel_before_the_first_activation_runs_nothing() -> None:
    stage = Stage(travels)
    stage.cancel()
    assert stage.asked == []
    assert stage.result.ending is Ending.CANCELLED


def test_cancel_twice_interrupts_the_cleanup_too() -> None:
    stage = Stage(travels)
    stage.go()
    stage.work("book#1")
    stage.work("book#2")
    stage.cancel()
    assert stage.open_keys == ["cancel_booking#1"]
    stage.cancel()
    assert stage.withdrawn == ["book#3"], "with the end of a run everything is void"
    assert stage.result.ending is Ending.CANCELLED


def test_cancel_twice_at_once_is_two_requests() -> None:
    stage = Stage(travels)
    stage.go()
    stage.work("book#1")
    stage.record(EntryKind.CANCEL, "cancel#1")
    stage.record(EntryKind.CANCEL, "cancel#2")
    stage.go()
    # The first one is delivered, and the cleanup begins, before the second one is.
    assert stage.asked[-1].key == "book#2"
    assert stage.result.ending is Ending.CANCELLED


def test_a_run_may_decline() -> None:
    @Workflow
    async def declines() -> str:
        try:
            await sleep(60)
        except asyncio.CancelledError:
            return await book("anyway")
        return "slept"

    stage = Stage(declines)
    stage.go()
    stage.cancel()
    stage.work("book#1")
    assert stage.result.output == '"anyway"'
    assert stage.result.ending is Ending.SUCCEEDED


def test_a_cleanup_that_fails_fails_the_run() -> None:
    @Workflow
    async def fails_to_clean() -> None:
        try:
            await sleep(60)
        finally:
            await pay()

    stage = Stage(fails_to_clean)
    stage.go()
    stage.cancel()
    stage.work("pay#1")
    assert stage.result.ending is Ending.FAILED
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(":NoRoom")


def test_a_run_that_is_out_of_time_has_failed_with_that_reason() -> None:
    stage = Stage(travels)
    stage.go()
    stage.work("book#1")
    stage.cancel(note='{"reason":"timeout"}')
    stage.work("cancel_booking#1")
    assert stage.result.ending is Ending.FAILED
    assert stage.result.failure is not None
    assert stage.result.failure.reason == "timeout"
    assert stage.result.failure.type == "holdfast.core.errors:RunTimedOut"


def test_the_first_request_gives_the_reason() -> None:
    stage = Stage(travels)
    stage.go()
    stage.work("book#1")
    stage.cancel(note="null")
    stage.cancel(note='{"reason":"timeout"}')
    assert stage.result.ending is Ending.CANCELLED


def test_code_that_cancels_itself_was_not_cancelled() -> None:
    @Workflow
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    stage = Stage(cancels_itself)
    stage.go()
    assert stage.result.ending is Ending.FAILED
    assert stage.result.failure is not None
    assert "nobody has cancelled the run" in stage.result.failure.message


@Workflow
async def travels_in_company() -> str:
    async with asyncio.TaskGroup() as group:
        for name in ["a", "b", "c"]:
            group.create_task(_trip(name))
        await done.wait()
    return "home"


async def _trip(name: str) -> None:
    booked: list[str] = []
    try:
        booked.append(await book(f"{name} flight"))
        booked.append(await book(f"{name} hotel"))
        await sleep(10)
    except asyncio.CancelledError:
        for what in reversed(booked):
            await asyncio.shield(cancel_booking(what))
        raise


@pytest.mark.parametrize("seed", range(15))
def test_a_cancelled_group_cleans_up_in_the_same_order_on_every_replay(seed: int) -> None:
    story = play(travels_in_company, seed=seed, cancels=1 + seed % 3, signals=[(done, None)])
    assert story.end is not None
    story.is_replayed_from_everywhere()
