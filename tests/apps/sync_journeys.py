"""Workflows that are not async, for worker processes."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import timedelta

from holdfast import App, Signal, sleep, wait

app = App()
go_on = Signal[str]("go-on")


@app.activity
def process_id(step: str) -> int:
    return os.getpid()


@app.activity
async def note(text: str) -> str:
    return text


@app.workflow
def journey(name: str) -> list[str]:
    seen = [f"{name} {wait(process_id('first'))}"]
    wait(sleep(timedelta(days=11)))
    first, second = wait(asyncio.gather(process_id("second"), note("beside")))
    seen += [str(first), second]
    seen.append(wait(go_on.wait()))
    return seen


@app.workflow
def resting() -> None:
    wait(sleep(timedelta(days=1)))


@app.activity
async def threads() -> int:
    return threading.active_count()


@app.workflow
def cleaning() -> str:
    try:
        wait(sleep(timedelta(days=1)))
    except asyncio.CancelledError:
        wait(note("cleaned up"))
        raise
    return "not cancelled"
