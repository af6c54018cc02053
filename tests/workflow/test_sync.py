"""Workflows that are not async: to the engine they are what an async one would be, step by step.

Some tests play a story twice, once as an ``async def`` and once as a ``def`` that says ``wait`` where the other one
awaits: what the two ask for, in which order, and how they end must be equal.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from holdfast import App, DefinitionError, branch, first_of, wait, wait_each, wait_within
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.current import run_info
from holdfast.workflow.log import logger
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage, Story, play

MINUTE = timedelta(minutes=1)

trace: list[str] = []
scratch: ContextVar[str] = ContextVar("scratch", default="")
go_on = Signal[int]("go-on")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    trace.clear()
    yield
    trace.clear()


class OutOfStock(Exception):
    pass


@Activity
async def act(n: int) -> int:
    if n == 13:
        raise OutOfStock(n)
    return n * 10


@Activity
def act_in_a_thread(n: int) -> int:
    return n


@Activity
async def undo(n: int) -> None: ...


def both(name: str, *functions: Any) -> tuple[Workflow[..., Any], Workflow[..., Any]]:
    """The two forms of one story, under one name."""
    a, b = (Workflow(function, name=name) for function in functions)
    return a, b


# ---- the same story twice


async def steps_async(n: int) -> list[int]:
    found: list[int] = []
    for i in range(n):
        found.append(await act(i))
        await sleep(MINUTE)
        found.append(await act_in_a_thread(i))
    return found


def steps_sync(n: int) -> list[int]:
    found: list[int] = []
    for i in range(n):
        found.append(wait(act(i)))
        wait(sleep(MINUTE))
        found.append(wait(act_in_a_thread(i)))
    return found


async def failing_async(n: int) -> str:
    try:
        await act(n)
    except OutOfStock as error:
        await undo(n)
        raise RuntimeError(str(error)) from error
    else:
        await act(1)
    finally:
        await act(2)
    return "done"


def failing_sync(n: int) -> str:
    try:
        wait(act(n))
    except OutOfStock as error:
        wait(undo(n))
        raise RuntimeError(str(error)) from error
    else:
        wait(act(1))
    finally:
        wait(act(2))
    return "done"


async def side_by_side_async(n: int) -> Any:
    async def one(i: int) -> int:
        total = await act(i)
        await sleep(timedelta(seconds=i))
        return total + await act(i + 1)

    return await asyncio.gather(*(one(i) for i in range(n)), return_exceptions=False)


def side_by_side_sync(n: int) -> Any:
    def one(i: int) -> int:
        total = wait(act(i))
        wait(sleep(timedelta(seconds=i)))
        return total + wait(act(i + 1))

    return wait(asyncio.gather(*(branch(one, i) for i in range(n))))


async def limits_async(n: int) -> str:
    try:
        async with asyncio.timeout(60):
            number = await go_on.wait()
            await act(number)
    except TimeoutError:
        await undo(0)
        return f"late at {now():%H:%M:%S}"
    winner = await first_of(act(1), sleep(MINUTE))
    return f"{number} {winner.which}"


def limits_sync(n: int) -> str:
    try:
        with wait_within(asyncio.timeout(60)):
            number = wait(go_on.wait())
            wait(act(number))
    except TimeoutError:
        wait(undo(0))
        return f"late at {now():%H:%M:%S}"
    winner = wait(first_of(act(1), sleep(MINUTE)))
    return f"{number} {winner.which}"


async def signals_async(n: int) -> list[int]:
    return [await go_on.wait() for _ in range(2)] + [await go_on.wait(timeout=MINUTE)]


def signals_sync(n: int) -> list[int]:
    return [wait(go_on.wait()) for _ in range(2)] + [wait(go_on.wait(timeout=MINUTE))]


async def cleaning_async(n: int) -> str:
    try:
        await act(1)
        await sleep(MINUTE)
        await act(2)
    except asyncio.CancelledError:
        await undo(1)
        raise
    return "done"


def cleaning_sync(n: int) -> str:
    try:
        wait(act(1))
        wait(sleep(MINUTE))
        wait(act(2))
    except asyncio.CancelledError:
        wait(undo(1))
        raise
    return "done"


async def streams_async(n: int) -> list[int]:
    return [item async for item in numbers(n)]


def streams_sync(n: int) -> list[int]:
    return list(wait_each(numbers(n)))


async def numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield await act(i)


STORIES = {
    "steps": both("steps", steps_async, steps_sync),
    "failing": both("failing", failing_async, failing_sync),
    "side by side": both("side by side", side_by_side_async, side_by_side_sync),
    "limits": both("limits", limits_async, limits_sync),
    "signals": both("signals", signals_async, signals_sync),
    "cleaning": both("cleaning", cleaning_async, cleaning_sync),
    "streams": both("streams", streams_async, streams_sync),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cancels", [0, 1, 2])
@pytest.mark.parametrize("name", STORIES)
def test_it_asks_for_what_an_async_one_asks_for_and_ends_as_it_ends(name: str, cancels: int, seed: int) -> None:
    def played(workflow: Workflow[..., Any]) -> Story:
        n = 13 if name == "failing" and seed % 2 else 3
        return play(workflow, n, seed=seed, cancels=cancels, signals=[(go_on, i) for i in range(3)])

    is_async, is_sync = (played(workflow) for workflow in STORIES[name])
    assert is_sync.keys == is_async.keys
    assert [step.comparable for step in is_sync.steps] == [step.comparable for step in is_async.steps]
    is_sync.is_replayed_from_everywhere()


@pytest.mark.parametrize("name", STORIES)
def test_the_journal_of_one_form_is_replayed_by_the_other(name: str) -> None:
    for one, other in (STORIES[name], STORIES[name][::-1]):
        story = play(one, 3, signals=[(go_on, i) for i in range(3)])
        instance = Stage(other, 3).made(story.stage.journal)
        last = instance.activate()
        assert (last.blocked, last.commands) == (None, ())
        assert last.end is not None
        assert story.end is not None
        assert last.end.output == story.end.output


# ---- left behind


class Resource:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        trace.append(f"exit {kind.__name__ if kind else None}")
        await act(7)
        trace.append("exited")


@contextmanager
def block() -> Generator[None]:
    try:
        yield
    except Exception:
        trace.append("except in block")
        raise
    finally:
        trace.append("finally in block")
        wait(act(8))
        trace.append("left block")


@asynccontextmanager
async def resource() -> AsyncGenerator[None]:
    try:
        yield
    finally:
        trace.append("finally in context")
        await act(8)
        trace.append("left context")


def nested() -> None:
    try:
        wait(act(1))
    except Exception:
        trace.append("except in nested")
    finally:
        trace.append("finally in nested")
        wait(act(2))
        trace.append("finished nested")


OPERATIONS: dict[str, Any] = {
    "activity": lambda: act(1),
    "sync activity": lambda: act_in_a_thread(1),
    "sleep": lambda: sleep(timedelta(days=11)),
    "sleep_until": lambda: sleep_until(now() + timedelta(days=1)),
    "signal": lambda: go_on.wait(timeout=timedelta(days=30)),
    "branch": lambda: branch(nested),
    "branches": lambda: asyncio.gather(branch(nested), branch(nested), act(3)),
    "task": lambda: asyncio.create_task(branch(nested)),
    "wait_for": lambda: asyncio.wait_for(branch(nested), timeout=60),
}


@Workflow
def surrounded(operation: str) -> str:
    token = scratch.set("set")
    try:
        with wait_within(Resource()), wait_within(resource()), block():
            try:
                trace.append("try")
                wait(OPERATIONS[operation]())
            except Exception as error:
                trace.append(f"except {error!r}")
                wait(act(3))
            except BaseException as error:
                trace.append(f"base {type(error).__name__}")
                raise
            else:
                trace.append("else")
                wait(act(4))
            finally:
                trace.append("finally")
                logger.error("in finally")
                wait(asyncio.sleep(5))
                wait(asyncio.gather(act(5), branch(nested), return_exceptions=True))
                trace.append("after finally")
    finally:
        scratch.reset(token)  # only in the context in which it was set
        trace.append("end")
    return "done"


ONLY_WHEN_LIVE = ("except", "else", "exited", "left", "finished nested", "after finally")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_park_runs_neither_except_nor_else(operation: str) -> None:
    """Dropped at each of its waits, on the first pass and on replays."""
    entries = 0
    while True:
        stage = Stage(surrounded, operation)
        last = stage.go()
        for _ in range(entries):
            if last.end is not None:
                break
            last = anything(stage)
        if last.end is not None:
            assert last.end.ending is Ending.SUCCEEDED
            assert entries > 7
            return
        live = list(trace)

        trace.clear()
        stage.instance.close()
        dropped = list(trace)
        assert not [word for word in dropped if word.startswith(ONLY_WHEN_LIVE)], dropped
        assert not stage.instance.activate().commands
        assert stage.open_keys == []

        trace.clear()
        again = stage.made(stage.journal)
        again.activate()
        assert trace == live
        trace.clear()
        again.close()
        assert trace == dropped
        trace.clear()
        entries += 1


def anything(stage: Stage) -> Any:
    if not stage.open_keys or (stage.instance.waits_for_signal and len(stage.open_keys) < 2):
        return stage.send(go_on, 1)
    key = min(stage.open_keys, key=lambda key: (key.startswith("timer"), len(key), key))
    return stage.fire(key) if key.startswith("timer") else stage.work(key)


def test_finally_blocks_run_when_an_instance_is_dropped() -> None:
    stage = Stage(surrounded, "sleep")
    stage.go()
    trace.clear()
    stage.instance.close()
    assert trace == ["base Dropped", "finally", "finally in block", "finally in context", "exit Dropped", "end"]


def test_code_that_insists_on_waiting_is_thrown_out() -> None:
    @Workflow
    def insists() -> None:
        for i in range(50):
            try:
                wait(act(i))
            except BaseException:
                trace.append(f"insists {i}")

    stage = Stage(insists)
    stage.go()
    stage.instance.close()
    assert len(trace) == 50
    assert stage.asked == stage.asked[:1]


def test_code_that_raises_on_its_way_out_is_ignored() -> None:
    @Workflow
    def raises() -> None:
        try:
            wait(act(1))
        finally:
            raise SystemExit(3)

    stage = Stage(raises)
    stage.go()
    stage.instance.close()


def test_a_generator_that_waits_is_left_behind_silently() -> None:
    def tens() -> Iterator[int]:
        try:
            for i in range(3):
                yield wait(act(i))
        finally:
            trace.append("finally")
            wait(act(9))
            trace.append("not reached")

    @Workflow
    def generates() -> int:
        return sum(tens())

    stage = Stage(generates)
    stage.go()
    stage.work("act#1")
    stage.instance.close()
    assert trace == ["finally"]
    assert play(generates).end.output == "30"  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]


class Big:
    pass


def test_a_dropped_instance_leaves_nothing_in_memory() -> None:
    seen: list[weakref.ref[Any]] = []

    def holds() -> None:
        big = Big()
        seen.append(weakref.ref(big))
        wait(asyncio.gather(sleep(60), act(1)))

    @Workflow
    def holding() -> None:
        wait(asyncio.gather(branch(holds), go_on.wait()))

    gc.collect()
    gc.disable()
    try:
        stage = Stage(holding)
        stage.go()
        seen.append(weakref.ref(stage.instance._loop))
        stage.instance.close()
        del stage
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("failing", [False, True])
def test_a_run_that_ended_leaves_nothing_in_memory(failing: bool) -> None:
    seen: list[weakref.ref[Any]] = []

    @Workflow
    def ending() -> int:
        big = Big()
        seen.append(weakref.ref(big))
        seen.append(weakref.ref(asyncio.get_running_loop()))
        try:
            wait(act(13))
        except OutOfStock:
            if failing:
                raise
        return 5

    gc.collect()
    gc.disable()
    try:
        stage = Stage(ending)
        stage.go()
        stage.work("act#1")
        assert stage.result.ending is (Ending.FAILED if failing else Ending.SUCCEEDED)
        stage.instance.close()
        del stage
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


# ---- what it costs, and what it may do


def test_a_thousand_that_wait_are_no_thread() -> None:
    @Workflow
    def rests(n: int) -> int:
        wait(sleep(MINUTE))
        return wait(act(n + 100))

    before = threading.active_count()
    stages = [Stage(rests, i) for i in range(1000)]
    for stage in stages:
        stage.go()
    assert threading.active_count() == before
    for stage in reversed(stages):
        stage.fire("timer#1")
        stage.work("act#1")
        assert stage.result.ending is Ending.SUCCEEDED


def test_what_blocks_is_refused_as_ever() -> None:
    @Workflow
    def blocks(how: str) -> None:
        match how:
            case "sleep":
                time.sleep(1)
            case "open":
                Path("/etc/hostname").read_text(encoding="utf-8")
            case _:
                threading.Thread(target=print).start()

    for how in ("sleep", "open", "thread"):
        stage = Stage(blocks, how)
        stage.go()
        assert stage.result.failure is not None, how
        assert "workflow code cannot use it" in stage.result.failure.message


def test_the_words_of_workflow_code_work() -> None:
    @Workflow
    def words() -> str:
        scratch.set("here")
        wait(act(1))
        current = asyncio.current_task()
        assert current is not None
        return f"{run_info().name} {current.get_name()} {scratch.get()}"

    stage = Stage(words)
    stage.go()
    stage.work("act#1")
    assert stage.result.output == '"words words here"'
    assert scratch.get() == ""


def test_a_deep_stack_waits_at_its_bottom() -> None:
    def deep(n: int) -> int:
        return deep(n - 1) + 1 if n else wait(act(1))

    @Workflow
    def dives() -> int:
        return min([deep(200), deep(100)], key=lambda n: wait(act(n)))

    assert play(dives).end.output == "110"  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]


# ---- what is wrong


def test_wait_outside_of_such_a_workflow_is_refused() -> None:
    for call in (
        lambda: wait(act(1)),
        lambda: next(wait_each(numbers(1))),
        lambda: wait_within(Resource()).__enter__(),
    ):
        with pytest.raises(RuntimeError, match="works in workflow code only, in a workflow that is not async"):
            call()
    with pytest.raises(RuntimeError, match=r"branch\(\) works in workflow code only"):
        _ = branch(nested)


def test_wait_in_an_async_workflow_is_refused() -> None:
    @Workflow
    async def mistaken() -> int:
        return wait(act(1))

    stage = Stage(mistaken)
    stage.go()
    assert stage.result.failure is not None
    assert "in one that is, use await" in stage.result.failure.message


def test_an_async_workflow_may_have_branches_that_are_not() -> None:
    @Workflow
    async def mixed() -> Any:
        return await asyncio.gather(branch(steps_sync, 1), act(2))

    assert play(mixed).end.output == "[[0,0],20]"  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]


def test_what_cannot_be_awaited_is_refused_where_it_was_waited_for() -> None:
    @Workflow
    def mistaken() -> str:
        nothing: Any = 5
        try:
            wait(nothing)
        except TypeError as error:
            return str(error)
        return "accepted"

    stage = Stage(mistaken)
    stage.go()
    assert stage.result.output == '"wait() takes what could be awaited, such as the call of an activity, not 5"'


def test_without_greenlet_it_is_refused_when_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    monkeypatch.delitem(sys.modules, "holdfast.workflow.strand")
    app = App()

    def plain() -> None: ...

    with pytest.raises(DefinitionError, match=r"workflow 'plain' is not async, .*pip install 'holdfast\[sync\]'"):
        app.workflow(plain)
    with pytest.raises(RuntimeError, match="works in workflow code only"):
        wait(act(1))

    @app.workflow
    async def as_ever() -> None: ...
