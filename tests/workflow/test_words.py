"""What workflow code is given: the same on every replay, and a clear error outside of a workflow."""

from __future__ import annotations

import asyncio
import random as standard
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast.core.errors import DefinitionError, RetryAfter
from holdfast.core.retry import Retry
from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import activity_info
from holdfast.workflow.chance import random, uuid4
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.current import run_info
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import BEGAN, RUN_ID, Stage

SECOND = timedelta(seconds=1)


@Activity
async def double(n: int) -> int:
    return 2 * n


@Activity
def half(n: int) -> float:
    return n / 2


@Workflow
async def rolls() -> list[Any]:
    first = [random().random(), str(uuid4()), random().randint(1, 6)]
    await double(1)
    return [*first, random().random(), str(uuid4()), now().isoformat()]


def test_chance_is_the_same_on_every_replay_and_another_for_another_run() -> None:
    standard.seed(1)
    results: list[str | None] = []
    for run_id in (RUN_ID, RUN_ID, UUID(int=5)):
        standard.random()
        stage = Stage(rolls, run_id=run_id)
        stage.go()
        stage.work("double#1")
        live = stage.result.output
        stage.move()
        assert stage.result.output == live
        results.append(live)
    assert results[0] == results[1] != results[2]


def test_uuids_are_uuids_and_differ() -> None:
    @Workflow
    async def makes_many() -> int:
        made = {uuid4() for _ in range(1000)}
        assert {one.version for one in made} == {4}
        return len(made)

    assert Stage(makes_many).go().end is not None


def test_a_run_knows_itself() -> None:
    @Workflow
    async def looks() -> list[str]:
        info = run_info()
        return [str(info.run_id), info.name, info.lane, info.priority, info.tags["team"], now().isoformat()]

    stage = Stage(looks)
    stage.go()
    assert stage.result.output == f'["{RUN_ID}","looks","default","medium","a","{BEGAN.isoformat()}"]'


OUTSIDE: dict[str, Callable[[], Any]] = {
    "now": now,
    "random": random,
    "uuid4": uuid4,
    "run_info": run_info,
    "activity_info": activity_info,
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_outside_of_its_place_a_word_says_where_it_belongs(what: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{what}\(\) works in .* only"):
        OUTSIDE[what]()


@pytest.mark.parametrize("wait", [lambda: sleep(1), lambda: sleep_until(BEGAN), lambda: Signal[int]("x").wait()])
def test_outside_of_a_workflow_a_wait_says_where_it_belongs(wait: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="works in workflow code only"):
        asyncio.run(wait())


def test_activity_info_is_not_for_workflow_code() -> None:
    @Workflow
    async def asks() -> None:
        activity_info()

    failure = Stage(asks).go().end
    assert failure is not None
    assert failure.failure is not None
    assert "activity_info() works in the code of an activity only" in failure.failure.message


def test_outside_of_a_workflow_an_activity_is_executed_once() -> None:
    async def main() -> list[float]:
        return [await double(4), await half(4), await half.options(key="x")(n=6)]

    assert asyncio.run(main()) == [8, 2.0, 3.0]
    assert half.fn(3) == 1.5


def test_options_are_for_one_call() -> None:
    quick = double.options(timeout=SECOND, retry=Retry(max_attempts=1), key="q")

    @Workflow
    async def calls() -> int:
        return await quick(1) + await double(1)

    stage = Stage(calls)
    (command,) = stage.go().commands
    assert isinstance(command, RunActivity)
    assert command.key == "double:q#1"
    assert (command.activity.timeout, command.activity.retry.max_attempts) == (SECOND, 1)
    assert command.activity.name == "double"
    (other,) = stage.work("double:q#1").commands
    assert isinstance(other, RunActivity)
    assert other.key == "double#1"
    assert (other.activity.timeout, other.activity.retry.max_attempts) == (None, 4)
    stage.work("double#1")
    assert stage.result.output == "4"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\0b", "a\nb"])
def test_a_key_that_cannot_be_stored_is_refused(key: str) -> None:
    with pytest.raises(DefinitionError, match="printable characters"):
        double.options(key=key)


@pytest.mark.parametrize("name", ["timer", "signal:x", "cancel"])
def test_names_of_the_journal_s_own_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="the journal uses this name itself"):
        Activity(double.fn, name=name)


def test_durations_of_nothing_are_refused() -> None:
    with pytest.raises(DefinitionError, match="timeout="):
        double.options(timeout=timedelta(0))
    with pytest.raises(DefinitionError, match="total_timeout="):
        Activity(double.fn, total_timeout=-SECOND)
    for wrong in (0, True, "2"):
        most: Any = wrong
        with pytest.raises(DefinitionError, match=r"max_concurrency= is a whole number from 1 up, not"):
            Activity(half.fn, max_concurrency=most)


def test_numbers_in_place_of_durations_and_policies_are_refused() -> None:
    number: Any = 30
    with pytest.raises(DefinitionError, match=r"timeout= is a timedelta, .* not 30"):
        Activity(double.fn, timeout=number)
    with pytest.raises(DefinitionError, match=r"retry= is a Retry, .* not 30"):
        Activity(double.fn, retry=number)
    with pytest.raises(DefinitionError, match=r"retry= is a Retry, .* not 30"):
        double.options(retry=number)
    with pytest.raises(ValueError, match="RetryAfter takes a timedelta"):
        RetryAfter(number)


def test_a_workflow_is_not_called_like_a_function() -> None:
    with pytest.raises(DefinitionError, match=r"client\.start"):
        rolls()  # type: ignore[unused-coroutine]


def test_entries_come_in_the_order_of_their_seqs() -> None:
    stage = Stage(rolls)
    stage.go()
    assert stage.instance.next_seq == 1
    assert [stage.instance.allocate(), stage.instance.allocate()] == [1, 2]
    stage.work("double#1")
    assert stage.instance.next_seq == 4
    with pytest.raises(ValueError, match="seqs must rise"):
        stage.instance.feed(stage.journal[0])
    assert stage.made(stage.journal).next_seq == 4
