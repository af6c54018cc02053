"""An app with schedules, for tests with processes: which of them it has is said by the environment."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from holdfast import App

app = App()

VERSION = os.environ.get("CLOCKWORK", "1")


@app.activity
async def chime(at: datetime) -> str:
    return at.isoformat()


@app.activity
async def stays() -> None: ...


if VERSION in {"1", "2"}:
    app.schedule(every=timedelta(seconds=1), tick_parameter="at", overlap="allow", catch_up="all", catch_up_limit=1000)(
        chime
    )
    app.schedule("0 4 * * *" if VERSION == "1" else "0 5 * * *", tz="Europe/Paris", name="nightly", lane="elsewhere")(
        stays
    )
