"""Parents and children, for workers in this process and in others; activities write down each call."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Literal

from holdfast import (
    App,
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    ForbiddenInWorkflow,
    InvalidInput,
    Retry,
    RunEnded,
    Signal,
    activity_info,
    continue_as_new,
    run_info,
    sleep,
    start_child,
)
from tests.apps.ledger import note

app = App()

go = Signal[int]("go")
"""What children wait for, and parents that outlive them."""


class OutOfStock(Exception):
    """The user's own."""


@app.activity
async def pack(order: int) -> str:
    return f"parcel {order}"


@app.activity(retry=Retry(max_attempts=1))
async def called(word: str) -> None:
    """Writes down that it was called: by which run, under which key, with what."""
    info = activity_info()
    note(info.run_id, info.key, word)


@app.workflow
async def ship(order: int) -> str:
    if order < 0:
        raise OutOfStock(order)
    return await pack(order)


@app.workflow
async def waits() -> int:
    """Waits for a signal; when it is cancelled, it says so and ends."""
    try:
        return await go.wait()
    except asyncio.CancelledError:
        await pack(0)
        raise


@app.workflow
async def stubborn() -> str:
    """Does not end when it is cancelled."""
    try:
        await go.wait()
    except asyncio.CancelledError:
        return "stayed"
    return "unasked"


@app.workflow
async def one(order: int) -> str:
    return await ship(order)


@app.workflow
async def many(count: int) -> list[str]:
    return await asyncio.gather(*(ship(order) for order in range(count)))


@app.workflow
async def group(count: int) -> list[str]:
    async with asyncio.TaskGroup() as children:
        tasks = [children.create_task(ship(order)) for order in range(count)]
    return [task.result() for task in tasks]


@app.workflow
async def catches(order: int) -> list[str]:
    try:
        return [await ship(order)]
    except OutOfStock as error:
        return [type(error).__name__, str(error)]


@app.workflow
async def lets_it_wait(seconds: float) -> str:
    """A child that is given so much time, from outside of it."""
    try:
        async with asyncio.timeout(seconds):
            return f"got {await waits()}"
    except TimeoutError:
        return "too late"


@app.workflow
async def limits_it(lane: str) -> list[str]:
    try:
        await waits.options(timeout=timedelta(milliseconds=200), lane=lane)()
    except ChildTimedOut as error:
        return [type(error).__name__, error.workflow]
    return []


@app.workflow
async def cancels_it() -> list[str]:
    handle = await start_child(waits)
    await handle.cancel()
    try:
        await handle.result()
    except ChildFailed as error:
        return [type(error).__name__, error.workflow]
    return []


@app.workflow
async def signals_it(numbers: int) -> list[int]:
    """A child that hears so many signals, each sent once; then one too many."""
    handle = await start_child(hears, numbers)
    for number in range(numbers):
        await handle.signal(go, number)
    heard = await handle.result()
    try:
        await handle.signal(go, 0)
    except RunEnded as error:
        return [*heard, len(str(error.run_id))]
    return heard


@app.workflow
async def hears(numbers: int) -> list[int]:
    return [await go.wait() for _ in range(numbers)]


@app.workflow
async def hears_of_it() -> str:
    """A child that somebody else cancels."""
    try:
        await waits()
    except ChildCancelled as error:
        return str(error)
    return "nothing"


@app.workflow
async def leaves(policy: Literal["cancel", "abandon", "wait"], how: str) -> str:
    """Ends before its child."""
    handle = await start_child(waits, on_parent_close=policy)
    if how == "fails":
        raise OutOfStock(str(handle.run_id))
    if how == "waits":
        await sleep(timedelta(days=1))
    return str(handle.run_id)


@app.workflow
async def tree(depth: int, width: int) -> int:
    """So many levels, each run with so many children; every run of it is counted."""
    if depth == 0:
        await called(f"leaf of {run_info().parent}")
        return 1
    below = await asyncio.gather(*(tree(depth - 1, width) for _ in range(width)))
    await called("knot")
    return 1 + sum(below)


@app.workflow
async def counts(number: int, end: int) -> int:
    """Goes on as a new run at each number."""
    if number < end:
        await pack(number)
        counts.continue_as_new(number + 1, end)
    return number


@app.workflow
async def counts_child(end: int) -> str:
    handle = await start_child(counts, 0, end)
    return f"{await handle.result()} of {handle.run_id}"


@app.workflow
async def gathers(heard: list[int], rounds: int) -> list[int]:
    """Hears one signal in each run, and goes on as a new one."""
    if len(heard) < rounds:
        continue_as_new([*heard, await go.wait()], rounds)
    return heard


@app.workflow
async def continues_badly(how: str) -> str:
    if how == "with a wrong argument":
        try:
            continue_as_new(how, "more")
        except InvalidInput as error:
            return str(error)
    if how == "in another task":

        async def other() -> None:
            continue_as_new("")

        try:
            await asyncio.create_task(other())
        except ForbiddenInWorkflow as error:
            return str(error)
    if how == "as another one":
        try:
            counts.continue_as_new(0, 1)
        except ForbiddenInWorkflow as error:
            return str(error)
    return "nothing"


@app.workflow
async def continues_with_children(left: int) -> str:
    """Leaves children behind, by all three policies, once."""
    if left:
        await start_child(waits, on_parent_close="cancel")
        await start_child(waits, on_parent_close="abandon")
        await start_child(waits, on_parent_close="wait")
        continue_as_new(0)
    return "done"


@app.workflow
async def continues_with_a_child(rounds: int) -> int:
    """Leaves a child behind that it ends after, once; then it waits for a signal of its own."""
    if rounds == 0:
        await start_child(waits, on_parent_close="wait")
        continue_as_new(1)
    return await go.wait()
