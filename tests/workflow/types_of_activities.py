"""What the type checkers make of activities, workflows and signals. Read by them, never executed.

Each ``ignore`` below is an error that must be one: both checkers complain about an ``ignore`` that ignores nothing.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from holdfast.workflow.activity import Activity
from holdfast.workflow.clock import sleep
from holdfast.workflow.signal import Signal
from holdfast.workflow.workflow import Workflow


@dataclass
class Order:
    number: int


@Activity
async def charge(order: Order, *, currency: str = "EUR") -> str:
    return f"{order.number} {currency}"


@Activity
def mail(to: str) -> bool:
    return bool(to)


count = Signal[int]("count")


@Workflow
async def shop(order: Order, patience: timedelta | None = None) -> str:
    paid, sent = await asyncio.gather(charge(order), mail("ada"))
    assert_type(paid, str)
    assert_type(sent, bool)
    await sleep(timedelta(days=1))
    assert_type(await count.wait(timeout=patience), int)
    return paid


coroutines: tuple[Coroutine[Any, Any, str], Coroutine[Any, Any, bool], Coroutine[Any, Any, str]] = (
    charge(Order(1), currency="USD"),
    mail.options(key="x")("ada"),
    shop(Order(1)),
)
assert_type(count, Signal[int])


async def in_tasks() -> None:
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(charge(Order(1))), asyncio.Task[str])
    assert_type(await asyncio.wait_for(mail("ada"), timeout=5), bool)
    assert_type(await asyncio.gather(*[charge(Order(n)) for n in range(3)]), list[str])
    assert_type(await charge.fn(Order(1)), Any)


@Workflow
def plain() -> int:
    return 1


async def wrong() -> None:
    await charge("1")  # type: ignore[arg-type]
    await mail()  # type: ignore[call-arg]
    await shop(Order(1), 5)  # type: ignore[arg-type]
    number: int = await charge(Order(1))  # type: ignore[assignment]
    text: str = await count.wait()  # type: ignore[assignment]
    del number, text
