"""W8, as far as it concerns the run: an activity's error is its own class, live and on replay."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import pytest

from holdfast.core.errors import MissingClass
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage

SECOND = timedelta(seconds=1)


class CardDeclined(Exception):
    def __init__(self, card: str, code: int) -> None:
        self.card = card
        self.code = code
        super().__init__(card, code)


@Activity
async def charge(card: str) -> str:
    raise CardDeclined(card, 51)


@Workflow
async def shops() -> str:
    try:
        return await charge("visa")
    except CardDeclined as error:
        return f"{type(error).__name__} {error.card} {error.code}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_an_error_is_the_class_that_was_raised_live_and_replayed() -> None:
    stage = Stage(shops)
    stage.go()
    stage.work("charge#1")
    assert stage.result.output == '"CardDeclined visa 51"'
    stage.move()
    assert stage.result.output == '"CardDeclined visa 51"'


@pytest.mark.parametrize("error", [asyncio.CancelledError("own"), SystemExit(1), KeyboardInterrupt(), StopIteration(3)])
def test_an_error_that_would_end_a_task_instead_of_being_raised_is_an_activity_failed(error: BaseException) -> None:
    stage = Stage(shops)
    stage.go()
    stage.fail("charge#1", error)
    assert stage.result.output is not None
    assert stage.result.output.startswith("\"ActivityFailed: activity 'charge' failed: ")
    assert type(error).__name__ in stage.result.output


def test_a_class_that_this_process_lacks_blocks_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(shops)
    stage.go()
    failure = Failure.of(CardDeclined("visa", 51))
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules[CardDeclined.__module__], "CardDeclined")
        stage.record(EntryKind.ACTIVITY, "charge#1", error=failure.to_json())
        assert isinstance(stage.blocked(), MissingClass)
        assert isinstance(stage.blocked(), MissingClass)
        stage.instance.close()
    stage.instance = stage.made(stage.journal)
    stage.go()
    assert stage.result.output == '"CardDeclined visa 51"'


def test_failed_attempts_are_told_with_the_command() -> None:
    stage = Stage(shops)
    (command,) = stage.go().commands
    assert isinstance(command, RunActivity)
    assert (command.attempts, command.not_before) == (0, None)
    stage.stumble("charge#1", CardDeclined("visa", 91), attempt=1, rest=10 * SECOND)
    stage.stumble("charge#1", CardDeclined("visa", 91), attempt=2, rest=20 * SECOND)
    nothing = stage.go()
    assert not nothing.commands
    (known,) = stage.open
    (replayed,) = stage.move().commands
    assert known == replayed
    assert isinstance(replayed, RunActivity)
    assert (replayed.attempts, replayed.not_before) == (2, stage.journal[-1].not_before)
    stage.finish("charge#1", '"paid"')
    assert stage.result.output == '"paid"'


def test_a_command_tells_when_it_was_first_asked_for() -> None:
    @Workflow
    async def waits_and_charges() -> str:
        await sleep(60)
        return await charge("visa")

    stage = Stage(waits_and_charges)
    stage.go()
    (command,) = stage.fire("timer#1").commands
    assert isinstance(command, RunActivity)
    asked = command.first_asked
    assert asked == stage.clock
    stage.clock += 100 * SECOND
    (again,) = stage.move().commands
    assert again == command


def test_an_error_that_nobody_catches_fails_the_run() -> None:
    @Workflow
    async def falls() -> None:
        await charge("visa")

    stage = Stage(falls)
    stage.go()
    stage.work("charge#1")
    failure = stage.result.failure
    assert stage.result.ending is Ending.FAILED
    assert failure is not None
    assert failure.type.endswith(":CardDeclined")
    assert failure.traceback is not None
    assert "test_failures.py" in failure.traceback


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_code_that_wants_to_end_the_process_fails_its_run(error: type[BaseException]) -> None:
    @Workflow
    async def exits() -> None:
        await sleep(1)
        raise error

    stage = Stage(exits)
    stage.go()
    stage.fire("timer#1")
    assert stage.result.failure is not None
    assert stage.result.failure.type == f"builtins:{error.__name__}"


def test_a_task_that_wants_to_end_the_process_fails_the_run_that_awaits_it() -> None:
    @Workflow
    async def exits_below() -> None:
        async def below() -> None:
            sys.exit(4)

        await asyncio.gather(below())

    assert Stage(exits_below).go().end is not None


def test_a_result_that_cannot_be_stored_fails_the_run() -> None:
    @Workflow
    async def returns_an_object() -> int:
        return object()  # type: ignore[return-value]

    stage = Stage(returns_an_object)
    stage.go()
    assert stage.result.ending is Ending.FAILED
    assert stage.result.failure is not None
    assert stage.result.failure.type == "holdfast.core.errors:Unstorable"
    assert "returns_an_object" in stage.result.failure.message


def test_an_argument_that_does_not_fit_is_an_error_where_the_activity_is_called() -> None:
    @Workflow
    async def passes_nonsense() -> str:
        return await charge(5)  # type: ignore[arg-type]

    stage = Stage(passes_nonsense)
    assert not stage.go().commands
    assert stage.result.failure is not None
    assert stage.result.failure.type == "holdfast.core.errors:InvalidInput"
    assert "card" in stage.result.failure.message


def test_an_input_that_cannot_be_read_fails_a_run_that_has_not_begun() -> None:
    @Workflow
    async def takes(n: int) -> int:
        return n

    stage = Stage(takes, 1)
    stage.input = '{"n":"many"}'
    stage.instance = stage.made([])
    stage.go()
    assert stage.result.failure is not None
    assert "n" in stage.result.failure.message
    assert stage.instance.activate().end == stage.result


def test_a_task_that_failed_unseen_says_so_when_the_run_ends(caplog: pytest.LogCaptureFixture) -> None:
    @Workflow
    async def overlooks() -> None:
        async def below() -> None:
            raise CardDeclined("visa", 1)

        asyncio.create_task(below())  # noqa: RUF006
        await sleep(1)

    stage = Stage(overlooks)
    stage.go()
    stage.fire("timer#1")
    assert "Task exception was never retrieved" in caplog.text
    caplog.clear()
    stage = Stage(overlooks)
    stage.go()
    stage.instance.close()
    assert caplog.text == ""
