"""W6, as far as it concerns the run: signals are seen once, in their order, and none is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.errors import DefinitionError
from holdfast.core.journal import EntryKind, signal_key
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import now, sleep
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import BEGAN, Stage, play

MINUTE = timedelta(minutes=1)


@dataclass
class Decision:
    upgraded: bool
    plan: str = "free"


decision = Signal[Decision]("decision")
number = Signal[int]("number")
letter = Signal[str]("letter")
anything = Signal[Any]("anything")
untyped: Signal[Any] = Signal("untyped")


@Activity
async def note(text: str) -> None: ...


@Workflow
async def decides() -> str:
    made = await decision.wait(timeout=timedelta(days=30))
    return f"{type(made).__name__} {made.upgraded} {made.plan}"


def test_a_signal_carries_its_type() -> None:
    stage = Stage(decides)
    stage.go()
    stage.send(decision, Decision(upgraded=True, plan="pro"))
    assert stage.result.output == '"Decision True pro"'
    assert stage.instance.next_timer is None


def test_a_signal_that_does_not_fit_its_type_is_an_error_where_it_is_waited_for() -> None:
    stage = Stage(decides)
    stage.go()
    stage.record(EntryKind.SIGNAL, signal_key("decision", 1), output='{"upgraded":"perhaps"}')
    stage.go()
    failure = stage.result.failure
    assert failure is not None
    assert failure.type == "holdfast.core.errors:InvalidInput"
    assert "upgraded" in failure.message


def test_a_signal_of_a_type_of_no_use_says_so_where_it_is_used() -> None:
    class Opaque:
        pass

    with pytest.raises(DefinitionError, match="signal 'opaque'"):
        _ = Signal[Opaque]("opaque").returns


def test_a_number_in_place_of_a_timeout_is_told() -> None:
    seconds: Any = 5

    @Workflow
    async def hurries() -> None:
        await untyped.wait(timeout=seconds)

    stage = Stage(hurries)
    stage.go()
    failure = stage.result.failure
    assert failure is not None
    assert "takes a timedelta as its timeout, not 5" in failure.message


@pytest.mark.parametrize("name", ["", " x", "a#b", "a\nb"])
def test_a_name_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError):
        Signal[int](name)


def test_signals_without_a_type_carry_plain_json() -> None:
    @Workflow
    async def takes() -> list[Any]:
        return [await untyped.wait(), await anything.wait()]

    stage = Stage(takes)
    stage.post(untyped, {"a": [1, None]})
    stage.post(anything, "x")
    stage.go()
    assert stage.result.output == '[{"a":[1,null]},"x"]'


@Workflow
async def collects(count: int) -> list[int]:
    await sleep(MINUTE)
    return [await number.wait() for _ in range(count)]


def test_a_hundred_signals_come_in_their_order() -> None:
    stage = Stage(collects, 100)
    for i in range(30):
        stage.post(number, i)
    stage.go()
    for i in range(30, 60):
        stage.send(number, i)
    assert stage.open_keys == ["timer#1"]
    assert not stage.instance.waits_for_signal
    stage.fire("timer#1")
    for i in range(60, 100):
        stage.send(number, i)
    assert stage.result.output == str(list(range(100))).replace(" ", "")


def test_a_signal_during_a_timer_does_not_wake_it_early() -> None:
    @Workflow
    async def sleeps() -> list[str]:
        await sleep(MINUTE)
        woken = now()
        return [woken.isoformat(), str(await number.wait())]

    stage = Stage(sleeps)
    (timer,) = stage.go().commands
    stage.send(number, 1)
    assert stage.open == [timer]
    stage.fire("timer#1")
    assert stage.result.output == f'["{(BEGAN + MINUTE).isoformat()}","1"]'


def test_names_do_not_wait_for_each_other() -> None:
    @Workflow
    async def takes_both() -> list[str]:
        return [str(await number.wait()), await letter.wait()]

    stage = Stage(takes_both)
    stage.go()
    stage.send(letter, "a")
    assert stage.instance.waits_for_signal
    stage.send(number, 1)
    assert stage.result.output == '["1","a"]'


def test_several_waits_of_one_name_are_served_in_their_order() -> None:
    @Workflow
    async def shares() -> list[int]:
        return list(await asyncio.gather(number.wait(), number.wait(), number.wait()))

    stage = Stage(shares)
    stage.post(number, 1)
    stage.go()
    stage.send(number, 2)
    stage.send(number, 3)
    assert stage.result.output == "[1,2,3]"


def test_a_wait_that_times_out_takes_nothing() -> None:
    @Workflow
    async def tries() -> list[str]:
        seen: list[str] = []
        for _ in range(3):
            try:
                seen.append(str(await number.wait(timeout=MINUTE)))
            except TimeoutError as error:
                seen.append(str(error))
        return seen

    stage = Stage(tries)
    stage.go()
    assert stage.instance.next_timer == BEGAN + MINUTE
    stage.fire("timer#1")
    stage.send(number, 1)
    assert stage.withdrawn == ["timer#2"]
    stage.send(number, 2)
    assert stage.result.output == '["no signal \'number\' came within 0:01:00","1","2"]'


def test_a_wait_without_time_takes_what_is_there() -> None:
    @Workflow
    async def polls() -> list[int | None]:
        seen: list[int | None] = []
        for _ in range(3):
            try:
                seen.append(await number.wait(timeout=timedelta(0)))
            except TimeoutError:
                seen.append(None)
        return seen

    stage = Stage(polls)
    stage.post(number, 1)
    stage.go()
    assert stage.instance.next_timer == stage.clock
    stage.fire("timer#2")
    stage.post(number, 2)
    stage.go()
    assert stage.result.output == "[1,null,2]"


@Workflow
async def gives_up() -> list[str]:
    """A task is given its signal and cancelled in the same turn, before it can take it."""
    taken = asyncio.Event()

    async def take(name: str) -> str:
        try:
            return f"{name} {await number.wait()}"
        finally:
            taken.set()

    async def take_and_stop(other: asyncio.Task[str]) -> str:
        value = await letter.wait()
        other.cancel()
        return value

    first = asyncio.create_task(take("first"))
    canceller = asyncio.create_task(take_and_stop(first))
    await asyncio.wait([first, canceller])
    second = asyncio.create_task(take("second"))
    return [str(first.cancelled()), await second]


def test_a_signal_that_a_cancelled_wait_was_given_goes_back() -> None:
    """The wait is cancelled after the signal was delivered to it, and before its task has its turn to take it."""

    @Workflow
    async def puts_back() -> list[str]:
        waiting = asyncio.create_task(number.wait())
        await asyncio.sleep(0)

        # What the wait is served with wakes this callback first, and its own task after it.
        def cancel(served: object) -> None:
            waiting.cancel()

        inner: Any = waiting
        served = inner._fut_waiter
        ((wake_up, context),) = served._callbacks
        served.remove_done_callback(wake_up)
        served.add_done_callback(cancel)
        served.add_done_callback(wake_up, context=context)
        del inner, served, wake_up, context
        seen: list[str] = []
        try:
            seen.append(f"task {await waiting}")
        except asyncio.CancelledError:
            seen.append("cancelled")
        return [*seen, str(await number.wait()), str(await number.wait())]

    stage = Stage(puts_back)
    stage.go()
    stage.send(number, 1)
    assert stage.instance.waits_for_signal
    stage.send(number, 2)
    assert stage.result.output == '["cancelled","1","2"]'


def test_a_signal_that_nobody_takes_does_not_matter() -> None:
    @Workflow
    async def ends() -> str:
        await note("x")
        return "end"

    stage = Stage(ends)
    stage.go()
    stage.send(number, 1)
    stage.work("note#1")
    assert stage.result.output == '"end"'
    stage.move()
    assert stage.result.output == '"end"'


@pytest.mark.parametrize("seed", range(12))
def test_gave_up_or_not_every_signal_is_seen_once_and_replayed(seed: int) -> None:
    story = play(gives_up, seed=seed, signals=[(letter, "x"), (number, 1), (letter, "y"), (number, 2), (number, 3)])
    assert story.end is not None
    story.is_replayed_from_everywhere()
