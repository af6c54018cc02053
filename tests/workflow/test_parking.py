"""W4: a run that is parked is dropped, and its code does not notice: no exception of ours travels through it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import Any

import pytest

from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.log import logger
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import BEGAN, Stage

go_on = Signal[int]("go-on")

trace: list[str] = []
"""What the code of these workflows does, in every instance of it."""

scratch: ContextVar[str] = ContextVar("scratch")


@pytest.fixture(autouse=True)
def _clean() -> None:
    trace.clear()


@Activity
async def act(value: int) -> int:
    return value


@Activity
def act_in_a_thread(value: int) -> int:
    return value


class Resource:
    """Writes down how it is left, and tries to do something about it."""

    async def __aenter__(self) -> None:
        trace.append("enter")
        await act(1)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        trace.append(f"exit {kind.__name__ if kind else None}")
        await act(2)
        trace.append("exited")


@asynccontextmanager
async def resource() -> AsyncGenerator[None]:
    await act(1)
    try:
        yield
    except Exception:
        trace.append("except in context")
        raise
    finally:
        trace.append("finally in context")
        await act(2)
        trace.append("left context")


async def _gathered() -> None:
    await asyncio.gather(act(1), _nested(), sleep(5))


async def _grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_nested())
        group.create_task(_nested())


async def _nested() -> None:
    try:
        await act(1)
    except Exception:
        trace.append("except in nested")
    finally:
        trace.append("finally in nested")
        await act(2)
        trace.append("finished nested")


async def _generated() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield await act(1)
            yield await act(2)
        except Exception:
            trace.append("except in generator")
        finally:
            trace.append("finally in generator")
            await act(3)

    async for _ in numbers():
        await act(4)


OPERATIONS: dict[str, Callable[[], Awaitable[Any]]] = {
    "activity": lambda: act(1),
    "sync activity": lambda: act_in_a_thread(1),
    "sleep": lambda: sleep(timedelta(days=11)),
    "sleep_until": lambda: sleep_until(now() + timedelta(days=1)),
    "asyncio.sleep": lambda: asyncio.sleep(60),
    "signal": go_on.wait,
    "signal with a limit": lambda: go_on.wait(timeout=timedelta(days=30)),
    "wait_for": lambda: asyncio.wait_for(act(1), timeout=60),
    "coroutine": _nested,
    "gather": _gathered,
    "group": _grouped,
    "task": lambda: asyncio.create_task(_nested()),
    "shield": lambda: asyncio.shield(act(1)),
    "async generator": _generated,
    "wait": lambda: asyncio.wait({asyncio.create_task(_nested()), asyncio.create_task(sleep(5))}),
}


@Workflow
async def surrounded(operation: str) -> str:
    token = scratch.set("set")
    try:
        async with Resource(), resource():
            try:
                trace.append("try")
                await OPERATIONS[operation]()
            except Exception as error:
                trace.append(f"except {error!r}")
                await act(3)
            except BaseException as error:
                trace.append(f"base {type(error).__name__}")
                raise
            else:
                trace.append("else")
                await act(4)
            finally:
                trace.append("finally")
                logger.error("in finally")
                await asyncio.sleep(5)
                await asyncio.gather(act(5), _nested(), return_exceptions=True)
                async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                    group.create_task(act(6))
                trace.append("after finally")
    finally:
        scratch.reset(token)  # only in the context in which it was set
        trace.append("end")
    return "done"


ONLY_WHEN_LIVE = ("except", "else", "exited", "left context", "finished nested", "after finally")


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
            last = _anything(stage)
        if last.end is not None:
            assert last.end.ending is Ending.SUCCEEDED
            assert entries > 8
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


def _anything(stage: Stage) -> Any:
    if not stage.open_keys or (stage.instance.waits_for_signal and len(stage.open_keys) < 2):
        return stage.send(go_on, 1)
    # Timers last: those in here are limits, mostly.
    key = min(stage.open_keys, key=lambda key: (key.startswith("timer"), len(key), key))
    if key.startswith("timer"):
        return stage.fire(key)
    return stage.work(key)


def test_finally_blocks_run_when_an_instance_is_dropped() -> None:
    stage = Stage(surrounded, "sleep")
    stage.go()
    stage.work("act#1")
    stage.work("act#2")
    trace.clear()
    stage.instance.close()
    assert trace == ["base Dropped", "finally", "finally in context", "exit Dropped", "end"]


def test_close_twice_is_close_once() -> None:
    stage = Stage(surrounded, "sleep")
    stage.go()
    stage.instance.close()
    before = list(trace)
    stage.instance.close()
    assert trace == before


def test_an_instance_that_never_ran_can_be_closed() -> None:
    Stage(surrounded, "sleep").instance.close()
    assert trace == []


def test_coroutines_that_were_not_awaited_yet_go_silently() -> None:
    @Workflow
    async def prepares() -> None:
        later = [act(1), _nested(), sleep(4), go_on.wait()]
        await sleep(60)
        await asyncio.gather(*later)

    stage = Stage(prepares)
    stage.go()
    stage.instance.close()
    gc.collect()


def test_a_coroutine_that_is_never_awaited_is_still_told_while_the_run_is_at_work() -> None:
    @Workflow
    async def forgets_to_await() -> None:
        act(1)  # type: ignore[unused-coroutine]

    with pytest.warns(RuntimeWarning, match="coroutine 'act' was never awaited"):
        Stage(forgets_to_await).go()


def test_code_that_insists_on_waiting_is_thrown_out() -> None:
    @Workflow
    async def insists() -> None:
        for i in range(50):
            try:
                await act(i)
            except BaseException:
                trace.append(f"insists {i}")

    stage = Stage(insists)
    stage.go()
    stage.instance.close()
    assert len(trace) == 50
    assert stage.asked == stage.asked[:1]


def test_code_that_raises_on_its_way_out_is_ignored() -> None:
    @Workflow
    async def raises() -> None:
        try:
            await act(1)
        finally:
            raise SystemExit(3)

    stage = Stage(raises)
    stage.go()
    stage.instance.close()


def test_a_dropped_instance_leaves_nothing_in_memory() -> None:
    class Big:
        pass

    seen: list[weakref.ref[Any]] = []

    async def holds() -> None:
        big = Big()
        seen.append(weakref.ref(big))
        await asyncio.gather(sleep(60), act(1))

    @Workflow
    async def holding() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(holds())
            group.create_task(go_on.wait())

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

    async def fail() -> None:
        raise ValueError(now())

    @Workflow
    async def ending() -> int:
        seen.append(weakref.ref(asyncio.get_running_loop()))
        try:
            await go_on.wait(timeout=timedelta(seconds=1))
        except TimeoutError:
            if failing:
                await asyncio.gather(fail(), act(5))
            return await act(1)
        return 0

    gc.collect()
    gc.disable()
    try:
        stage = Stage(ending)
        stage.go()
        stage.fire("timer#1")
        if not failing:
            stage.work("act#1")
        assert (stage.result.output == "1") is not failing
        del stage
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()


def test_the_time_of_a_park_is_no_time_of_the_run() -> None:
    @Workflow
    async def times() -> list[str]:
        seen = [now().isoformat()]
        await sleep(timedelta(days=11))
        return [*seen, now().isoformat()]

    stage = Stage(times)
    (timer,) = stage.go().commands
    stage.clock += timedelta(days=2)
    (moved,) = stage.move().commands
    assert moved == timer
    stage.clock += timedelta(days=20)
    stage.fire("timer#1")
    late = BEGAN + timedelta(days=22)
    assert stage.result.output == f'["{BEGAN.isoformat()}","{late.isoformat()}"]'


def test_code_that_never_gives_up_is_kept_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    @Workflow
    async def never_gives_up() -> None:
        while True:
            try:
                await act(1)
            except BaseException:  # noqa: S112
                continue

    stage = Stage(never_gives_up)
    stage.go()
    stage.instance.close()
    assert "catches BaseException and goes on" in caplog.text
