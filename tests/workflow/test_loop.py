"""The loop: what asyncio may expect of it, and what it refuses."""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.failure import Failure
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.instance import StartTimer
from holdfast.workflow.instant import deadline_at, seconds_of
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import BEGAN, Stage

MICROSECOND = timedelta(microseconds=1)


@Activity
async def act() -> None: ...


def run(fn: Callable[[], Any]) -> Stage:
    stage = Stage(Workflow(fn))
    stage.go()
    return stage


def failure_of(fn: Callable[[], Any]) -> Failure:
    failure = run(fn).result.failure
    assert failure is not None
    return failure


def test_the_loop_knows_the_time_of_the_run() -> None:
    async def times() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        await asyncio.sleep(90)
        return [*seen, loop.time()]

    stage = run(times)
    assert stage.instance.next_timer == BEGAN + timedelta(seconds=90)
    stage.fire("timer#1")
    began = BEGAN.timestamp()
    assert stage.result.output == f"[{began},{began + 90}]"


def test_time_does_not_go_back() -> None:
    async def times() -> bool:
        await act()
        before = now()
        await act()
        return now() >= before

    stage = run(times)
    stage.work("act#1")
    stage.clock -= timedelta(hours=1)
    stage.work("act#2")
    assert stage.result.output == "true"


def test_what_is_due_already_is_no_durable_timer() -> None:
    async def hurries() -> str:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(order.append, "soon")
        loop.call_at(0, order.append, "at")
        loop.call_later(-3, order.append, "later")
        loop.call_later(0, order.append, "cancelled").cancel()
        await asyncio.sleep(0)
        await sleep(0)
        await sleep(timedelta(-1))
        await sleep_until(now())
        return " ".join(order)

    assert run(hurries).result.output == '"soon at later"'


def test_a_cancelled_timer_is_withdrawn() -> None:
    async def regrets() -> None:
        handle = asyncio.get_running_loop().call_later(60, print)
        await act()
        assert not handle.cancelled()
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
        await act()

    stage = run(regrets)
    assert stage.open_keys == ["timer#1", "act#1"]
    stage.work("act#1")
    assert stage.withdrawn == ["timer#1"]
    assert stage.instance.next_timer is None
    stage.instance.close()


def test_timers_of_one_deadline_fire_in_the_order_in_which_they_were_set() -> None:
    async def several() -> str:
        order: list[str] = []

        async def wait(name: str) -> None:
            await sleep(60)
            order.append(name)

        await asyncio.gather(wait("a"), wait("b"), wait("c"))
        return "".join(order)

    stage = run(several)
    assert [c.deadline for c in stage.open if isinstance(c, StartTimer)] == [BEGAN + timedelta(minutes=1)] * 3
    for i in (1, 2, 3):
        stage.fire(f"timer#{i}")
    assert stage.result.output == '"abc"'


def test_a_deadline_in_another_zone_is_the_same_moment() -> None:
    async def until_noon() -> None:
        await sleep_until(datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Vienna")))

    stage = run(until_noon)
    deadline = stage.instance.next_timer
    assert deadline is not None
    assert (deadline, deadline.tzinfo) == (datetime(2026, 7, 1, 10, tzinfo=UTC), UTC)
    stage.instance.close()


@pytest.mark.parametrize("duration", [math.inf, 1e300, timedelta.max])
def test_for_ever_is_the_end_of_the_calendar(duration: Any) -> None:
    async def for_ever() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleep(duration))
            if not isinstance(duration, timedelta):
                group.create_task(asyncio.sleep(duration))

    stage = run(for_ever)
    assert {c.deadline for c in stage.open if isinstance(c, StartTimer)} == {datetime.max.replace(tzinfo=UTC)}
    stage.instance.close()


def test_durations_that_are_none_are_refused() -> None:
    async def not_a_number() -> None:
        await sleep(math.nan)

    async def no_zone() -> None:
        await sleep_until(datetime(2026, 1, 1))  # noqa: DTZ001

    assert failure_of(not_a_number).type == "builtins:ValueError"
    assert "time zone" in failure_of(no_zone).message


@given(
    at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    delay=st.floats(0, 1e8, exclude_min=True),
)
def test_a_loop_that_waits_for_a_deadline_gets_there(at: datetime, delay: float) -> None:
    when = seconds_of(at) + delay
    deadline = deadline_at(when, at)
    assert deadline > at
    assert seconds_of(deadline) >= when
    assert deadline - MICROSECOND - at <= timedelta(seconds=delay) + MICROSECOND


@given(at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_deadline_on_a_microsecond_is_kept(at: datetime) -> None:
    assert deadline_at(seconds_of(at), at - timedelta(days=1)) == at


def test_callbacks_run_in_their_order_and_context() -> None:
    name: ContextVar[str] = ContextVar("name", default="none")

    async def contexts() -> list[str]:
        seen: list[str] = []

        async def child() -> None:
            seen.append(name.get())
            name.set("child")
            await act()
            seen.append(name.get())

        name.set("main")
        await asyncio.gather(child(), child())
        return [*seen, name.get()]

    name.set("worker")
    stage = run(contexts)
    stage.work("act#2")
    stage.work("act#1")
    assert stage.result.output == '["main","main","child","child","main"]'


def test_the_worker_s_context_is_not_seen() -> None:
    name: ContextVar[str] = ContextVar("name", default="none")
    name.set("worker")

    async def looks() -> str:
        return name.get()

    assert run(looks).result.output == '"none"'


def test_tasks_are_named_alike_on_every_replay() -> None:
    async def names() -> list[str]:
        tasks = [asyncio.create_task(act()), asyncio.create_task(act(), name="mine")]
        me = asyncio.current_task()
        assert me is not None
        return [me.get_name(), *[task.get_name() for task in tasks]]

    assert run(names).result.output == '["names","Task-2","mine"]'


def test_a_failing_callback_is_logged_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def goes_on() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await act()

    stage = run(goes_on)
    assert "ZeroDivisionError" in caplog.text
    assert str(stage.info.run_id) in caplog.text
    caplog.clear()
    stage.work("act#1")
    stage.move()
    assert caplog.text == ""


# ---- what is refused ----

FORBIDDEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "to_thread": (lambda loop: asyncio.to_thread(print), "one that is not async runs in a thread"),
    "run_in_executor": (lambda loop: loop.run_in_executor(None, print), "one that is not async runs in a thread"),
    "open_connection": (lambda loop: asyncio.open_connection("localhost", 1), "do it in an activity"),
    "start_server": (lambda loop: asyncio.start_server(print, port=0), "do it in an activity"),
    "subprocess": (lambda loop: asyncio.create_subprocess_exec("true"), "do it in an activity"),
    "shell": (lambda loop: asyncio.create_subprocess_shell("true"), "do it in an activity"),
    "getaddrinfo": (lambda loop: loop.getaddrinfo("localhost", 1), "do it in an activity"),
    "sock_recv": (lambda loop: loop.sock_recv(None, 1), "do it in an activity"),
    "add_reader": (lambda loop: loop.add_reader(1, print), "do it in an activity"),
    "add_signal_handler": (lambda loop: loop.add_signal_handler(2, print), "wait for a Signal of the run"),
    "call_soon_threadsafe": (lambda loop: loop.call_soon_threadsafe(print), "send the run a signal"),
    "run_forever": (lambda loop: loop.run_forever(), "driven by its worker"),
    "stop": (lambda loop: loop.stop(), "return from the workflow"),
    "set_task_factory": (lambda loop: loop.set_task_factory(None), "made by its own loop"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_reaches_beyond_the_run_is_refused(what: str) -> None:
    call, instead = FORBIDDEN[what]

    async def reaches() -> None:
        await call(asyncio.get_running_loop())

    failure = failure_of(reaches)
    assert failure.type == "holdfast.core.errors:ForbiddenInWorkflow"
    assert instead in failure.message


def test_everything_that_a_loop_can_do_is_done_or_refused() -> None:
    from holdfast.workflow.loop import WorkflowLoop

    expected = {name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_")}
    inherited = {name for name in expected if getattr(WorkflowLoop, name) is getattr(asyncio.AbstractEventLoop, name)}
    assert inherited == set()


def test_a_future_of_another_loop_is_refused_in_words() -> None:
    other = asyncio.new_event_loop()
    try:
        future = other.create_future()

        async def awaits() -> None:
            await future

        failure = failure_of(awaits)
        assert failure.type == "holdfast.core.errors:ForbiddenInWorkflow"
        assert "belongs to another event loop" in failure.message
        assert "use them in an activity" in failure.message
    finally:
        other.close()


def test_a_lock_that_two_runs_share_is_refused_in_words() -> None:
    lock = asyncio.Lock()

    async def locks() -> None:
        async with lock:
            await act()

    async def waits() -> None:
        task = asyncio.create_task(locks())
        await asyncio.sleep(0)
        await locks()
        await task

    first = run(waits)
    assert "belongs to another event loop" in failure_of(waits).message
    first.instance.close()


# ---- async generators ----


def test_a_generator_that_is_left_is_closed_by_the_run_and_never_by_the_worker() -> None:
    closed: list[str] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await act()
            closed.append("closed")

    async def leaves() -> None:
        async for _ in generate():
            break
        await sleep(60)

    stage = run(leaves)
    assert stage.open_keys == ["timer#1", "act#1"]
    stage.work("act#1")
    assert closed == ["closed"]
    stage.fire("timer#1")

    stage = run(leaves)
    closed.clear()
    stage.instance.close()
    assert closed == []


def test_a_generator_in_the_hands_of_a_dropped_run_is_left_alone() -> None:
    """The worker's own loop would close it by a task of its own, where an activity is executed for real."""
    executed: list[str] = []

    @Activity
    async def expensive() -> None:
        executed.append("!")

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await expensive()

    async def holds() -> None:
        generator = generate()
        await anext(generator)
        await sleep(60)
        await anext(generator)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def drive() -> None:
            run(holds).instance.close()
            done.set_result(None)

        loop.call_soon(drive)
        await done
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert executed == []


# ---- loops around it ----


def _loops() -> list[Any]:
    loops: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        return loops
    return [*loops, pytest.param(uvloop.new_event_loop, id="uvloop")]


@pytest.mark.parametrize("new_loop", _loops())
def test_runs_are_driven_inside_of_another_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def child(name: str) -> str:
        assert type(asyncio.get_running_loop()).__name__ == "WorkflowLoop"
        task = asyncio.current_task()
        assert task is not None
        await act()
        assert asyncio.current_task() is task
        await asyncio.sleep(1)
        return name

    async def parent() -> str:
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(name)) for name in "abc"]
        return "".join([task.result() for task in tasks])

    async def main() -> list[str | None]:
        outer = asyncio.get_running_loop()
        results: list[str | None] = []
        ended = outer.create_future()
        stages = [Stage(Workflow(parent)) for _ in range(10)]

        def step(stage: Stage) -> None:
            assert asyncio.get_running_loop() is outer
            if stage.last.end is None and not stage.asked:
                stage.go()
            elif keys := [key for key in stage.open_keys if key != "timer#1"]:
                stage.fire(keys[-1]) if keys[-1].startswith("timer") else stage.work(keys[-1])
            assert asyncio.get_running_loop() is outer
            if stage.last.end is None:
                outer.call_soon(step, stage)
            else:
                results.append(stage.last.end.output)
                if len(results) == len(stages):
                    ended.set_result(None)

        for stage in stages:
            outer.call_soon(step, stage)
        await ended
        # The outer loop is as it was.
        await asyncio.wait_for(asyncio.to_thread(socket.gethostname), timeout=10)
        return results

    loop = new_loop()
    try:
        hooks = sys.get_asyncgen_hooks()
        assert loop.run_until_complete(main()) == ['"abc"'] * 10
        assert sys.get_asyncgen_hooks() == hooks
    finally:
        loop.close()
