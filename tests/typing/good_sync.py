"""Workflows that are not async: each type is the one written here."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import assert_type

from holdfast import App, RunHandle, Signal, branch, sleep, wait, wait_each, wait_within

app = App()
approve = Signal[bool]("approve")


@app.activity
async def charge(order: int, *, tip: int = 0) -> str:
    return f"{order} {tip}"


@app.activity
def weigh(order: int) -> float:
    return order * 1.5


@app.workflow
def buy(order: int) -> str:
    receipt = wait(charge(order, tip=2))
    assert_type(receipt, str)
    assert_type(wait(approve.wait(timeout=timedelta(days=3))), bool)
    wait(sleep(timedelta(days=11)))
    first, second = wait(asyncio.gather(charge(1), weigh(2)))
    assert_type(first, str)
    assert_type(second, float)
    assert_type(wait(asyncio.gather(*(weigh(n) for n in range(3)))), list[float])
    assert_type(wait(branch(deliver, order, quickly=True)), int)
    with wait_within(asyncio.timeout(60)) as limit:
        assert_type(limit, asyncio.Timeout)
    return receipt


def deliver(order: int, quickly: bool) -> int:
    return int(wait(weigh(order)))


@app.workflow(name="lists")
def lists(orders: list[int]) -> list[float]:
    return [wait(weigh(order)) for order in orders]


async def main() -> None:
    async with app.client() as client:
        run = await client.start(buy, 5)
        assert_type(run, RunHandle[str])
        assert_type(await run.result(), str)
        assert_type(await (await client.start(lists.call([1]))).result(), list[float])


async def numbers() -> None:
    stream = aiter_of()
    for number in wait_each(stream):
        assert_type(number, int)


class aiter_of:  # noqa: N801
    def __aiter__(self) -> aiter_of:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration
