"""What is started too often ends at once; what counts is when it was started, not when a worker came to see it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import Retry, RunCancelled, RunFailed, RunHandle, Throttle
from tests.house import House
from tests.limits.watching import frozen
from tests.scenarios.soon import SOON

MINUTE = timedelta(minutes=1)


async def test_what_is_too_much_is_dropped_and_says_why(house: House) -> None:
    app = house.app()

    @app.activity(throttle=Throttle(2, per=MINUTE, key="customer"))
    async def remind(customer: str, number: int) -> int:
        return number

    client = await house.client(app)
    clock = await frozen(house)
    await house.worker(app)
    runs = [await client.start(remind, "a", n) for n in range(4)]
    other = await client.start(remind, "b", 7)
    assert [await run.result(timeout=SOON) for run in (*runs[:2], other)] == [0, 1, 7]
    for run in runs[2:]:
        with pytest.raises(RunCancelled, match="was cancelled: its throttle lets no more start in this time"):
            await run.result(timeout=SOON)
    await house.check_invariants()
    # Half a minute for each.
    await clock.advance(MINUTE / 2)
    late = [await client.start(remind, "a", n) for n in (4, 5)]
    assert await late[0].result(timeout=SOON) == 4
    with pytest.raises(RunCancelled):
        await late[1].result(timeout=SOON)
    await house.check_invariants()


async def test_nothing_is_dropped_because_workers_were_away(house: House) -> None:
    app = house.app()

    @app.workflow(throttle=Throttle(1, per=MINUTE))
    async def remind(number: int) -> int:
        return number

    client = await house.client(app)
    clock = await frozen(house)
    runs: list[RunHandle[int]] = []
    for number in range(4):
        runs.append(await client.start(remind, number))
        runs.append(await client.start(remind, -1))
        await clock.advance(MINUTE)
    await house.worker(app)
    await house.ended(*[run.id for run in runs])
    assert [await run.result() for run in runs[::2]] == [0, 1, 2, 3]
    statuses = [await house.value("select status from holdfast.result where run_id = $1", run.id) for run in runs]
    assert statuses == [1, 3] * 4
    await house.check_invariants()


async def test_retries_and_calls_in_workflows_are_not_throttled(house: House) -> None:
    app = house.app()
    attempts: list[int] = []

    @app.activity(throttle=Throttle(1, per=MINUTE))
    async def remind(number: int) -> int:
        attempts.append(number)
        if len(attempts) < 3:
            raise ConnectionError
        return number

    @app.workflow
    async def all_of_them() -> list[int]:
        return [await remind(n) for n in range(3)]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(remind, 7)
    await house.until("select count(*) = 1 from holdfast.journal where kind = 2")
    await house.advance(timedelta(minutes=5))
    await house.until("select count(*) = 2 from holdfast.journal where kind = 2")
    await house.advance(timedelta(minutes=5))
    assert await run.result(timeout=SOON) == 7
    assert await (await client.start(all_of_them)).result(timeout=SOON) == [0, 1, 2]
    await house.check_invariants()


async def test_what_is_retried_was_started_already(house: House) -> None:
    app = house.app()
    broken = True

    @app.activity(throttle=Throttle(1, per=timedelta(hours=1)), retry=Retry(max_attempts=1))
    async def send() -> str:
        if broken:
            raise OSError("not yet")
        return "sent"

    client = await house.client(app)
    await frozen(house)
    await house.worker(app)
    run = await client.start(send)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    broken = False
    assert await (await run.retry()).result(timeout=SOON) == "sent"


async def test_with_many_workers_exactly_as_many_begin_as_may(house: House) -> None:
    app = house.app()

    @app.activity(throttle=Throttle(5, per=timedelta(hours=1), key="customer"))
    async def remind(customer: str) -> None: ...

    client = await house.client(app)
    for _ in range(3):
        await house.worker(app)
    runs = await client.start_many([remind.call(customer) for _ in range(30) for customer in "abcd"])
    await house.ended(*[run.id for run in runs])
    rows = await house.db.fetch(
        "select r.input ->> 'customer' as customer, e.status, count(*) as count from holdfast.result e "
        "join holdfast.run r on r.id = e.run_id group by 1, 2"
    )
    counts = {(row["customer"], row["status"]): row["count"] for row in rows}
    assert counts == {(customer, status): count for customer in "abcd" for status, count in ((1, 5), (3, 25))}
    await house.check_invariants()
