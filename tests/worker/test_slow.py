"""What holds the worker's loop for too long is named."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from tests.house import House

SOON = timedelta(seconds=20)


async def test_code_that_holds_the_loop_is_named_and_other_code_is_not(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = house.app()

    @app.activity
    async def computes() -> None:
        time.sleep(0.15)

    @app.activity
    def computes_in_a_thread() -> None:
        time.sleep(0.15)

    @app.workflow
    async def only_waits() -> None:
        await computes()
        await computes_in_a_thread()

    @app.workflow
    async def computes_itself() -> None:
        until = time.perf_counter() + 0.15
        while time.perf_counter() < until:
            pass

    client = await house.client(app)
    await house.worker(app)
    for workflow in (only_waits, computes_itself):
        await (await client.start(workflow)).result(timeout=SOON)
    warned = [record.getMessage() for record in caplog.records if record.name == "holdfast.slow"]
    assert [message.partition(" held the event loop for ")[0] for message in warned] == [
        "activity 'computes'",
        "workflow 'computes_itself'",
    ]
    assert all("make it a sync activity, or await in between" in message for message in warned)
