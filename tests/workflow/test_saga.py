"""W15, as far as it concerns the run: what was done is undone in reverse order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import CompensationFailed, DefinitionError, InvalidInput
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.fan_out import fan_out
from holdfast.workflow.instance import Activation, RunActivity, StartTimer
from holdfast.workflow.saga import saga
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

go = Signal[str]("go")


class SoldOut(Exception):
    pass


class Stuck(Exception):
    pass


@Activity
async def book(what: str, *, nights: int = 1) -> str:
    if what == "unicorn":
        raise SoldOut(what)
    return f"<{what}>"


@book.compensate
@Activity
async def cancel_booking(booking: str, what: str, *, nights: int = 1) -> None:
    if what.startswith("stuck"):
        raise Stuck(booking)


@Activity
async def hold_seat(seat: int) -> str:
    return f"seat {seat}"


@hold_seat.compensate(even_if_unknown=True)
@Activity
async def release_seat(held: str | None, seat: int) -> None: ...


@Activity
async def note(text: str) -> str:
    if text == "fails":
        raise Stuck(text)
    return text


def inputs(stage: Stage, name: str) -> list[str]:
    """What this activity was asked for with, in order."""
    return [c.input for c in stage.asked if isinstance(c, RunActivity) and c.activity.name == name]


def finish(stage: Stage) -> None:
    """Executes whatever is asked for, until the run has ended."""
    while stage.last.end is None:
        command = stage.open[0]
        if isinstance(command, RunActivity):
            stage.work(command.key)
        else:
            stage.fire(command.key)


@Workflow
async def travels(stops: list[str]) -> list[str]:
    async with saga() as undo:
        await note("packed")
        undo.add(note, "unpacked")
        return [await book(stop, nights=2) for stop in stops]


def test_what_was_done_is_undone_in_reverse_order_and_the_error_goes_on_its_way() -> None:
    stage = Stage(travels, ["flight", "hotel", "unicorn"])
    stage.go()
    finish(stage)
    assert inputs(stage, "cancel_booking") == [
        '{"booking":"<hotel>","nights":2,"what":"hotel"}',
        '{"booking":"<flight>","nights":2,"what":"flight"}',
    ]
    assert [command.key for command in stage.asked[-3:]] == ["cancel_booking#1", "cancel_booking#2", "note#2"]
    failure = stage.result.failure
    assert failure is not None
    assert failure.type.endswith(":SoldOut")


def test_nothing_is_undone_where_nothing_has_failed() -> None:
    stage = Stage(travels, ["flight"])
    stage.go()
    finish(stage)
    assert stage.result.output == '["<flight>"]'
    assert inputs(stage, "cancel_booking") == []


def test_a_crash_in_the_middle_goes_on_where_it_was() -> None:
    stage = Stage(travels, ["a", "b", "c", "unicorn"])
    stage.go()
    while stage.last.end is None:
        command = stage.open[0]
        stage.move()
        stage.work(command.key)
    keys = [entry.key for entry in stage.journal]
    assert keys[-4:] == ["cancel_booking#1", "cancel_booking#2", "cancel_booking#3", "note#2"]
    assert len(keys) == len(set(keys))


def test_undos_that_fail_do_not_stop_the_others_and_all_are_told() -> None:
    stage = Stage(travels, ["a", "stuck 1", "b", "stuck 2", "unicorn"])
    stage.go()
    finish(stage)
    assert len(inputs(stage, "cancel_booking")) == 4
    assert inputs(stage, "note") == ['{"text":"packed"}', '{"text":"unpacked"}']
    failure = stage.result.failure
    assert failure is not None
    assert failure.type.endswith(":CompensationFailed")
    assert failure.message.startswith("2 of 5 undos failed (cancel_booking, cancel_booking) after SoldOut: unicorn")
    assert "Stuck: <stuck 2>" in failure.message
    assert failure.cause is not None
    assert failure.cause.type.endswith(":SoldOut")


def test_code_can_see_what_came_of_each() -> None:
    @Workflow
    async def looks() -> list[str]:
        trip = saga()
        words: list[str] = []
        try:
            async with trip as undo:
                await book("a")
                undo.add(note, "fails")
                await book("unicorn")
        except CompensationFailed as failed:
            words += [f"{failed.undone} {failed.exceptions} after {failed.__cause__!r}"]
            rest = failed.subgroup(SoldOut)
            words.append(f"{type(failed.subgroup(Stuck)).__name__} {rest}")
        return words + [f"{one.name}: {one.error!r}" for one in trip.outcomes]

    stage = Stage(looks)
    stage.go()
    finish(stage)
    assert json.loads(stage.result.output or "") == [
        "('cancel_booking',) (Stuck('fails'),) after SoldOut('unicorn')",
        "CompensationFailed None",
        "note: Stuck('fails')",
        "cancel_booking: None",
    ]


@pytest.mark.parametrize("cancels", [1, 3])
def test_a_cancel_undoes_and_none_stops_the_undoing(cancels: int) -> None:
    @Workflow
    async def waits() -> None:
        async with saga() as undo:
            await book("a")
            await book("b")
            undo.add(note, "third")
            await go.wait()

    stage = Stage(waits)
    stage.go()
    stage.work("book#1")
    stage.work("book#2")
    for _ in range(cancels):
        stage.cancel()
    assert stage.open_keys == ["note#1"]
    stage.move()
    stage.work("note#1")
    stage.cancel()
    stage.work("cancel_booking#1")
    stage.work("cancel_booking#2")
    assert stage.result.ending is Ending.CANCELLED


def test_a_cancelled_run_whose_undo_failed_has_failed() -> None:
    @Workflow
    async def waits() -> None:
        async with saga() as undo:
            undo.add(note, "fails")
            await go.wait()

    stage = Stage(waits)
    stage.go()
    stage.cancel()
    stage.work("note#1")
    failure = stage.result.failure
    assert failure is not None
    assert failure.message.startswith("1 of 1 undos failed (note) after CancelledError")


def test_an_error_goes_before_a_cancel_that_came_while_it_was_undone() -> None:
    stage = Stage(travels, ["a", "unicorn"])
    stage.go()
    for key in ("note#1", "book#1", "book#2"):
        stage.work(key)
    stage.cancel()
    finish(stage)
    assert len(inputs(stage, "cancel_booking")) == 1
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(":SoldOut")


def test_a_time_limit_around_it_undoes_and_is_a_time_limit() -> None:
    @Workflow
    async def hurries() -> str:
        try:
            async with asyncio.timeout(10), saga():
                await book("a")
                await go.wait()
        except TimeoutError:
            return "too late"
        return "?"

    stage = Stage(hurries)
    stage.go()
    stage.work("book#1")
    stage.fire("timer#1")
    stage.work("cancel_booking#1")
    assert stage.result.output == '"too late"'


# ---- calls that are under way


@Workflow
async def in_a_group() -> None:
    async with saga(), asyncio.TaskGroup() as group:
        group.create_task(book("a"))
        group.create_task(hold_seat(5))
        group.create_task(note("third"))
        await go.wait()


def test_a_call_that_was_cancelled_under_way_is_undone_only_where_it_says_so() -> None:
    stage = Stage(in_a_group)
    stage.go()
    stage.work("note#1")
    stage.cancel()
    assert stage.withdrawn == ["book#1", "hold_seat#1"]
    stage.move()
    stage.fire("timer#1")
    assert inputs(stage, "release_seat") == ['{"held":null,"seat":5}']
    stage.work("release_seat#1")
    assert stage.result.ending is Ending.CANCELLED
    assert inputs(stage, "cancel_booking") == []


def test_one_whose_outcome_was_recorded_all_the_same_is_known() -> None:
    """It was on its way into the journal when the cancel came: before the timer that the saga waits for."""
    stage = Stage(in_a_group)
    stage.go()
    stage.cancel()
    assert stage.open_keys == ["timer#1"]
    stage.record(EntryKind.ACTIVITY, "book#1", output='"<a>"')
    stage.record(EntryKind.ACTIVITY, "hold_seat#1", error='{"type":"builtins:ValueError","message":"no"}')
    stage.go()
    stage.fire("timer#1")
    assert inputs(stage, "cancel_booking") == ['{"booking":"<a>","what":"a"}']
    assert inputs(stage, "release_seat") == [], "it is known that nothing was held"
    stage.move()
    stage.work("cancel_booking#1")
    assert stage.result.ending is Ending.CANCELLED


def test_one_that_was_never_begun_is_not_undone() -> None:
    @Workflow
    async def changes_its_mind() -> None:
        async with saga():
            task = asyncio.create_task(hold_seat(1))
            await asyncio.sleep(0)
            task.cancel()
            raise ValueError("no")

    stage = Stage(changes_its_mind)
    assert stage.go().commands == ()
    assert stage.result.failure is not None
    assert stage.result.failure.type == "builtins:ValueError"


def test_calls_of_tasks_that_nobody_cancelled_are_waited_for() -> None:
    @Workflow
    async def gathers() -> None:
        async def twice() -> None:
            await book("one")
            await book("two")

        async with saga():
            await asyncio.gather(twice(), book("unicorn"))

    stage = Stage(gathers)
    stage.go()
    stage.work("book#2")
    assert stage.open_keys == ["book#1"], "nothing is undone yet"
    stage.work("book#1")
    assert inputs(stage, "cancel_booking") == ['{"booking":"<one>","what":"one"}']
    assert len(inputs(stage, "book")) == 2, "and nothing else is begun"
    stage.work("cancel_booking#1")
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(":SoldOut")


def test_a_fan_out_in_it_is_undone() -> None:
    @Workflow
    async def fans() -> None:
        async with saga():
            await fan_out(book, ["a", "b", "unicorn", "c"], limit=2)

    stage = Stage(fans)
    stage.go()
    for key in ("book#2", "book#1", "book#3"):
        stage.work(key)
    finish(stage)
    # The last one was under way: cancelled, and not known to have happened.
    assert inputs(stage, "cancel_booking") == ['{"booking":"<a>","what":"a"}', '{"booking":"<b>","what":"b"}']


# ---- one in another


@Workflow
async def nests(inner_fails: bool, outer_fails: bool) -> str:
    async with saga():
        await book("outer")
        try:
            async with saga():
                await book("inner")
                if inner_fails:
                    await book("unicorn")
        except SoldOut:
            await note("inner undone")
        if outer_fails:
            await book("unicorn")
    return "done"


def test_what_an_inner_one_has_done_belongs_to_the_outer_one() -> None:
    stage = Stage(nests, False, True)
    stage.go()
    finish(stage)
    assert inputs(stage, "cancel_booking") == [
        '{"booking":"<inner>","what":"inner"}',
        '{"booking":"<outer>","what":"outer"}',
    ]
    stage = Stage(nests, True, False)
    stage.go()
    finish(stage)
    assert inputs(stage, "cancel_booking") == ['{"booking":"<inner>","what":"inner"}']
    assert stage.result.output == '"done"'
    stage = Stage(nests, True, True)
    stage.go()
    finish(stage)
    assert len(inputs(stage, "cancel_booking")) == 2, "nothing is undone twice"


def test_an_undo_can_be_several_steps_and_is_not_undone_itself() -> None:
    @Workflow
    async def several() -> None:
        async def tidy_up(text: str, *, again: str) -> None:
            await book(text)
            await note(again)

        async with saga() as outer:
            outer.add(note, "outer")
            async with saga() as inner:
                inner.add(tidy_up, "room", again="floor")
                raise ValueError("no")

    stage = Stage(several)
    stage.go()
    finish(stage)
    assert [c.key for c in stage.asked] == ["book#1", "note#1", "note#2"]


# ---- what cannot be


def test_what_cannot_be_undone_so_is_refused() -> None:
    async def plain(payment: str, what: str) -> None: ...

    @Activity
    async def other(done: str) -> str:
        return done

    with pytest.raises(DefinitionError, match=r"put @app\.activity below"):
        cast("Any", other).compensate(plain)
    with pytest.raises(DefinitionError, match="'cancel_booking' undoes it already"):
        book.compensate(cancel_booking)
    with pytest.raises(RuntimeError, match="not open"):
        saga().add(note, "x")


def test_arguments_of_an_undo_are_checked_when_it_is_added() -> None:
    @Workflow
    async def adds() -> None:
        async with saga() as undo:
            undo.add(note, cast("Any", 5))

    stage = Stage(adds)
    stage.go()
    assert stage.result.failure is not None
    assert stage.result.failure.type.endswith(InvalidInput.__name__)


async def test_outside_of_a_workflow_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="workflow code only"):
        async with saga():
            pass


def test_a_run_that_is_dropped_in_it_undoes_nothing() -> None:
    stage = Stage(in_a_group)
    stage.go()
    stage.instance.close()
    assert stage.instance.open_commands() == []


# ---- whatever happens


@Workflow
async def anything(plan: list[Any]) -> None:
    async def follow(node: list[Any]) -> None:
        kind, *children = node
        match kind:
            case "saga":
                async with saga() as undo:
                    undo.add(note, "in the end")
                    for child in children:
                        await follow(child)
            case "group":
                async with asyncio.TaskGroup() as group:
                    for child in children:
                        group.create_task(follow(child))
            case "fail":
                await book("unicorn")
            case "sleep":
                await sleep(5)
            case "seat":
                await hold_seat(len(children))
            case _:
                await book(kind)
                for child in children:
                    await follow(child)

    async with saga():
        await follow(plan)
        await go.wait()


kinds = st.sampled_from(["saga", "group", "fail", "sleep", "seat", "a", "b", "stuck"])


def _node(kind: str, children: list[Any]) -> list[Any]:
    return [kind, *children]


def _nodes(children: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.builds(_node, kinds, st.lists(children, max_size=3))


plans: st.SearchStrategy[list[Any]] = st.recursive(st.builds(_node, kinds, st.just([])), _nodes, max_leaves=8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(plan=plans, seed=st.integers(0, 2**32), cancels=st.integers(0, 3))
def test_what_is_known_to_have_happened_is_undone_once(plan: list[Any], seed: int, cancels: int) -> None:
    """In any order of events, with crashes in between; and the replay of each journal asks for the same."""
    chance = random.Random(seed)
    stage = Stage(anything, plan)
    last = stage.go()
    while last.end is None:
        events: list[Callable[[], Activation]] = []
        for command in stage.open:
            if isinstance(command, RunActivity):
                events.append(partial(stage.work, command.key))
            elif isinstance(command, StartTimer) and command.deadline == stage.instance.next_timer:
                events.append(partial(stage.fire, command.key))
        if cancels or not events:
            events.append(stage.cancel)
        event = chance.choice(events)
        cancels -= event == stage.cancel
        last = event()
        if last.end is None and chance.random() < 0.2:
            last = stage.move()
    done = [e.output for e in stage.journal if e.key.startswith("book#") and e.error is None]
    asked = {c.key: c.input for c in stage.asked if isinstance(c, RunActivity)}
    undone = [asked[e.key] for e in stage.journal if e.key.startswith("cancel_booking#")]
    assert sorted(f'{{"booking":{one}' for one in done if one) == sorted(one.partition(',"what"')[0] for one in undone)
    held = [key for key in asked if key.startswith("hold_seat#")]
    assert len(held) >= len([key for key in asked if key.startswith("release_seat#")])
    whole = stage.made(stage.journal)
    again = whole.activate()
    assert again.blocked is None
    assert again.end is not None
    assert again.end.ending is last.end.ending
    whole.close()
