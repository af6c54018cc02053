"""An app whose activities run in processes of their own.

Each notes in the ledger that it has begun, with the ids of its process and of that process's parent.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import subprocess
import sys
import time
from datetime import timedelta

from holdfast import App, GiveUp, Retry, RetryAfter, Signal, activity_info
from tests.apps.ledger import note

app = App()
log = logging.getLogger("grinder")

FOREVER = 3600.0
enough = Signal[None]("enough")
ONCE = Retry(max_attempts=1)
AT_ONCE = Retry(max_attempts=3, initial=timedelta(0))


class Jammed(Exception):
    def __init__(self, where: str, times: int) -> None:
        super().__init__(f"jammed at {where}, {times} times")
        self.where = where
        self.times = times


def begun(*words: object) -> None:
    info = activity_info()
    note("begun", info.key, info.attempt, os.getpid(), os.getppid(), *words)


def spin(seconds: float) -> None:
    """Works without ever letting the processor go."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        hashlib.sha256(b"grind").hexdigest()


@app.activity(isolation="process", retry=ONCE)
def grind(number: int) -> dict[str, object]:
    begun()
    info = activity_info()
    log.warning("grinding %d", number, extra={"number": number})
    return {
        "number": number,
        "pid": os.getpid(),
        "run_id": str(info.run_id),
        "key": info.key,
        "workflow": info.workflow,
        "idempotency_key": info.idempotency_key,
    }


@app.activity(isolation="process", retry=ONCE)
def endless() -> None:
    begun()
    spin(FOREVER)


@app.activity(isolation="process", retry=ONCE)
def deaf() -> None:
    """One call that lets no other thread of its process run."""
    begun()
    sum(range(10**12))


@app.activity(isolation="process", retry=AT_ONCE, timeout=timedelta(milliseconds=300))
def slow_at_first() -> int:
    begun()
    if activity_info().attempt == 1:
        spin(FOREVER)
    return activity_info().attempt


@app.activity(isolation="process", retry=ONCE)
def attentive() -> None:
    """Ends by itself when it is told to."""
    begun()
    over = time.monotonic() + FOREVER
    while not activity_info().cancelled and time.monotonic() < over:
        time.sleep(0.005)  # as the code of a user looks now and then
    note("told", os.getpid())


@app.activity(isolation="process", retry=ONCE)
def parent() -> None:
    """Starts a program, which does not end by itself either."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    begun(program.pid)
    program.wait()


@app.activity(isolation="process", retry=AT_ONCE)
def dies(times: int, code: int) -> int:
    begun()
    if activity_info().attempt <= times:
        os._exit(code)
    return activity_info().attempt


@app.activity(isolation="process", retry=ONCE)
def jams(how: str) -> None:
    match how:
        case "own":
            raise Jammed("the inlet", 3)
        case "group":
            raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])
        case "exit":
            sys.exit(3)
        case _:
            raise ValueError(how) from Jammed("the outlet", 1)


@app.activity(isolation="process", retry=Retry(max_attempts=5, initial=timedelta(minutes=1), give_up_on=(Jammed,)))
def decides(how: str) -> int:
    attempt = activity_info().attempt
    begun()
    if attempt == 1 and how == "after":
        raise RetryAfter(timedelta(milliseconds=10))
    if how == "class":
        raise Jammed("the inlet", attempt)
    if how == "word":
        raise GiveUp("never")
    return attempt


@app.activity(isolation="process", retry=ONCE)
def gives(what: str) -> object:
    return {"set": {1, 2}, "nan": float("nan"), "long": "x" * 200_000, "text": "a\0b"}[what]


@app.activity(isolation="process", retry=ONCE)
def lasts(seconds: float) -> str:
    begun()
    spin(seconds)
    return "done"


@app.workflow
async def mill(numbers: list[int]) -> list[dict[str, object]]:
    return list(await asyncio.gather(*map(grind, numbers)))


@app.workflow
async def gives_up_waiting() -> str:
    work = asyncio.create_task(endless())
    await enough.wait()
    work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        return "waited no longer"
    return "it ended"


@app.workflow
async def catches() -> tuple[str, int]:
    try:
        await jams("own")
    except Jammed as jam:
        return jam.where, jam.times
    return "nowhere", 0
