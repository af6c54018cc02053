"""A workflow that tells which trace it is in, before and after its worker was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from holdfast import App, activity_info
from holdfast.telemetry.tracing import Tracing

app = App()
app.use(Tracing(tracer_provider=TracerProvider()))


@app.activity
async def which_trace(place: str, wait: bool) -> str:
    (Path(place) / "begun").touch()
    while wait and not (Path(place) / "go").exists():
        await asyncio.sleep(0.01)
    return activity_info().headers["traceparent"]


@app.activity(isolation="process")
def which_trace_in_a_process() -> str:
    return activity_info().headers["traceparent"]


@app.workflow
async def across(place: str) -> list[str]:
    first = await which_trace(place, wait=False)
    return [first, await which_trace(place, wait=True), await which_trace_in_a_process()]
