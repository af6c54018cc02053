"""A job that never ends, for a worker that is killed."""

from __future__ import annotations

import asyncio

from holdfast import App

app = App()


@app.activity
async def grind() -> None:
    await asyncio.Event().wait()
