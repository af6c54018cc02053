"""Activities with a lane of their own and fan-outs, for workers in this process and in others; each call is noted."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from datetime import timedelta
from pathlib import Path

import asyncpg

from holdfast import ActivityTimedOut, App, GiveUp, Retry, activity_info, complete_later, heartbeat
from tests.apps.ledger import PLACE, note

app = App()

QUICKLY = Retry(max_attempts=3, initial=timedelta(0))


class Burnt(Exception):
    """The user's own."""


def release() -> Path:
    """While this file is not there, what waits for it waits."""
    return Path(os.environ[PLACE] + ".release")


@app.activity(lane="gpu")
async def render(frame: int) -> str:
    info = activity_info()
    note("render", info.key, info.attempt, info.idempotency_key, info.workflow, os.getpid())
    return f"frame {frame}"


@app.activity(lane="gpu", retry=QUICKLY)
async def render_slowly(frame: int) -> str:
    """Says how far it is, and waits to be released."""
    info = activity_info()
    note("slowly", info.key, info.attempt, os.getpid(), info.details)
    heartbeat(frame)
    while not release().exists():
        await asyncio.sleep(0.01)  # as the code of a user looks now and then
    return f"slow {frame}"


@app.activity(lane="gpu", retry=QUICKLY)
async def render_badly(how: str) -> str:
    info = activity_info()
    note("badly", info.key, info.attempt, info.details)
    heartbeat(f"attempt {info.attempt}")
    if how == "for good":
        raise GiveUp("no film")
    if how == "always" or info.attempt < 3:
        raise Burnt(info.attempt)
    return f"attempt {info.attempt}"


@app.activity(lane="gpu", retry=QUICKLY, timeout=timedelta(milliseconds=200))
async def render_for_ever() -> None:
    note("for ever", activity_info().attempt)
    await asyncio.sleep(3600)


@app.activity(lane="gpu", isolation="process")
def render_apart(frame: int) -> str:
    note("apart", activity_info().key, activity_info().workflow)
    return f"apart {frame}"


@app.activity(lane="gpu")
def render_in_a_thread(frame: int) -> str:
    return f"thread {frame}"


@app.activity(lane="gpu")
async def ask() -> str:
    note("asked", activity_info().key, activity_info().token)
    complete_later()


@app.activity(lane="gpu", transactional=True)
async def book(connection: asyncpg.Connection[asyncpg.Record], seat: int) -> int:
    await connection.execute("insert into booked (seat) values ($1)", seat)
    note("booked", seat, os.getpid())
    return seat


@app.workflow
async def film(frames: int) -> list[str]:
    return list(await asyncio.gather(*(render(frame) for frame in range(frames))))


@app.workflow
async def slow_film(frames: int) -> list[str]:
    return list(await asyncio.gather(*(render_slowly(frame) for frame in range(frames))))


@app.workflow
async def bad_film(how: str) -> str:
    try:
        return await render_badly(how)
    except Burnt as burnt:
        return f"burnt {burnt.args}"


@app.workflow
async def patient_film(how: str) -> str:
    """With options for this call, which whoever executes it has to know."""
    try:
        return await render_badly.options(retry=Retry(max_attempts=2, initial=timedelta(0), give_up_on=(Burnt,)))(how)
    except Burnt as burnt:
        return f"burnt {burnt.args}"


@app.workflow
async def endless_film() -> str:
    try:
        await render_for_ever()
    except ActivityTimedOut as error:
        return type(error).__name__
    return ""


@app.workflow
async def hurried_film() -> str:
    try:
        async with asyncio.timeout(0.5):
            await render_slowly(1)
    except TimeoutError:
        return "given up"
    return ""


@app.workflow
async def mixed_film() -> list[str]:
    return [await render_apart(1), await render_in_a_thread(2), await ask()]


@app.workflow
async def bookings(seats: int) -> list[int]:
    return list(await asyncio.gather(*(book(seat) for seat in range(seats))))


# ---- fan-outs


@app.activity
async def nothing(number: int) -> int:
    return number


@app.activity
async def noted(number: int) -> int:
    note("noted", number, os.getpid())
    return number


@app.activity(retry=QUICKLY)
async def held(number: int) -> int:
    """Waits to be released."""
    note("held", number, os.getpid(), activity_info().idempotency_key.rpartition(":")[2])
    while not release().exists():
        await asyncio.sleep(0.01)  # as the code of a user looks now and then
    return number


@app.activity
def held_in_a_thread(number: int) -> int:
    note("held", number, os.getpid())
    while not release().exists():
        time.sleep(0.01)  # as the code of a user looks now and then
    return number


@app.activity
async def memory() -> int:
    """The most that this process has needed, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@app.workflow
async def fan(count: int) -> int:
    return sum(await asyncio.gather(*(nothing(number) for number in range(count))))


@app.workflow
async def noted_fan(count: int) -> int:
    return sum(await asyncio.gather(*(noted(number) for number in range(count))))


@app.workflow
async def held_fan(count: int) -> int:
    return sum(await asyncio.gather(*(held(number) for number in range(count))))


@app.workflow
async def held_threads(count: int) -> int:
    return sum(await asyncio.gather(*(held_in_a_thread(number) for number in range(count))))


@app.workflow
async def weighs() -> int:
    return await memory()
