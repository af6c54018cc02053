"""J, W16: keys of jobs that belong to them for a while, while workers execute them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import Key, RunCancelled, RunHandle, RunStatus
from tests.house import House, eventually
from tests.scenarios.soon import SOON

OPEN = Key("report", window="open")


async def test_of_jobs_with_a_key_while_open_never_two_are_under_way_however_many_clients_start_them(
    house: House,
) -> None:
    app = house.app()
    under_way: Counter[str] = Counter()
    executed: Counter[int] = Counter()

    @app.activity
    async def report(number: int) -> int:
        under_way["now"] += 1
        under_way["most"] = max(under_way["most"], under_way["now"])
        executed[number] += 1
        # So that other starts come in between.
        await asyncio.sleep(0)
        under_way["now"] -= 1
        return number

    clients = [await house.client(app) for _ in range(4)]
    await house.worker(app)
    await house.worker(app)
    made: dict[str, RunHandle[int]] = {}

    async def start_some(worker: int) -> None:
        for _ in range(100):
            run = await clients[worker].start(report, 1, key=OPEN)
            if not run.existing:
                made[str(run.id)] = run

    await asyncio.gather(*(start_some(n) for n in range(4)))
    for run in made.values():
        assert await run.result(timeout=SOON) == 1
    assert under_way["most"] == 1
    # Each that was made was executed, and it was more than the first.
    assert executed[1] == len(made) == await house.value("select count(*) from holdfast.run") > 1
    await house.check_invariants()


async def test_what_runs_is_replaced_and_told_to_end_and_the_new_one_begins(house: House) -> None:
    app = house.app()
    told: list[str] = []
    begun: list[str] = []

    @app.activity
    async def report(of: str) -> str:
        begun.append(of)
        try:
            await asyncio.sleep(0 if of == "today" else 3600)
        except asyncio.CancelledError:
            told.append(of)
            raise
        return of

    client = await house.client(app)
    await house.worker(app)
    old = await client.start(report, "yesterday", key=OPEN)
    await eventually(lambda: begun, "it runs")
    new = await client.start(report, "today", key=Key("report", window="open", taken="replace"))
    assert await new.result(timeout=SOON) == "today"
    with pytest.raises(RunCancelled):
        await old.result(timeout=SOON)
    assert told == ["yesterday"]
    await house.check_invariants()


async def test_a_job_that_waits_for_its_next_attempt_is_open_and_is_replaced_at_once(house: House) -> None:
    app = house.app()

    @app.activity
    async def report(*, fails: bool) -> str:
        if fails:
            raise LookupError("not yet")
        return "done"

    client = await house.client(app)
    await house.worker(app)
    old = await client.start(report.call(fails=True), key=OPEN)
    await house.until("select count(*) = 1 from holdfast.journal")
    await house.parked(old.id)
    assert (await client.start(report.call(fails=True), key=OPEN)).id == old.id
    new = await client.start(report.call(fails=False), key=Key("report", window="open", taken="replace"))
    assert await new.result(timeout=SOON) == "done"
    assert await old.status() is RunStatus.CANCELLED
    await house.check_invariants()


async def test_a_workflow_cleans_up_when_it_is_replaced(house: House) -> None:
    app = house.app()
    cleaned: list[int] = []

    @app.activity
    async def clean(number: int) -> None:
        cleaned.append(number)

    @app.workflow
    async def sync(number: int) -> int:
        try:
            if number == 1:
                await asyncio.sleep(86_400)
        finally:
            await clean(number)
        return number

    client = await house.client(app)
    await house.worker(app)
    old = await client.start(sync, 1, key=Key("sync", window="open"))
    await house.parked(old.id)
    new = await client.start(sync, 2, key=Key("sync", window="open", taken="replace"))
    assert await new.result(timeout=SOON) == 2
    with pytest.raises(RunCancelled):
        await old.result(timeout=SOON)
    assert sorted(cleaned) == [1, 2]
    await house.check_invariants()


async def test_once_an_hour_is_once_an_hour(house: House) -> None:
    app = house.app()
    executed: list[int] = []

    @app.activity
    async def digest(number: int) -> None:
        executed.append(number)

    client = await house.client(app)
    await house.worker(app)
    hourly = Key("digest", window=timedelta(hours=1))
    for hour in range(3):
        runs = await asyncio.gather(*(client.start(digest, hour, key=hourly) for _ in range(5)))
        assert len({run.id for run in runs}) == 1
        await runs[0].result(timeout=SOON)
        await house.advance(timedelta(minutes=59))
        assert (await client.start(digest, hour, key=hourly)).existing
        await house.advance(timedelta(minutes=1))
    assert executed == [0, 1, 2]
    await house.check_invariants()
