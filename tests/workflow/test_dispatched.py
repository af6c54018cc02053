"""Dispatched activities as the code sees them: no different; and when their parent is worth waking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.core.errors import ActivityFailed, ActivityTimedOut, NonDeterminismError
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, started_key
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.fan_out import fan_out
from holdfast.workflow.foresight import NEVER
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.race import first_of
from holdfast.workflow.saga import saga
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

go = Signal[int]("go")

ID = "0195b2c0-7e00-7a11-8c11-00000000000{}"


class Burnt(Exception):
    """The user's own."""


@Activity
async def render(frame: int) -> str:
    return f"frame {frame}"


def dispatch(stage: Stage, *keys: str) -> None:
    """The activities have found no room, as a worker journals it."""
    for number, key in enumerate(keys):
        command = next(c for c in stage.asked if c.key == key)
        assert isinstance(command, RunActivity)
        stage.record(EntryKind.STARTED, started_key(key), digest=command.digest, output=f'"{ID.format(number % 10)}"')
    stage.go()


def tell(stage: Stage, key: str, output: str = '"done"', *, error: Failure | None = None) -> None:
    """The outcome has come."""
    if error is None:
        stage.record(EntryKind.CHILD, key, digest=b"\0\0\0\1", output=output)
    else:
        stage.record(EntryKind.CHILD, key, digest=b"\0\0\0\1", error=error.to_json())
    stage.go()


@Workflow
async def film() -> list[str]:
    first, second = await asyncio.gather(render(1), render(2))
    return [first, second, await render(3)]


def test_where_an_activity_ran_makes_no_difference_to_the_code_nor_to_any_replay() -> None:
    stage = Stage(film)
    stage.go()
    dispatch(stage, "render#2")
    assert stage.instance.waits_for_letter
    tell(stage, "render#2", '"elsewhere"')
    stage.work("render#1")
    dispatch(stage, "render#3")
    tell(stage, "render#3", '"too"')
    assert stage.result.output == '["frame 1","elsewhere","too"]'
    for cut in range(len(stage.journal) + 1):
        instance = stage.made(stage.journal[:cut])
        activation = instance.activate()
        assert activation.blocked is None
        # What the journal says was dispatched is not asked for again.
        started = {entry.key for entry in stage.journal[:cut] if entry.kind is EntryKind.STARTED}
        assert not [command for command in activation.commands if started_key(command.key) in started]
        if activation.end is None:
            instance.close()
    assert stage.made(stage.journal).activate().end == stage.result


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure.of(Burnt("film")), Burnt),
        (Failure(type="other:Thing", message="broke"), ActivityFailed),
        (Failure(type="a:b", message="late", reason="timeout"), ActivityTimedOut),
        (Failure(type="a:b", message="it was cancelled", reason="cancelled"), ActivityFailed),
        (Failure(type="a:b", message="given up", reason="crashes"), ActivityFailed),
    ],
)
def test_what_it_raises_is_raised_here(failure: Failure, kind: type[Exception]) -> None:
    @Workflow
    async def one() -> str:
        try:
            return await render(1)
        except Exception as error:
            return type(error).__name__

    stage = Stage(one)
    stage.go()
    dispatch(stage, "render#1")
    tell(stage, "render#1", error=failure)
    assert stage.result.output == f'"{kind.__name__}"'


def test_who_stops_waiting_has_it_cancelled_also_when_it_was_just_being_dispatched() -> None:
    @Workflow
    async def hurried() -> str:
        try:
            async with asyncio.timeout(60):
                return await render(1)
        except TimeoutError:
            return str(await go.wait())

    stage = Stage(hurried)
    stage.go()
    dispatch(stage, "render#1")
    assert [str(run) for run in stage.fire("timer#1").closing] == [ID.format(0)]
    # A crash may have lost the request: until its end is known, it is made again.
    assert [str(run) for run in stage.made(stage.journal).activate().closing] == [ID.format(0)]
    tell(stage, "render#1")
    assert stage.made(stage.journal).activate().closing == ()
    late = Stage(hurried)
    late.go()
    late.fire("timer#1")
    command = next(c for c in late.asked if isinstance(c, RunActivity))
    late.record(EntryKind.STARTED, "render#1>", digest=command.digest, output=f'"{ID.format(7)}"')
    assert [str(run) for run in late.go().closing] == [ID.format(7)]


@pytest.mark.parametrize(("change", "words"), [("another input", "render#1 with the input"), ("gone", "the start of")])
def test_code_that_does_not_fit_is_blocked(change: str, words: str) -> None:
    def one_as(body: Callable[[], Any]) -> Workflow[[], Any]:
        async def one() -> Any:
            return await body()

        return Workflow(one)

    stage = Stage(one_as(lambda: render(1)))
    stage.go()
    dispatch(stage, "render#1")

    async def nothing() -> None: ...

    stage.workflow = one_as((lambda: render(2)) if change == "another input" else nothing)
    blocked = stage.made(stage.journal).activate().blocked
    assert isinstance(blocked, NonDeterminismError)
    assert words in str(blocked)


@pytest.mark.parametrize(("ended", "undone"), [("cancelled", True), ("succeeded", True), ("failed", False)])
def test_a_saga_undoes_what_may_have_happened_elsewhere(ended: str, undone: bool) -> None:
    @Activity
    async def book(seat: int) -> str:
        return f"seat {seat}"

    @book.compensate(even_if_unknown=True)
    @Activity
    async def give_back(booked: str | None, seat: int) -> None: ...

    @Workflow
    async def booking() -> None:
        async with saga():
            task = asyncio.ensure_future(book(1))
            await go.wait()
            task.cancel()
            await go.wait()
            raise Burnt

    stage = Stage(booking)
    stage.go()
    dispatch(stage, "book#1")
    stage.send(go, 1)
    if ended == "succeeded":
        tell(stage, "book#1", '"seat 1"')
    else:
        reason: Any = "cancelled" if ended == "cancelled" else "error"
        tell(stage, "book#1", error=Failure(type="a:b", message=ended, reason=reason))
    stage.send(go, 2)
    while timers := [key for key in stage.open_keys if key.startswith("timer#")]:
        stage.fire(timers[0])
    assert ("give_back#1" in [command.key for command in stage.asked]) is undone
    stage.instance.close()


# ---- when its parent is worth waking


async def in_gather() -> None:
    await asyncio.gather(*(render(n) for n in range(3)))


async def in_a_gather_that_wants_them_all() -> None:
    await asyncio.gather(*(render(n) for n in range(3)), return_exceptions=True)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(render(n))


async def in_wait() -> None:
    await asyncio.wait([asyncio.ensure_future(render(n)) for n in range(3)])


async def in_a_fan_out() -> None:
    await fan_out(render, range(3))


async def in_a_lenient_fan_out() -> None:
    await fan_out(render, range(3), return_exceptions=True)


async def in_a_limited_fan_out() -> None:
    await fan_out(render, range(5), limit=3)


async def in_branches() -> None:
    async def branch(n: int) -> None:
        await render(n)
        await render(n + 10)

    await asyncio.gather(*(branch(n) for n in range(3)))


async def in_a_race() -> None:
    await first_of(render(0), render(1), render(2))


async def as_they_complete() -> None:
    for one in asyncio.as_completed([render(n) for n in range(3)]):
        await one


async def beside_a_timer() -> None:
    await asyncio.gather(render(0), render(1), render(2), sleep(3600))


async def beside_a_signal() -> None:
    await asyncio.gather(render(0), render(1), render(2), go.wait())


async def awaited_by_the_workflow_itself() -> None:
    await render(0)


async def in_a_saga() -> None:
    async with saga():
        await asyncio.gather(*(render(n) for n in range(3)))


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        (in_gather, 3),
        (in_a_gather_that_wants_them_all, 3),
        (in_a_group, 3),
        (in_wait, 3),
        (in_a_fan_out, 3),
        (in_a_lenient_fan_out, 3),
        (in_a_limited_fan_out, 1),
        (in_branches, 1),
        (in_a_race, 1),
        (as_they_complete, 1),
        (beside_a_timer, NEVER),
        (beside_a_signal, 1),
        (awaited_by_the_workflow_itself, 1),
        (in_a_saga, 3),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_its_parent_is_woken_when_the_code_can_go_on_and_not_before(body: Any, needed: int) -> None:
    stage = Stage(Workflow(body))
    stage.go()
    dispatch(stage, *(c.key for c in stage.asked if isinstance(c, RunActivity)))
    assert stage.instance.letters_needed == needed
    if needed == 3:
        tell(stage, "render#2")
        assert stage.instance.letters_needed == 2
        asked = len(stage.asked)
        tell(stage, "render#1")
        assert (len(stage.asked), stage.instance.letters_needed) == (asked, 1)
        tell(stage, "render#3")
        assert stage.result.failure is None
    stage.instance.close()


def test_what_runs_here_beside_them_is_not_waited_for_by_letters() -> None:
    stage = Stage(Workflow(in_gather))
    stage.go()
    dispatch(stage, "render#1", "render#2")
    assert stage.instance.letters_needed == NEVER
    stage.work("render#3")
    assert stage.instance.letters_needed == 2
    stage.instance.close()
