"""An answer of the database that does not arrive: what it said has happened all the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Retry, Signal, sleep
from holdfast.store import work
from holdfast.store.session import Session
from tests.house import House, eventually

SOON = timedelta(seconds=20)


async def test_runs_of_a_claim_whose_answer_was_lost_are_executed_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()
    calls: Counter[int] = Counter()

    @app.activity
    async def job(n: int) -> int:
        calls[n] += 1
        return n

    @app.workflow
    async def flow(n: int) -> int:
        return await job(100 + n)

    real = work.claim
    lost: list[int] = []

    async def claim(*arguments: Any, **options: Any) -> work.Claim:
        answer = await real(*arguments, **options)
        if answer.runs and len(lost) < 3:
            lost.append(len(answer.runs))
            raise ConnectionResetError("the answer is lost")
        return answer

    monkeypatch.setattr(work, "claim", claim)
    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(job, 1), await client.start(flow, 2)]
    await eventually(lambda: lost, "an answer is lost")
    runs.append(await client.start(job, 3))
    assert [await run.result(timeout=SOON) for run in runs] == [1, 102, 3]
    assert set(calls.values()) == {1}
    await house.check_invariants()


async def test_a_flush_whose_answer_was_lost_is_sent_again_and_counts_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity(retry=Retry(initial=timedelta(milliseconds=20)))
    async def step(word: str) -> str:
        calls[word] += 1
        if word == "shaky" and calls[word] == 1:
            raise RuntimeError(word)
        return word

    @app.workflow
    async def flow() -> list[str]:
        first = await asyncio.gather(step("a"), step("shaky"))
        await asyncio.sleep(0.01)
        return [*first, await step("b")]

    real = work.flush
    sent: list[bool] = []

    async def flush(session: Session, identity: work.Identity, writes: Sequence[Any], **options: Any) -> work.Flushed:
        answer = await real(session, identity, writes, **options)
        if not options["again"]:
            sent.append(True)
            raise ConnectionResetError("the answer is lost")
        return answer

    monkeypatch.setattr(work, "flush", flush)
    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(flow), await client.start(flow)]
    job = await client.start(step, "job")
    for run in runs:
        assert await run.result(timeout=SOON) == ["a", "shaky", "b"]
    assert await job.result(timeout=SOON) == "job"
    assert sent
    assert calls == {"a": 2, "shaky": 3, "b": 2, "job": 1}
    await house.check_invariants()


async def test_a_park_whose_answer_was_lost_does_not_lose_the_signal_that_came_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = house.app()
    go = Signal[int]("go")

    @app.workflow
    async def waits() -> int:
        return await go.wait()

    real = work.flush
    parked = asyncio.Event()
    signalled = asyncio.Event()

    async def flush(session: Session, identity: work.Identity, writes: Sequence[Any], **options: Any) -> work.Flushed:
        answer = await real(session, identity, writes, **options)
        if any(unit.move is not None for unit in writes) and not parked.is_set():
            parked.set()
            await signalled.wait()
            raise ConnectionResetError("the answer is lost")
        return answer

    monkeypatch.setattr(work, "flush", flush)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(waits)
    await parked.wait()
    await run.signal(go, 7)
    signalled.set()
    assert await run.result(timeout=SOON) == 7
    await house.check_invariants()


@pytest.mark.parametrize("seed", [1, 2])
async def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(house: House, seed: int) -> None:
    app = house.app()
    chance = random.Random(seed)
    calls: Counter[tuple[int, int]] = Counter()
    go = Signal[int]("go")

    @app.activity
    async def step(run: int, number: int) -> int:
        calls[run, number] += 1
        return number

    @app.workflow
    async def flow(run: int) -> int:
        total = sum(await asyncio.gather(step(run, 1), step(run, 2)))
        total += await go.wait()
        await sleep(timedelta(milliseconds=run))
        return total + await step(run, 3)

    client = await house.client(app)
    # With a long lease, so that nothing but the connections is at stake.
    worker = await house.worker(app, lease=timedelta(seconds=30), name="cut")
    runs = await client.start_many([flow.call(n) for n in range(60)])
    for cut in range(20):
        done = calls.total()
        await house.db.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name like 'holdfast % cut-%' and ($1 or random() < 0.5)",
            cut % 4 == 0,
        )
        for n in range(cut * 3, cut * 3 + 3):
            await runs[n].signal(go, n, key="once")
        # Two steps of each run come before its signal, one after it.
        wanted = min(done + chance.randint(1, 6), 120 + 3 * (cut + 1))
        await reached(calls, wanted)
    assert [await run.result(timeout=SOON) for run in runs] == [6 + n for n in range(60)]
    assert set(calls.values()) == {1}
    assert len(calls) == 180
    assert await house.value("select count(*) from holdfast.worker") == 1
    assert worker.settings.name == "cut"
    await house.check_invariants()


async def reached(calls: Counter[tuple[int, int]], wanted: int) -> None:
    """Waits until so many steps were called."""
    await eventually(lambda: calls.total() >= wanted, f"{wanted} steps are called")
