"""An app with runs that kill their worker each time, and runs that do no harm.

Where ``POISON_GO`` names a file, what is ``patient`` goes on when that is there.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

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


async def patience() -> None:
    while not Path(os.environ["POISON_GO"]).exists():
        await asyncio.sleep(0.05)


@app.activity
async def die_patiently(name: str) -> None:
    del name
    await patience()
    os.kill(os.getpid(), signal.SIGKILL)


@app.activity
async def live_patiently(number: int) -> int:
    await patience()
    await asyncio.sleep(0.2)
    return number


@app.workflow
async def patiently_poisoned(name: str) -> None:
    await die_patiently(name)


@app.workflow
async def patient_neighbour(number: int) -> int:
    return await live_patiently(number)


@app.workflow
async def poisoned(name: str) -> None:
    await die(name)


@app.workflow
async def neighbour(number: int) -> int:
    total = 0
    for _ in range(5):
        total += await live(number)
    return total
