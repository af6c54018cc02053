"""A shop with a till, for programs that are not async."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from holdfast import App, Signal, report_progress, sleep

app = App()
pay = Signal[int]("pay")


class Declined(Exception):
    """The bank said no."""


@app.activity
def double(number: int) -> int:
    return number * 2


@app.activity
async def decline(number: int) -> int:
    raise Declined(number)


@app.activity
async def counts(to: int) -> int:
    for n in range(1, to + 1):
        report_progress(n / to, f"{n} of {to}")
        await asyncio.sleep(0.6)
    return to


@app.workflow
async def quadruple(number: int) -> int:
    return await double(await double(number))


@app.workflow
async def wait_for_payment(number: int) -> int:
    return number + await pay.wait()


@app.workflow
async def declined(number: int) -> int:
    return await decline.options(timeout=timedelta(seconds=5))(number)


@app.workflow
async def rest() -> None:
    await sleep(timedelta(days=1))
