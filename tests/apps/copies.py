"""An app whose activities say how far they are, and stop saying so until they are let go on."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from holdfast import App, Retry, activity_info, heartbeat, report_progress
from tests.apps.ledger import note

app = App()

FOREVER = 3600.0
QUIET = timedelta(milliseconds=400)
RETRY = Retry(max_attempts=3, initial=timedelta(0))

Copied = tuple[int, int]
"""The attempt that came to an end, and where it began."""


def begun() -> tuple[int, int]:
    info = activity_info()
    note("begun", info.key, info.attempt, info.details, os.getpid())
    return info.attempt, info.details or 0


@app.activity(heartbeat_timeout=QUIET, retry=RETRY)
async def on_the_loop(total: int) -> Copied:
    attempt, start = begun()
    for n in range(start, total):
        heartbeat(n + 1)
        if attempt == 1 and n == 2:
            await asyncio.sleep(FOREVER)
    return attempt, start


@app.activity(heartbeat_timeout=QUIET, retry=RETRY)
def in_a_thread(total: int) -> Copied:
    attempt, start = begun()
    for n in range(start, total):
        heartbeat(n + 1)
        if attempt == 1 and n == 2:
            while not activity_info().cancelled:
                time.sleep(0.005)  # as the code of a user looks now and then
    return attempt, start


@app.activity(heartbeat_timeout=QUIET, retry=RETRY, isolation="process")
def in_a_process(total: int) -> Copied:
    attempt, start = begun()
    for n in range(start, total):
        heartbeat(n + 1)
        if attempt == 1 and n == 2:
            time.sleep(FOREVER)
    return attempt, start


@app.activity(isolation="process", retry=RETRY)
def dies(total: int) -> Copied:
    attempt, start = begun()
    for n in range(start, total):
        heartbeat(n + 1)
        if attempt == 1 and n == 2:
            time.sleep(0.2)  # more than the pause after which the worker is told
            os._exit(1)
    return attempt, start


@app.activity(heartbeat_timeout=timedelta(seconds=30), retry=Retry(max_attempts=1))
async def until_released(total: int) -> Copied:
    """Says that it has come to ``total``, and goes on when there is a file of that name."""
    attempt, start = begun()
    for n in range(start, total):
        heartbeat(n + 1)
    note("said", total)
    while not Path(os.environ["RELEASED"]).exists():
        await asyncio.sleep(0.01)
    return attempt, start


@app.workflow
async def moves(how: str, total: int) -> Copied:
    activities = {"loop": on_the_loop, "thread": in_a_thread, "process": in_a_process, "dies": dies}
    return await activities[how](total)


@app.workflow
async def waits(total: int) -> Copied:
    return await until_released(total)


@app.activity(isolation="process")
def reports() -> str:
    report_progress(0.25, "a quarter")
    time.sleep(1.5)  # as code that computes
    return "done"


@app.activity
async def goes_on() -> int:
    details = activity_info().details
    heartbeat(7)
    report_progress(0.5, f"begun with {details}")
    while not Path(os.environ["RELEASED"]).exists():
        await asyncio.sleep(0.01)
    return int(details)
