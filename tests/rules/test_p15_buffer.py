"""Rule 15: what has stood in line for a while is looked at once more just before it begins, so that a cancel holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast import RunCancelled, Signal
from holdfast.app import App
from holdfast.app.hosted import WorkerOptions
from holdfast.store import work
from holdfast.store.session import Session
from tests.house import House, eventually
from tests.rules.change import replaced, shown

NOT_SOON: WorkerOptions = {
    "hints": False,
    "poll": timedelta(seconds=30),
    "lease": timedelta(seconds=60),
    "parallelism_factor": 0.1,
}
"""Nothing tells this worker what came for its runs but a look of its own making; it executes one run at a time."""

SOON = timedelta(seconds=20)


pytestmark = pytest.mark.usefixtures("long_lines")


class Story:
    """Jobs that write down their beginnings; the first of them holds the only slot until it is released."""

    def __init__(self, app: App) -> None:
        self.begun: list[int] = []
        self.release = asyncio.Event()

        @app.activity
        async def job(n: int) -> int:
            self.begun.append(n)
            if n == 0:
                await self.release.wait()
            return n

        self.job = job


async def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """The runs of each look from now on."""
    found: list[list[UUID]] = []
    really_look = work.look

    async def look(session: Session, runs: Sequence[UUID]) -> list[work.Seen]:
        found.append(list(runs))
        return await really_look(session, runs)

    monkeypatch.setattr(work, "look", look)
    return found


@shown([0, 2], the_look=(replaced("holdfast.worker.holdings.FRESH", float("inf")), [0, 1, 2]))
async def test_p15_a_cancel_that_was_acknowledged_holds(
    house: House, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    app = house.app()
    story = Story(app)
    looked = await looks(monkeypatch)
    client = await house.client(app)
    runs = await client.start_many([story.job.call(n) for n in range(3)])
    await house.worker(app, **NOT_SOON)
    await house.held(*[run.id for run in runs])
    await eventually(lambda: story.begun, "the first one has the slot")
    since = await house.value("select clock_timestamp()")
    await runs[1].cancel()
    assert await house.value("select flags & 4 from holdfast.task where run_id = $1", runs[1].id)
    await house.until("select clock_timestamp() - $1 > interval '300 ms'", since)
    story.release.set()
    assert await runs[2].result(timeout=SOON) == 2
    assert story.begun == expected
    if expected == [0, 2]:
        with pytest.raises(RunCancelled):
            await runs[1].result(timeout=SOON)
        # One look for all that stand in line; it is good for a while.
        assert len(looked) <= 2
    monkeypatch.undo()
    await house.check_invariants()


async def test_p15_what_has_ended_or_moved_meanwhile_does_not_begin(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    runs = await client.start_many([story.job.call(n) for n in range(4)])
    await house.worker(app, **NOT_SOON)
    await house.held(*[run.id for run in runs])
    await eventually(lambda: story.begun, "the first one has the slot")
    since = await house.value("select clock_timestamp()")
    # Nobody does this while the lease lives; but if somebody has, it holds.
    await house.db.execute("update holdfast.task set hold = hold + 1 where run_id = $1", runs[1].id)
    await house.db.execute("delete from holdfast.task where run_id = $1", runs[2].id)
    await house.until("select clock_timestamp() - $1 > interval '300 ms'", since)
    story.release.set()
    assert await runs[3].result(timeout=SOON) == 3
    assert story.begun == [0, 3]


async def test_p15_what_begins_right_after_its_claim_needs_no_look(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.holdings.FRESH", 10.0)  # on a machine that has much else to do
    app = house.app()
    story = Story(app)
    story.release.set()
    looked = await looks(monkeypatch)
    client = await house.client(app)
    runs = await client.start_many([story.job.call(n) for n in range(200)])
    await house.worker(app, hints=False, poll=timedelta(seconds=30), lease=timedelta(seconds=60))
    assert [await run.result(timeout=SOON) for run in runs] == list(range(200))
    assert looked == []


async def test_p15_a_look_that_fails_is_made_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    app = house.app()
    story = Story(app)
    failed = 0
    really_look = work.look

    async def look(session: Session, runs: Sequence[UUID]) -> list[work.Seen]:
        nonlocal failed
        if failed < 2:
            failed += 1
            raise ConnectionResetError("the network is gone")
        return await really_look(session, runs)

    monkeypatch.setattr(work, "look", look)
    client = await house.client(app)
    runs = await client.start_many([story.job.call(n) for n in range(3)])
    options: WorkerOptions = {**NOT_SOON, "poll": timedelta(milliseconds=200)}
    await house.worker(app, **options)
    await house.held(*[run.id for run in runs])
    await runs[1].cancel()
    await eventually(lambda: failed == 2, "two looks have failed")
    story.release.set()
    assert await runs[2].result(timeout=SOON) == 2
    assert story.begun == [0, 2]


async def test_p15_what_is_cancelled_while_it_stands_in_line_ends_there(house: House) -> None:
    app = house.app()
    story = Story(app)
    client = await house.client(app)
    runs = await client.start_many([story.job.call(n) for n in range(2)])
    await house.worker(app, parallelism_factor=0.1)
    await house.held(*[run.id for run in runs])
    await eventually(lambda: story.begun, "the first one has the slot")
    await runs[1].cancel()
    # The slot is taken all the while.
    with pytest.raises(RunCancelled):
        await runs[1].result(timeout=SOON)
    story.release.set()
    assert await runs[0].result(timeout=SOON) == 0
    assert story.begun == [0]
    await house.check_invariants()


async def test_p15_a_workflow_that_a_letter_has_entered_finishes_what_runs_when_its_worker_stops(house: House) -> None:
    app = house.app()
    story = Story(app)
    go = Signal[int]("go")
    calls: list[str] = []
    finish = asyncio.Event()

    @app.activity
    async def step() -> str:
        calls.append("step")
        await finish.wait()
        return "done"

    @app.workflow
    async def flow() -> str:
        return await step()

    client = await house.client(app)
    options: WorkerOptions = {**NOT_SOON, "hints": True, "skip_warm_up": True, "grace": SOON}
    async with app.worker(**options) as worker:
        first = await client.start(story.job, 0)
        await eventually(lambda: story.begun, "the job has the slot")
        run = await client.start(flow)
        await house.held(run.id)
        await run.signal(go, 1)
        await eventually(lambda: calls, "its code is entered ahead of its turn")
        worker.stop()
        inner: Any = worker._worker
        await eventually(lambda: inner._tenure.draining, "the worker stops")
        assert await house.value("select bucket_id is not null from holdfast.task where run_id = $1", run.id)
        finish.set()
        story.release.set()
    await house.worker(app)
    assert await run.result(timeout=SOON) == "done"
    assert await first.result(timeout=SOON) == 0
    assert calls == ["step"]
    await house.check_invariants()
