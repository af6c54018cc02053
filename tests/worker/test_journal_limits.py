"""A journal that grows too long: a warning that names it, then a failure that says what to do, and no loop."""

from __future__ import annotations

import asyncio
import re

import pytest

from holdfast import RunFailed, Signal, start_child
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[int]("go")


@pytest.mark.parametrize("cached", [0, 2000])
async def test_at_the_limit_of_rows_it_fails_and_says_what_to_do(
    house: House, caplog: pytest.LogCaptureFixture, cached: int
) -> None:
    app = house.app()

    @app.activity
    async def step(number: int) -> int:
        return number

    @app.workflow
    async def endless() -> None:
        number = 0
        while True:
            try:
                number = await step(number + 1)
            except Exception:  # noqa: S112 - what it fails with is not for its code
                continue

    client = await house.client(app)
    await house.worker(app, journal_warn_rows=10, journal_max_rows=30, cached_runs=cached)
    run = await client.start(endless)
    with pytest.raises(RunFailed, match=r"at most 30 and .* continue_as_new\(\)") as caught:
        await run.result(timeout=SOON)
    assert caught.value.type_name == "holdfast.core.errors:JournalFull"
    assert len(await house.journal(run.id)) == 30
    (warning,) = [record.getMessage() for record in caplog.records if "by now" in record.getMessage()]
    assert re.search(rf"run {run.id} of workflow 'endless' has 11 rows", warning)
    await house.check_invariants()


async def test_bytes_are_limited_too(house: House) -> None:
    app = house.app()

    @app.activity
    async def text(length: int) -> str:
        return "x" * length

    @app.workflow
    async def reads() -> int:
        return sum([len(await text(10_000)) for _ in range(10)])

    client = await house.client(app)
    await house.worker(app, journal_max_bytes=50_000)
    with pytest.raises(RunFailed, match="at most 100,000 and 50,000 are allowed"):
        await (await client.start(reads)).result(timeout=SOON)
    await house.check_invariants()


async def test_letters_count_and_children_go_by_their_policy(house: House) -> None:
    app = house.app()

    @app.workflow
    async def waits() -> int:
        return await go.wait()

    @app.workflow
    async def hears() -> None:
        await asyncio.gather(start_child(waits), start_child(waits, on_parent_close="abandon"))
        while True:
            await go.wait()

    client = await house.client(app)
    await house.worker(app, journal_max_rows=10)
    run = await client.start(hears)
    await house.until("select count(*) = 2 from holdfast.run where parent = $1", run.id)
    for number in range(8):
        await run.signal(go, number)
    await house.parked(run.id)
    await run.signal(go, 9)
    with pytest.raises(RunFailed, match="at most 10"):
        await run.result(timeout=SOON)
    await house.until("select count(*) = 1 from holdfast.runs where parent = $1 and status = 'cancelled'", run.id)
    await house.until("select count(*) = 1 from holdfast.runs where parent = $1 and status = 'waiting'", run.id)
    await house.check_invariants()


async def test_children_that_are_too_many_are_not_started(house: House) -> None:
    app = house.app()

    @app.workflow
    async def leaf(number: int) -> int:
        return number

    @app.workflow
    async def wide() -> int:
        return sum(await asyncio.gather(*(leaf(number) for number in range(20))))

    client = await house.client(app)
    await house.worker(app, journal_max_rows=10)
    run = await client.start(wide)
    with pytest.raises(RunFailed, match="would have 20 rows"):
        await run.result(timeout=SOON)
    assert await house.value("select count(*) from holdfast.run") == 1
    await house.check_invariants()
