"""An app for worker processes: a workflow that counts what is sent to it, and answers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast import App, Update, activity_info
from tests.apps.ledger import PLACE, Ledger, note

app = App()

count_in = Update[int, int]("count in")


@app.activity
async def weigh(n: int, *, holds: bool = False) -> int:
    info = activity_info()
    note(info.key, info.attempt)
    if holds and len(Ledger(Path(os.environ[PLACE])).lines()) == 1:
        await asyncio.Event().wait()
    return n


@app.workflow
async def tally(most: int, *, holds: int = 0) -> int:
    """Answers so many updates with the sum so far; the activity for number ``holds`` never ends, the first time."""
    total = 0
    for number in range(1, most + 1):
        call = await count_in.wait()
        total += await (weigh(call.input, holds=True) if number == holds else weigh(call.input))
        call.reply(total)
    return total
