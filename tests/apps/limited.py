"""An app whose runs have limits, for worker processes that are killed while they hold permits."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from holdfast import App, Limit, Retry, Signal
from tests.apps.ledger import note

app = App()
go = Signal[None]("go")

GATE = "HOLDFAST_TEST_GATE"
"""The environment variable that names a file: while it is not there, jobs wait."""


@app.activity(
    concurrency=[Limit(4), Limit(2, per="customer")], retry=Retry(max_attempts=5, initial=timedelta(milliseconds=10))
)
async def serve(customer: str, number: int) -> int:
    note("serve", customer, number, os.getpid())
    while not Path(os.environ[GATE]).exists():
        await asyncio.sleep(0.01)
    return number


@app.activity(concurrency=Limit(600, name="wide"))
async def wide(number: int) -> int:
    note("wide", number, os.getpid())
    while not Path(os.environ[GATE]).exists():
        await asyncio.sleep(0.01)
    return number


@app.workflow(concurrency=2)
async def tour(number: int) -> int:
    await go.wait()
    return number


@app.workflow
async def visit(customer: str, count: int) -> int:
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(serve(customer, n)) for n in range(count)]
    return sum(call.result() for call in calls)
