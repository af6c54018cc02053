"""An app for worker processes: trips whose bookings are undone, each step written down."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from holdfast import App, Retry, Signal, activity_info, saga
from tests.apps.ledger import note

GATE = "HOLDFAST_TEST_GATE"
"""The environment variable that names a file; what is told to wait does so until it is there."""

app = App()

go = Signal[str]("go")

QUICK = Retry(max_attempts=3, initial=timedelta(milliseconds=50), jitter=0.0)


class SoldOut(Exception):
    pass


def called(word: str, what: str) -> None:
    """Writes down which run has called what, and the how manieth attempt it is."""
    info = activity_info()
    note(info.run_id, word, what, info.attempt)


async def gate(what: str) -> None:
    """Waits at the gate, if that is what it is for."""
    place = Path(os.environ[GATE]) if GATE in os.environ else None
    while what.startswith("gated") and place is not None and not place.exists():
        await asyncio.sleep(0.005)  # until the test has put the file there, or killed this process


@app.activity(retry=QUICK)
async def book(what: str) -> str:
    called("book", what)
    if what == "unicorn":
        raise SoldOut(what)
    return f"<{what}>"


@book.compensate
@app.activity(retry=QUICK)
async def unbook(booking: str, what: str) -> None:
    called("unbook", what)
    await gate(what)
    if what.startswith("stuck") or (what.startswith("flaky") and activity_info().attempt == 1):
        raise ConnectionError(booking)


@app.workflow
async def trip(stops: list[str], waits: bool) -> list[str]:
    async with saga():
        booked = [await book(stop) for stop in stops]
        if waits:
            await go.wait()
        return booked
