"""A run's timeout ends it also where no worker knows its name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import RunTimedOut
from tests.house import House


async def test_a_run_that_nobody_can_begin_ends_with_its_timeout(house: House) -> None:
    app = house.app()

    @app.workflow
    async def known() -> None: ...

    client = await house.client(app)
    run = await client.start_by_name("nobody-knows-this", timeout=timedelta(milliseconds=100))
    other = await client.start_by_name("nobody-knows-this", timeout=timedelta(days=1))
    # Its due time is not what ends it, and neither is a lane that has no worker.
    elsewhere = await client.start_by_name("nobody", lane="elsewhere", at=None, timeout=timedelta(milliseconds=100))
    await house.worker(app)
    for ended in (run, elsewhere):
        with pytest.raises(RunTimedOut, match="before a worker took it"):
            await ended.result(timeout=timedelta(seconds=20))
    assert (await other.status()).value == "ready"
    await house.check_invariants()
