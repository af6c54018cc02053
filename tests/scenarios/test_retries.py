"""W8, W9: activities that fail, take too long, or are not wanted any more."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast import ActivityFailed, ActivityTimedOut, GiveUp, Retry, RetryAfter, RunFailed, Signal, activity_info
from tests.house import House, eventually
from tests.scenarios.soon import SOON, told_to_stop

go = Signal[str]("go")
QUICK_RETRY = Retry(max_attempts=3, initial=timedelta(milliseconds=20), jitter=0.0)


class OutOfStockError(Exception):
    """An exception of the user's."""

    def __init__(self, item: str, left: int) -> None:
        self.item = item
        self.left = left
        super().__init__(item, left)


async def test_a_failing_activity_is_tried_again_by_its_policy_and_each_attempt_is_on_record(house: House) -> None:
    app = house.app()
    attempts: list[int] = []

    @app.activity(retry=Retry(max_attempts=4, initial=timedelta(milliseconds=20), factor=2.0, jitter=0.0))
    async def shaky() -> str:
        attempts.append(activity_info().attempt)
        if len(attempts) < 3:
            raise ConnectionError(f"attempt {len(attempts)}")
        return "at last"

    @app.workflow
    async def flow() -> str:
        return await shaky()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == "at last"
    assert attempts == [1, 2, 3]
    rows = await house.db.fetch(
        "select key, attempts, error::text, not_before - at as rest from holdfast.journal where run_id = $1 "
        "order by seq",
        run.id,
    )
    assert [(row["key"], row["attempts"]) for row in rows] == [("shaky#1@1", 1), ("shaky#1@2", 2), ("shaky#1", 3)]
    assert [row["rest"] for row in rows[:2]] == [timedelta(milliseconds=20), timedelta(milliseconds=40)]
    assert "attempt 1" in rows[0]["error"]
    assert "attempt 2" in rows[1]["error"]
    await house.check_invariants()


@pytest.mark.parametrize("kept", [2000, 0], ids=["from memory", "by replay"])
async def test_its_own_exception_class_comes_out_live_and_on_replay(house: House, kept: int) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    caught: list[tuple[str, int]] = []

    @app.activity(retry=QUICK_RETRY)
    async def reserve(item: str) -> None:
        calls[item] += 1
        raise OutOfStockError(item, 3)

    @app.activity(retry=Retry(give_up_on=(OutOfStockError,)))
    def at_once(item: str) -> None:
        calls[item] += 1
        raise OutOfStockError(item, 0)

    @app.workflow
    async def order() -> list[str]:
        words: list[str] = []
        for item in ("chair", "table"):
            try:
                await (reserve(item) if item == "chair" else at_once(item))
            except OutOfStockError as error:
                caught.append((error.item, error.left))
                words.append(f"no {error.item}, {error.left} left")
        words.append(await go.wait())
        return words

    client = await house.client(app)
    await house.worker(app, cached_runs=kept)
    run = await client.start(order)
    await house.parked(run.id)
    await run.signal(go, "end")
    assert await run.result(timeout=SOON) == ["no chair, 3 left", "no table, 0 left", "end"]
    assert calls == {"chair": 3, "table": 1}
    assert set(caught) == {("chair", 3), ("table", 0)}
    assert len(caught) == (2 if kept else 4)
    await house.check_invariants()


async def test_what_is_permanent_is_not_tried_again(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def gives_up() -> None:
        calls["gives up"] += 1
        raise GiveUp("for good")

    @app.activity
    async def wrong_type() -> int:
        calls["wrong type"] += 1
        return "seven"  # type: ignore[return-value]

    @app.activity(retry=Retry(retry_on=(OSError,)))
    async def not_listed() -> None:
        calls["not listed"] += 1
        raise ValueError("not listed")

    class LocalError(Exception):
        pass

    @app.activity(retry=Retry(max_attempts=1))
    async def local() -> None:
        raise LocalError("cannot be rebuilt")

    @app.workflow
    async def flow() -> list[str]:
        words: list[str] = []
        for one in (gives_up(), wrong_type(), not_listed(), local()):
            try:
                await one
            except Exception as error:
                words.append(f"{type(error).__name__}: {error}")
        return words

    client = await house.client(app)
    await house.worker(app)
    words = await (await client.start(flow)).result(timeout=SOON)
    assert words[0] == "GiveUp: for good"
    assert "wrong_type" in words[1]
    assert words[2] == "ValueError: not listed"
    assert words[3].startswith(f"{ActivityFailed.__name__}: activity 'local' failed")
    assert "LocalError: cannot be rebuilt" in words[3]
    assert calls == {"gives up": 1, "wrong type": 1, "not listed": 1}
    job = await client.start(gives_up)
    with pytest.raises(RunFailed, match="for good"):
        await job.result(timeout=SOON)
    assert calls["gives up"] == 2
    await house.check_invariants()


async def test_an_activity_says_itself_when_to_try_again(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=2, initial=timedelta(milliseconds=1)))
    async def busy() -> int:
        attempt = activity_info().attempt
        if attempt == 1:
            raise RetryAfter(timedelta(hours=3), "come back later")
        return attempt

    @app.workflow
    async def flow() -> int:
        return await busy()

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(flow), await client.start(busy)]
    await house.until("select count(*) = 2 from holdfast.journal where kind = 2")
    await house.parked(*[run.id for run in runs])
    for run in runs:
        rest = await house.value(
            "select t.due_at - j.at from holdfast.task t join holdfast.journal j on j.run_id = t.run_id "
            "where t.run_id = $1",
            run.id,
        )
        assert rest == timedelta(hours=3)
    await house.advance(timedelta(hours=3))
    assert [await run.result(timeout=SOON) for run in runs] == [2, 2]
    await house.check_invariants()


async def test_several_activities_rest_at_once_each_for_its_own_time(house: House) -> None:
    app = house.app()
    order: list[str] = []

    @app.activity
    async def shaky(name: str, hours: int) -> str:
        if activity_info().attempt == 1:
            raise RetryAfter(timedelta(hours=hours))
        order.append(name)
        return name

    @app.workflow
    async def flow() -> list[str]:
        return list(await asyncio.gather(shaky("late", 3), shaky("early", 1), shaky("middle", 2)))

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(flow)
    await house.until("select count(*) = 3 from holdfast.journal where kind = 2")
    for done in range(3):
        await house.parked(run.id)
        assert len(order) == done
        await house.advance(timedelta(hours=1))
        await house.until("select count(*) = $1 from holdfast.journal where kind = 1", done + 1)
    assert await run.result(timeout=SOON) == ["late", "early", "middle"]
    assert order == ["early", "middle", "late"]
    await house.check_invariants()


async def test_an_activity_that_outlasts_the_lease_is_not_started_twice(house: House) -> None:
    app = house.app()
    begun: Counter[str] = Counter()

    @app.activity
    async def long(name: str) -> str:
        begun[name] += 1
        await asyncio.sleep(3.0)  # longer than the lease of two seconds: the point of this test
        return name

    @app.workflow
    async def flow() -> str:
        return await long("in a workflow")

    client = await house.client(app)
    await house.worker(app, name="one")
    await house.worker(app, name="two")
    runs = [await client.start(flow), await client.start(long, "as a job")]
    assert [await run.result(timeout=SOON) for run in runs] == ["in a workflow", "as a job"]
    assert begun == {"in a workflow": 1, "as a job": 1}
    assert not await house.value("select count(*) from holdfast.worker where state = 'lost'")
    await house.check_invariants()


async def test_an_attempt_that_takes_too_long_is_cancelled_and_tried_again(house: House) -> None:
    app = house.app()
    cancelled: list[int] = []

    @app.activity(timeout=timedelta(milliseconds=100), retry=QUICK_RETRY)
    async def slow() -> int:
        attempt = activity_info().attempt
        if attempt < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(attempt)
                raise
        return attempt

    @app.activity(timeout=timedelta(milliseconds=50), retry=Retry(max_attempts=1))
    async def never() -> None:
        await asyncio.Event().wait()

    @app.workflow
    async def flow() -> str:
        attempts = await slow()
        try:
            await never()
        except ActivityTimedOut as error:
            return f"{attempts} {error}"
        return "?"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == (
        "3 activity 'never' failed: TimeoutError: took longer than 0.05 s (timeout of one attempt)"
    )
    assert cancelled == [1, 2]
    await house.check_invariants()


async def test_a_sync_attempt_that_takes_too_long_is_told_and_keeps_its_thread_until_it_returns(house: House) -> None:
    app = house.app()
    told, returned = threading.Event(), threading.Event()
    second = threading.Event()

    @app.activity(timeout=timedelta(milliseconds=100), retry=Retry(max_attempts=2, initial=timedelta(milliseconds=1)))
    def stubborn() -> str:
        info = activity_info()
        if info.attempt == 1:
            assert told_to_stop(info)
            told.set()
            assert returned.wait(20)
            return "of no use"
        second.set()
        return "second"

    @app.activity
    def other() -> str:
        return "other"

    @app.workflow
    async def flow() -> str:
        return await stubborn()

    client = await house.client(app)
    await house.worker(app, max_threads=1)
    run = await client.start(flow)
    await eventually(told.is_set, "the code is told")
    beside = await client.start(other)
    await house.held(beside.id)
    # The only thread is taken: neither the second attempt nor the other one has begun.
    assert not second.is_set()
    returned.set()
    assert await run.result(timeout=SOON) == "second"
    assert await beside.result(timeout=SOON) == "other"
    await house.check_invariants()


async def test_all_attempts_together_end_with_the_total_timeout(house: House) -> None:
    app = house.app()

    @app.activity(
        total_timeout=timedelta(milliseconds=300),
        retry=Retry(max_attempts=None, initial=timedelta(milliseconds=50), factor=1),
    )
    async def hopeless() -> None:
        raise ConnectionError("again")

    @app.workflow
    async def flow() -> str:
        try:
            await hopeless()
        except ConnectionError as error:
            return str(error)
        return "?"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == "again"
    attempts = await house.value(
        "select attempts from holdfast.journal where run_id = $1 and key = 'hopeless#1'", run.id
    )
    assert 2 <= attempts <= 7
    with pytest.raises(RunFailed, match="again"):
        await (await client.start(hopeless)).result(timeout=SOON)
    await house.check_invariants()


async def test_an_activity_knows_who_it_is_and_has_one_key_for_all_its_attempts(house: House, tmp_path: Path) -> None:
    app = house.app()
    keys: list[str] = []

    @app.activity(retry=QUICK_RETRY)
    def pay() -> str:
        info = activity_info()
        keys.append(info.idempotency_key)
        if info.attempt == 1:
            raise ConnectionError
        return f"{info.workflow} {info.name} {info.key} {info.attempt}"

    @app.workflow
    async def flow() -> list[str]:
        return [await pay(), await pay.options(key="order-7")()]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result(timeout=SOON) == ["flow pay pay#1 2", "flow pay pay:order-7#1 2"]
    assert keys == [f"{run.id}:pay#1"] * 2 + [f"{run.id}:pay:order-7#1"] * 2
    job = await client.start(pay)
    assert await job.result(timeout=SOON) == "None pay pay#1 2"
    assert keys[4:] == [f"{job.id}:pay#1"] * 2
