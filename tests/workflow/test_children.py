"""Children as the code sees them: what is asked for, what is delivered when, and when a parent is worth waking."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.errors import (
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    DefinitionError,
    InvalidInput,
    NonDeterminismError,
)
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, started_key
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.continue_as_new import continue_as_new
from holdfast.workflow.foresight import NEVER
from holdfast.workflow.instance import StartChild
from holdfast.workflow.race import first_of
from holdfast.workflow.signal import Signal
from holdfast.workflow.start_child import start_child
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

go = Signal[int]("go")

ID = "0195b2c0-7e00-7a11-8c11-00000000000{}"


class Sold(Exception):
    """The user's own."""


@Workflow
async def ship(order: int) -> str:
    return f"parcel {order}"


@Activity
async def charge(order: int) -> int:
    return order


def begin(stage: Stage, *keys: str) -> None:
    """The children are started, as a worker does."""
    for number, key in enumerate(keys):
        command = next(c for c in stage.asked if c.key == key)
        assert isinstance(command, StartChild)
        stage.record(EntryKind.STARTED, started_key(key), digest=command.digest, output=f'"{ID.format(number % 10)}"')
    stage.go()


def tell(stage: Stage, key: str, output: str = '"parcel"', *, error: Failure | None = None) -> None:
    """The outcome of a child has come."""
    if error is None:
        stage.record(EntryKind.CHILD, key, digest=b"\0\0\0\1", output=output)
    else:
        stage.record(EntryKind.CHILD, key, digest=b"\0\0\0\1", error=error.to_json())
    stage.go()


def test_a_call_asks_for_a_child_and_gives_its_result() -> None:
    @Workflow
    async def order() -> list[str]:
        return [await ship(1), await ship.options(key="gift", lane="depot", priority="high", tags={"a": "b"})(2)]

    stage = Stage(order)
    (command,) = stage.go().commands
    assert isinstance(command, StartChild)
    assert (command.key, command.workflow.name, command.input) == ("ship#1", "ship", '{"order":1}')
    begin(stage, "ship#1")
    assert stage.instance.waits_for_letter
    tell(stage, "ship#1", '"first"')
    gift = stage.asked[-1]
    assert isinstance(gift, StartChild)
    assert gift.key == "ship:gift#1"
    assert (gift.options.lane, gift.options.priority, gift.options.tags) == ("depot", 4, '{"a":"b"}')
    begin(stage, "ship:gift#1")
    tell(stage, "ship:gift#1", '"second"')
    assert stage.result.output == '["first","second"]'
    assert stage.made(stage.journal).activate().end == stage.result


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure.of(Sold("out")), Sold),
        (Failure(type="other:Thing", message="broke"), ChildFailed),
        (Failure(type="a:b", message="late", reason="timeout"), ChildTimedOut),
        (Failure(type="a:b", message="cancelled", reason="cancelled"), ChildCancelled),
        # What a child of the child has raised, and the child has let pass.
        (Failure.of(ChildFailed("pack", "other:Thing", "broke", None, None)), ChildFailed),
    ],
)
def test_what_it_raises_is_raised_here(failure: Failure, kind: type[Exception]) -> None:
    @Workflow
    async def order() -> str:
        try:
            return await ship(1)
        except Exception as error:
            return type(error).__name__

    stage = Stage(order)
    stage.go()
    begin(stage, "ship#1")
    tell(stage, "ship#1", error=failure)
    assert stage.result.output == f'"{kind.__name__}"'


def test_a_handle_comes_when_the_start_is_durable_and_gives_its_result_to_all() -> None:
    @Workflow
    async def order() -> list[str]:
        handle = await start_child(ship, 1)
        both = await asyncio.gather(handle.result(), handle.result())
        return [str(handle.run_id), *both, await handle.result()]

    stage = Stage(order)
    stage.go()
    assert not stage.open[0].key.endswith(">")
    begin(stage, "ship#1")
    assert stage.instance.letters_needed == 1
    tell(stage, "ship#1", '"it"')
    assert stage.result.output == f'["{ID.format(0)}","it","it","it"]'
    for cut in range(len(stage.journal) + 1):
        instance = stage.made(stage.journal[:cut])
        assert instance.activate().blocked is None
        instance.close()


def test_one_that_is_not_started_says_so_where_it_was_to_be_started() -> None:
    @Workflow
    async def order() -> str:
        try:
            await start_child(ship, 1)
        except Sold:
            return "refused"
        return ""

    stage = Stage(order)
    stage.go()
    digest = next(c.digest for c in stage.asked if isinstance(c, StartChild))
    stage.record(EntryKind.CHILD, "ship#1", digest=digest, error=Failure.of(Sold("no")).to_json())
    stage.go()
    assert stage.result.output == '"refused"'
    assert stage.made(stage.journal).activate().end == stage.result


def test_who_is_cancelled_while_it_waits_has_the_child_cancelled() -> None:
    @Workflow
    async def order() -> str:
        try:
            async with asyncio.timeout(60):
                return await ship(1)
        except TimeoutError:
            await sleep(timedelta(days=1))
            return "late"

    stage = Stage(order)
    stage.go()
    begin(stage, "ship#1")
    activation = stage.fire("timer#1")
    assert [str(child) for child in activation.closing] == [ID.format(0)]
    # A crash may have lost the request: until the child's end is known, it is made again.
    again = stage.made(stage.journal)
    assert [str(child) for child in again.activate().closing] == [ID.format(0)]
    tell(stage, "ship#1")
    assert stage.made(stage.journal).activate().closing == ()


def test_one_that_was_given_up_while_it_was_being_started_is_cancelled_then() -> None:
    @Workflow
    async def order() -> int:
        task = asyncio.ensure_future(ship(1))
        await charge(1)
        task.cancel()
        return await go.wait()

    stage = Stage(order)
    stage.go()
    stage.work("charge#1")
    assert stage.last.closing == ()
    command = next(c for c in stage.asked if isinstance(c, StartChild))
    stage.record(EntryKind.STARTED, "ship#1>", digest=command.digest, output=f'"{ID.format(7)}"')
    assert [str(child) for child in stage.go().closing] == [ID.format(7)]


@pytest.mark.parametrize(
    ("change", "words"),
    [("another input", "with another input"), ("gone", "the start of a child"), ("an activity", "ship#1")],
)
def test_code_that_does_not_fit_is_blocked(change: str, words: str) -> None:
    def order_as(body: Any) -> Workflow[[], Any]:
        async def order() -> Any:
            return await body()

        return Workflow(order)

    stage = Stage(order_as(lambda: ship(1)))
    stage.go()
    begin(stage, "ship#1")
    tell(stage, "ship#1")

    async def nothing() -> None: ...

    bodies: dict[str, Any] = {
        "another input": lambda: ship(2),
        "gone": nothing,
        "an activity": Activity(nothing, name="ship"),
    }
    stage.workflow = order_as(bodies[change])
    blocked = stage.made(stage.journal).activate().blocked
    assert isinstance(blocked, NonDeterminismError)
    assert words in str(blocked)


# ---- when a parent is worth waking


async def in_gather() -> None:
    await asyncio.gather(*(ship(n) for n in range(3)))


async def in_a_gather_that_wants_them_all() -> None:
    await asyncio.gather(*(ship(n) for n in range(3)), return_exceptions=True)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(ship(n))


async def in_wait() -> None:
    await asyncio.wait([asyncio.ensure_future(ship(n)) for n in range(3)])


async def in_handles() -> None:
    handles = [await start_child(ship, n) for n in range(3)]
    await asyncio.gather(*(handle.result() for handle in handles))


async def in_two_groups() -> None:
    await asyncio.gather(asyncio.gather(*(ship(n) for n in range(2))), ship(2))


async def the_first_of_them() -> None:
    await asyncio.wait([asyncio.ensure_future(ship(n)) for n in range(3)], return_when=asyncio.FIRST_COMPLETED)


async def as_they_complete() -> None:
    for one in asyncio.as_completed([ship(n) for n in range(3)]):
        await one


async def in_branches() -> None:
    async def branch(n: int) -> None:
        await ship(n)
        await charge(n)

    await asyncio.gather(*(branch(n) for n in range(3)))


async def in_a_race() -> None:
    await first_of(ship(0), ship(1), ship(2))


async def beside_a_timer() -> None:
    await asyncio.gather(ship(0), ship(1), ship(2), sleep(3600))


async def beside_a_signal() -> None:
    await asyncio.gather(ship(0), ship(1), ship(2), go.wait())


async def behind_a_handle_that_nobody_awaits() -> None:
    for n in range(3):
        await start_child(ship, n)
    await sleep(3600)


async def with_somebody_who_is_told() -> None:
    done: list[object] = []
    tasks = [asyncio.ensure_future(ship(n)) for n in range(3)]
    for task in tasks:
        task.add_done_callback(done.append)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        (in_gather, 3),
        (in_a_gather_that_wants_them_all, 3),
        (in_a_group, 3),
        (in_wait, 3),
        (in_handles, 3),
        (in_two_groups, 2),
        (the_first_of_them, 1),
        (as_they_complete, 1),
        (in_branches, 1),
        (in_a_race, 1),
        (beside_a_timer, NEVER),
        (beside_a_signal, 1),
        (behind_a_handle_that_nobody_awaits, NEVER),
        (with_somebody_who_is_told, 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_parent_is_woken_when_the_code_can_go_on_and_not_before(body: Any, needed: int) -> None:
    stage = Stage(Workflow(body))
    stage.go()
    while True:
        before = len(stage.journal)
        begun = {entry.key for entry in stage.journal if entry.kind is EntryKind.STARTED}
        begin(stage, *(c.key for c in stage.asked if isinstance(c, StartChild) and started_key(c.key) not in begun))
        if len(stage.journal) == before:
            break
    assert stage.instance.letters_needed == needed
    if needed == 3:
        tell(stage, "ship#2")
        assert stage.instance.letters_needed == 2
        # What it would be told too late is never silent: the code does nothing before the last of them.
        asked = len(stage.asked)
        tell(stage, "ship#1")
        assert (len(stage.asked), stage.instance.letters_needed) == (asked, 1)
        tell(stage, "ship#3")
        assert stage.result.ending is Ending.SUCCEEDED
    stage.instance.close()


# ---- continue as new


def test_what_was_not_seen_goes_along() -> None:
    @Workflow
    async def hears(rounds: int) -> None:
        await go.wait()
        continue_as_new(rounds + 1)

    stage = Stage(hears, 1)
    stage.go()
    stage.post(Signal[int]("other"), 1)
    for number in range(3):
        stage.post(go, number)
    stage.go()
    assert stage.result.ending is Ending.CONTINUED
    assert stage.result.next_input == '{"rounds":2}'
    assert list(stage.result.unread) == ["signal:other#1", "signal:go#3", "signal:go#4"]


def test_what_comes_while_it_waits_for_its_children_goes_along() -> None:
    @Workflow
    async def leaves(rounds: int) -> None:
        await start_child(ship, 1, on_parent_close="wait")
        await go.wait()
        continue_as_new(rounds + 1)

    stage = Stage(leaves, 1)
    stage.go()
    begin(stage, "ship#1")
    for number in range(2):
        stage.post(go, number)
    stage.go()
    stage.post(go, 2)
    assert stage.go().end is None
    tell(stage, "ship#1")
    assert list(stage.result.unread) == ["signal:go#2", "signal:go#3"]


def test_a_cancel_that_was_not_seen_goes_along_and_one_that_was_does_not() -> None:
    @Workflow
    async def insists() -> None:
        try:
            await charge(1)
        except asyncio.CancelledError:
            await charge(2)
        continue_as_new()

    unseen = Stage(insists)
    unseen.go()
    digest = unseen.asked[0].digest  # type: ignore[union-attr]
    unseen.record(EntryKind.ACTIVITY, "charge#1", digest=digest, output="1")
    unseen.record(EntryKind.CANCEL, "cancel#1")
    unseen.go()
    assert list(unseen.result.unread) == ["cancel#1"]
    seen = Stage(insists)
    seen.go()
    seen.cancel()
    seen.work("charge#2")
    assert list(seen.result.unread) == []


# ---- mistakes


def test_options_are_checked() -> None:
    with pytest.raises(InvalidInput, match="use cancel, abandon or wait"):
        ship.options(on_parent_close="leave")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="lane is 'a b'"):
        ship.options(lane="a b")
    with pytest.raises(InvalidInput, match="timeout is 3"):
        ship.options(timeout=3)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="a key has 1 to"):
        ship.options(key="")
    with pytest.raises(DefinitionError, match="the journal uses this name itself"):
        Workflow(ship.fn, name="timer")


async def test_a_child_is_for_workflow_code() -> None:
    with pytest.raises(DefinitionError, match=r"start it with `await client\.start"):
        await ship(1)
    with pytest.raises(RuntimeError, match=r"start_child\(\) works in workflow code only"):
        await start_child(ship, 1)
    with pytest.raises(RuntimeError, match=r"continue_as_new\(\) works in workflow code only"):
        continue_as_new(1)


def test_an_activity_is_no_child() -> None:
    @Workflow
    async def order() -> str:
        try:
            await start_child(charge, 1)
        except DefinitionError as error:
            return str(error)
        return ""

    stage = Stage(order)
    stage.go()
    assert "cannot be a child" in (stage.result.output or "")
