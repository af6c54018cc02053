"""For a worker process: the versions of a workflow that the environment names, the first of which waits for ever."""

from __future__ import annotations

import os
import time

from holdfast import App

app = App()

DYING = os.environ.get("DYING") != "no"


@app.activity
def hold_on() -> None:
    if DYING:
        time.sleep(60)


@app.activity
def pass_by() -> None: ...


for version in os.environ.get("VERSIONS", "1").split():

    async def order(me: str = version) -> str:
        if me == "1":
            await hold_on()
        await pass_by()
        return me

    app.workflow(name="order", version=version)(order)
