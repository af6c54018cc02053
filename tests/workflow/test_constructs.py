"""W2: asyncio as it is, around durable operations; the same winner, and the same losers, on every replay."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.core.states import Ending
from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import now, sleep, sleep_until
from holdfast.workflow.instance import Activation, RunActivity
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow
from tests.workflow.stage import Stage, play

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

news = Signal[str]("news")


@Activity
async def fetch(name: str) -> str:
    return f"<{name}>"


@Activity
def store(values: list[str]) -> int:
    return len(values)


class OutOfStock(Exception):
    pass


@Activity
async def reserve(item: str) -> str:
    if item == "unicorn":
        raise OutOfStock(item)
    return item


async def _branch(name: str, steps: int = 3) -> str:
    result = name
    for step in range(steps):
        result = await fetch(f"{result}{step}")
        await sleep(step * 10)
    return result


async def _undoing(name: str) -> str:
    try:
        return await _branch(name)
    except asyncio.CancelledError:
        await fetch(f"undo {name}")
        raise


@Workflow
async def gathers(n: int) -> list[str]:
    results = await asyncio.gather(*[_branch(f"b{i}") for i in range(n)])
    await store(results)
    return results


@Workflow
async def gathers_some_failing() -> list[str]:
    items = ["chair", "unicorn", "table", "unicorn"]
    results = await asyncio.gather(*[reserve(item) for item in items], return_exceptions=True)
    return [type(result).__name__ if isinstance(result, OutOfStock) else str(result) for result in results]


@Workflow
async def gathers_until_the_first_failure() -> str:
    try:
        await asyncio.gather(_undoing("a"), reserve("unicorn"), _undoing("b"))
    except OutOfStock as error:
        await fetch("apologise")
        return f"no {error}"
    return "all"


@Workflow
async def groups() -> str:
    tasks: list[asyncio.Task[str]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(_undoing(f"t{i}")) for i in range(6)]
            await sleep(MINUTE)
            group.create_task(reserve("unicorn"))
    except* OutOfStock as failures:
        await store([str(error) for error in failures.exceptions])
    return ",".join("cancelled" if task.cancelled() else task.result() for task in tasks)


@Workflow
async def waits_for_the_first() -> str:
    tasks = [asyncio.create_task(_undoing(f"w{i}")) for i in range(8)]
    order: list[str] = []
    pending = set(tasks)
    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    order += [task.result() for task in done]
    # Both are sets: in which order the losers are cancelled, and undo what they did, must be replayed as well.
    for loser in pending:
        loser.cancel()
    if pending:
        await asyncio.wait(pending)
    for task in pending:
        await fetch(f"{task.cancelled()} {tasks.index(task)}")
    return ",".join(order)


@Workflow
async def waits_for_all() -> str:
    tasks = {asyncio.create_task(_branch(f"w{i}", steps=1)) for i in range(20)}
    done, _ = await asyncio.wait(tasks)
    return ",".join([await fetch(task.result()) for task in done])


@Workflow
async def takes_as_completed(n: int) -> list[str]:
    return [await result for result in asyncio.as_completed([_branch(f"c{i}", steps=i % 3) for i in range(n)])]


@Workflow
async def takes_tasks_as_completed(n: int) -> list[str]:
    tasks = {asyncio.create_task(fetch(f"t{i}")) for i in range(n)}
    results: list[str] = []
    try:
        for result in asyncio.as_completed(tasks, timeout=30):
            results.append(await result)
            await sleep(4)
    except TimeoutError:
        results.append("timeout")
    return results


@Workflow
async def limits_an_activity() -> str:
    try:
        async with asyncio.timeout(10):
            first = await fetch("a")
            second = await fetch("b")
            return first + second
    except TimeoutError:
        return await fetch("too late")


@Workflow
async def limits_a_timer() -> str:
    limit = asyncio.timeout(30)
    try:
        async with limit:
            await sleep(20)
            limit.reschedule(asyncio.get_running_loop().time() + 5)
            await sleep(20)
    except TimeoutError:
        return f"expired {limit.expired()} at {now().isoformat()}"
    return "slept"


@Workflow
async def limits_a_signal() -> list[str]:
    seen: list[str] = []
    for _ in range(4):
        try:
            async with asyncio.timeout(5):
                seen.append(await news.wait())
        except TimeoutError:
            seen.append(await fetch("nothing"))
    return seen


@Workflow
async def waits_for_with_a_limit() -> list[str]:
    seen: list[str] = []
    for name in ["a", "b", "c"]:
        try:
            seen.append(await asyncio.wait_for(_undoing(name), timeout=15))
        except TimeoutError:
            seen.append(f"no {name}")
    return seen


@Workflow
async def shields() -> str:
    inner = asyncio.create_task(_branch("s"))
    try:
        async with asyncio.timeout(5):
            return await asyncio.shield(inner)
    except TimeoutError:
        return f"late {await inner}"


@Workflow
async def passes_through_a_queue() -> list[str]:
    queue = asyncio.Queue[str | None](maxsize=2)
    taken: list[str] = []

    async def produce(name: str) -> None:
        for i in range(3):
            await queue.put(await fetch(f"{name}{i}"))

    async def consume() -> None:
        while (item := await queue.get()) is not None:
            taken.append(item)
            await store([item])

    consumer = asyncio.create_task(consume())
    await asyncio.gather(produce("p"), produce("q"))
    await queue.put(None)
    await consumer
    return taken


@Workflow
async def synchronises() -> list[str]:
    lock, ready, places = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    turn = asyncio.Condition()
    log: list[str] = []
    at_turn = 0

    async def work(number: int) -> None:
        nonlocal at_turn
        await ready.wait()
        async with places, lock:
            log.append(await fetch(str(number)))
        async with turn:
            await turn.wait_for(lambda: at_turn == number)
            log.append(await fetch(f"turn {number}"))
            at_turn += 1
            turn.notify_all()

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(number))
        await sleep(5)
        ready.set()
    return log


@Workflow
async def races_everything() -> str:
    async def first(*contenders: Awaitable[str]) -> str:
        tasks = [asyncio.ensure_future(one) for one in contenders]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return min(task.result() for task in done)
        finally:
            for task in tasks:
                task.cancel()

    async def alarm(seconds: float) -> str:
        await sleep(seconds)
        return f"alarm {seconds}"

    winners: list[str] = []
    for i in range(4):
        winners.append(await first(fetch(f"r{i}"), alarm(10 + i), news.wait(), _undoing(f"u{i}")))
        await sleep_until(now() + 3 * SECOND)
    return ",".join(winners)


@Workflow
async def iterates() -> list[str]:
    async def pages() -> AsyncIterator[str]:
        try:
            for i in range(10):
                yield await fetch(f"page {i}")
        finally:
            await fetch("close the book")

    read: list[str] = []
    async for page in pages():
        read.append(page)
        if len(read) == 3:
            break
    await sleep(1)
    return [*read, await fetch("end")]


CONSTRUCTS: list[tuple[Workflow[..., Any], tuple[object, ...]]] = [
    (gathers, (4,)),
    (gathers_some_failing, ()),
    (gathers_until_the_first_failure, ()),
    (groups, ()),
    (waits_for_the_first, ()),
    (waits_for_all, ()),
    (takes_as_completed, (12,)),
    (takes_tasks_as_completed, (6,)),
    (limits_an_activity, ()),
    (limits_a_timer, ()),
    (limits_a_signal, ()),
    (waits_for_with_a_limit, ()),
    (shields, ()),
    (passes_through_a_queue, ()),
    (synchronises, ()),
    (races_everything, ()),
    (iterates, ()),
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("workflow", "args"), CONSTRUCTS, ids=lambda value: getattr(value, "name", ""))
def test_a_construct_is_replayed_from_everywhere(
    workflow: Workflow[..., Any], args: tuple[object, ...], seed: int
) -> None:
    # Another run id each time, so that nothing rests on the order in which one run's tasks happen to hash.
    story = play(
        workflow,
        *args,
        seed=seed,
        signals=[(news, f"news {i}") for i in range(3)],
        run_id=UUID(int=random.Random(seed).getrandbits(128), version=4),
    )
    assert story.end is not None
    assert story.end.ending is Ending.SUCCEEDED, story.end.failure
    story.is_replayed_from_everywhere()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("workflow", "args"), CONSTRUCTS, ids=lambda value: getattr(value, "name", ""))
def test_a_construct_that_is_cancelled_is_replayed_from_everywhere(
    workflow: Workflow[..., Any], args: tuple[object, ...], seed: int
) -> None:
    story = play(workflow, *args, seed=seed, signals=[(news, "one")] * 3, cancels=2)
    story.is_replayed_from_everywhere()


def _commands(activation: Activation) -> dict[str, str]:
    return {command.key: command.input for command in activation.commands if isinstance(command, RunActivity)}


def test_the_loser_of_a_race_is_withdrawn() -> None:
    stage = Stage(races_everything)
    stage.go()
    assert stage.open_keys == ["fetch#1", "timer#1", "fetch#2"]
    stage.fire("timer#1")
    assert stage.withdrawn == ["fetch#1", "fetch#2"]
    assert _commands(stage.last) == {"fetch#3": '{"name":"undo u0"}'}


def test_an_activity_within_its_time_withdraws_the_timer() -> None:
    stage = Stage(limits_an_activity)
    stage.go()
    stage.work("fetch#1")
    stage.work("fetch#2")
    assert stage.result.output == '"<a><b>"'


def test_an_activity_beyond_its_time_is_withdrawn() -> None:
    stage = Stage(limits_an_activity)
    stage.go()
    stage.work("fetch#1")
    stage.fire("timer#1")
    assert stage.withdrawn == ["fetch#2"]
    stage.work("fetch#3")
    assert stage.result.output == '"<too late>"'


def test_an_outcome_that_comes_after_its_waiter_has_gone_has_no_effect() -> None:
    stage = Stage(limits_an_activity)
    stage.go()
    stage.work("fetch#1")
    stage.fire("timer#1")
    stage.finish("fetch#2", '"too late for this"')
    assert stage.last.end is None
    stage.work("fetch#3")
    assert stage.result.output == '"<too late>"'
    stage.move()
    assert stage.result.output == '"<too late>"'


def test_what_is_asked_and_given_up_at_once_is_never_told() -> None:
    @Workflow
    async def hesitates() -> str:
        task = asyncio.create_task(fetch("never"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return await fetch("this")

    stage = Stage(hesitates)
    activation = stage.go()
    assert [command.key for command in activation.commands] == ["fetch#2"]
    assert activation.withdrawn == ()


def test_as_completed_begins_in_the_order_given() -> None:
    activation = Stage(takes_as_completed, 40).go()
    assert list(_commands(activation).values()) == [f'{{"name":"c{i}0"}}' for i in range(40) if i % 3]


def test_as_completed_refuses_what_has_lost_its_order() -> None:
    @Workflow
    async def loses_the_order() -> list[str]:
        return [await result for result in asyncio.as_completed({fetch(str(i)) for i in range(3)})]

    failure = Stage(loses_the_order).go().end
    assert failure is not None
    assert failure.failure is not None
    assert "write as_completed([charge(order) for order in orders])" in failure.failure.message
    assert failure.failure.type == f"{ForbiddenInWorkflow.__module__}:ForbiddenInWorkflow"


def test_a_task_that_is_left_open_is_dropped_at_the_end() -> None:
    @Workflow
    async def leaves() -> str:
        asyncio.create_task(_undoing("left"))  # noqa: RUF006 - the workflow's loop keeps its tasks
        return await fetch("done")

    stage = Stage(leaves)
    stage.go()
    assert stage.open_keys == ["fetch#1", "fetch#2"]
    stage.work("fetch#1")
    assert stage.result.output == '"<done>"'


def test_a_task_without_a_reference_is_kept() -> None:
    import gc

    @Workflow
    async def forgets() -> None:
        asyncio.create_task(_branch("forgotten"))  # noqa: RUF006
        await sleep(MINUTE)

    stage = Stage(forgets)
    stage.go()
    gc.collect()
    stage.work("fetch#1")
    stage.work("fetch#2")
    assert "timer#2" in stage.open_keys
    stage.instance.close()
