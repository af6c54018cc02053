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


assert_type(charge(Order(1), currency="USD"), Coroutine[Any, Any, str])
assert_type(mail("ada"), Coroutine[Any, Any, bool])
assert_type(mail.options(key="x")("ada"), Coroutine[Any, Any, bool])
assert_type(shop(Order(1)), Coroutine[Any, Any, str])
assert_type(count, Signal[int])

charge("1")  # type: ignore[arg-type, unused-coroutine] # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
mail()  # type: ignore[call-arg, unused-coroutine] # pyright: ignore[reportCallIssue, reportUnusedCoroutine]
shop(Order(1), 5)  # type: ignore[arg-type, unused-coroutine] # pyright: ignore[reportArgumentType, reportUnusedCoroutine]


@Workflow  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
def plain() -> int:
    return 1


async def wrong() -> None:
    number: int = await charge(Order(1))  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    text: str = await count.wait()  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    del number, text
