"""W4: try, except, else, finally and async with around durable operations: a park runs none of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Activity, RunCancelled, Signal, sleep
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


def _operations(work: Activity[[str], str]) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    """What can be awaited durably."""

    async def called() -> None:
        await work("operation")
        await go.wait()

    async def slept() -> None:
        await sleep(timedelta(hours=1))

    async def heard() -> None:
        await go.wait()

    async def limited() -> None:
        async with asyncio.timeout(7200):
            await go.wait()

    return {"activity": called, "timer": slept, "signal": heard, "timeout": limited}


@pytest.mark.parametrize("operation", ["activity", "timer", "signal", "timeout"])
@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_no_block_runs_because_of_a_park(house: House, operation: str, kept: int) -> None:
    app = house.app()
    ran: Counter[str] = Counter()
    written: Counter[str] = Counter()

    @app.activity
    async def work(word: str) -> str:
        written[word] += 1
        return word

    operate = _operations(work)[operation]

    @asynccontextmanager
    async def guarded() -> AsyncGenerator[None]:
        await work("enter")
        try:
            yield
        except Exception:
            ran["context except"] += 1
            raise
        else:
            ran["context else"] += 1
        finally:
            await work("leave")

    @app.workflow
    async def careful() -> str:
        async with guarded():
            try:
                await operate()
            except Exception:
                ran["except"] += 1
                await work("except")
                raise
            else:
                ran["else"] += 1
                await work("else")
            finally:
                ran["finally"] += 1
                await work("finally")
        return await go.wait()

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(careful)
    await house.parked(run.id)
    assert ran["except"] == ran["else"] == ran["context except"] == ran["context else"] == 0
    assert set(written) <= {"enter", "operation"}
    if operation == "timer":
        await house.advance(timedelta(hours=1, seconds=1))
    else:
        await run.signal(go, "on")
    await house.until(
        "select exists (select from holdfast.journal where run_id = $1 and output::text = '\"leave\"')", run.id
    )
    await house.parked(run.id)
    await run.signal(go, "end")
    assert await run.result(timeout=SOON) == "end"
    # Each ran in the code's own time; by replay again, but what it wrote was written once.
    assert ran["else"] == ran["context else"]
    assert ran["else"] >= 1
    assert ran["except"] == ran["context except"] == 0
    assert set(written.values()) == {1}
    assert written["else"] == written["finally"] == written["leave"] == 1
    await house.check_invariants()


async def test_a_run_that_is_dropped_can_neither_write_nor_await_in_its_finally(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    reached: list[str] = []

    @app.activity
    async def undo(word: str) -> str:
        calls[word] += 1
        return word

    @app.workflow
    async def careful(word: str) -> str:
        try:
            await go.wait()
        except BaseException:
            reached.append("except")
            await undo("dropped")
            reached.append("after")
            raise
        finally:
            reached.append("finally")
            await undo(word)
            reached.append("after undo")
        return word

    client = await house.client(app)
    # There is memory for one: each that parks drops the one before. And the end of the worker drops the last.
    async with app.worker(skip_warm_up=True, cached_runs=1, poll=timedelta(milliseconds=100)):
        runs = await client.start_many([careful.call(f"r{n}") for n in range(5)])
        await house.parked(*[run.id for run in runs])
    assert "after" not in reached
    assert "after undo" not in reached
    assert not calls
    assert await house.value("select count(*) from holdfast.journal") == 0
    await house.worker(app)
    for run in runs:
        await run.signal(go, "now")
    assert [await run.result(timeout=SOON) for run in runs] == [f"r{n}" for n in range(5)]
    assert calls == {f"r{n}": 1 for n in range(5)}
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    await house.check_invariants()


async def test_clean_up_code_of_a_cancelled_run_may_call_activities_wait_and_replay(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def work(word: str) -> str:
        calls[word] += 1
        return word

    @app.workflow
    async def booking() -> None:
        await work("book")
        try:
            await sleep(timedelta(days=1))
        finally:
            await work("refund")
            await go.wait()
            await work("goodbye")

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(booking)
    await house.parked(run.id)
    assert await run.cancel() == "requested"
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    assert calls == {"book": 1, "refund": 1}
    await run.signal(go, "x")
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    assert calls == {"book": 1, "refund": 1, "goodbye": 1}
    await house.check_invariants()
