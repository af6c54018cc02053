"""An app that notes when its code is entered."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta

from holdfast import App, Signal, activity_info, sleep

app = App()
go = Signal[str]("go")


@app.activity
async def job(number: int = 0, lasts: float = 0.0) -> float:
    """When it began, by the clock that the database has too."""
    began = time.time()
    if lasts:
        await asyncio.sleep(lasts)
    del number
    return began


@app.activity
async def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.activity
async def entered() -> str:
    return str(activity_info().run_id)


@app.workflow
async def waits(seconds: float) -> str:
    """For a signal, but no longer than so."""
    try:
        return await go.wait(timeout=timedelta(seconds=seconds))
    except TimeoutError:
        return "nothing came"


@app.workflow
async def sleeps(seconds: float) -> str:
    await sleep(timedelta(seconds=seconds))
    return await entered()


@app.workflow
async def flow() -> str:
    return await entered()
