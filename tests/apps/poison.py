"""An app with a run that kills its worker each time, and runs that do no harm."""

from __future__ import annotations

import asyncio
import os
import signal

from holdfast import App

app = App()


@app.activity
async def die(name: str) -> None:
    del name
    os.kill(os.getpid(), signal.SIGKILL)


@app.activity
async def live(number: int) -> int:
    await asyncio.sleep(0.2)
    return number


@app.workflow
async def poisoned(name: str) -> None:
    await die(name)


@app.workflow
async def neighbour(number: int) -> int:
    total = 0
    for _ in range(5):
        total += await live(number)
    return total
