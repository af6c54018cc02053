"""Code is not entered when the worker's lease is over, even before the worker has found out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast import Client, RunHandle
from holdfast.app.hosted import HostedWorker
from holdfast.worker.lease_end import LeaseEnd
from holdfast.worker.tenure import Tenure
from tests.house import House, eventually
from tests.scenarios.soon import SOON

CLAIMED_FOR_A_WHILE = """
select first_claim_at < clock_timestamp() - interval '100 milliseconds'
  from holdfast.task
 where run_id = $1 and bucket_id is not null
"""


class Scene:
    """A worker with a job whose code says when it is entered."""

    def __init__(self, house: House, client: Client, worker: HostedWorker, job: Any, entered: Sequence[float]) -> None:
        self.house = house
        self.client = client
        self._worker = worker
        self._job = job
        self.entered = entered

    @property
    def tenure(self) -> Tenure:
        assert self._worker._worker is not None
        assert self._worker._worker.tenure is not None
        return self._worker._worker.tenure

    @property
    def end(self) -> LeaseEnd:
        return self.tenure._executor.lease_end

    async def start_after_the_end(self) -> RunHandle[Any]:
        """A run that the worker holds, and has for long enough to have entered its code."""
        self.end.at = 0.0
        run: RunHandle[Any] = await self.client.start(self._job)
        await self.house.until(CLAIMED_FOR_A_WHILE, run.id)
        assert not self.entered
        return run


@pytest.fixture(params=["on the loop", "in a thread"])
async def scene(house: House, request: pytest.FixtureRequest) -> Scene:
    app = house.app()
    entered: list[float] = []

    @app.activity
    async def on_the_loop() -> None:
        entered.append(time.monotonic())

    @app.activity
    def in_a_thread() -> None:
        entered.append(time.monotonic())

    job = on_the_loop if request.param == "on the loop" else in_a_thread
    # The lease is long: nothing but the test says that it is over.
    scene = Scene(house, await house.client(app), await house.worker(app, lease=SOON * 3), job, entered)
    await eventually(lambda: scene.end.at < float("inf"), "it has a lease")
    return scene


async def test_what_waits_goes_on_where_the_lease_does(scene: Scene) -> None:
    run = await scene.start_after_the_end()
    before = time.monotonic()
    scene.end.at = float("inf")
    await run.result(timeout=SOON)
    (entered,) = scene.entered
    assert entered >= before


async def test_what_waits_is_called_off_where_it_does_not(scene: Scene) -> None:
    run = await scene.start_after_the_end()
    first, heartbeat = scene.tenure, scene.tenure._heartbeat
    assert heartbeat is not None
    await scene.house.expire_lease(first.name)
    heartbeat.hurry()
    await run.result(timeout=SOON)
    assert scene.tenure is not first
    assert len(scene.entered) == 1
    await scene.house.check_invariants()


async def test_each_renewal_moves_it(house: House) -> None:
    app = house.app()

    @app.activity
    async def job() -> None:
        pass

    worker = await house.worker(app)
    assert worker._worker is not None
    tenure = worker._worker.tenure
    assert tenure is not None
    end = tenure._executor.lease_end
    await eventually(lambda: end.at < float("inf"), "it has a lease")
    first = end.at
    assert not end.has_come
    assert tenure._heartbeat is not None
    tenure._heartbeat.hurry()
    await eventually(lambda: end.at > first, "it is renewed")
