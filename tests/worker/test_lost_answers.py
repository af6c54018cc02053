"""An answer of the database that does not arrive: what it said has happened all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Retry
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
        assert sorted(await house.journal(run.id)) == sorted(
            ["step#1", "step#2", "step#2@1", "step#3", "timer#1"] if calls["shaky"] == 4 else await house.journal(run.id)
        )
    assert await job.result(timeout=SOON) == "job"
    assert sent
    assert calls == {"a": 2, "shaky": 3, "b": 2, "job": 1}
    await house.check_invariants()


async def test_a_park_whose_answer_was_lost_does_not_lose_the_signal_that_came_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast import Signal

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
