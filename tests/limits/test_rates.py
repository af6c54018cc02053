"""Invariant 9: how many runs begin in a time, for each key; by the database's clock, whatever the number of workers."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta

from holdfast import Limit, Rate, Retry, RunStatus
from tests.house import House
from tests.scenarios.soon import SOON

MINUTE = timedelta(minutes=1)


async def begun(house: House, count: int) -> None:
    """Waits until exactly so many have been executed, and the others stand in line."""
    await house.until("select count(*) = $1 from holdfast.result", count)
    await house.until("select count(*) = (select count(*) from holdfast.task) from holdfast.permit_wait")
    assert await house.value("select count(*) from holdfast.result") == count


async def test_after_a_burst_they_begin_one_by_one(house: House) -> None:
    app = house.app()

    @app.activity(rate=Rate(60, per=MINUTE, burst=3))
    async def call(number: int) -> int:
        return number

    client = await house.client(app)
    await house.db.execute(
        "create table frozen (at timestamptz); insert into frozen values (clock_timestamp());"
        "create or replace function holdfast.now() returns timestamptz language sql volatile parallel safe "
        "as $$ select at from public.frozen $$"
    )
    await house.worker(app)
    runs = [await client.start(call, n) for n in range(9)]
    await begun(house, 3)
    await house.check_invariants()
    assert await runs[5].status() is RunStatus.WAITING
    for expected in (4, 5):
        await house.db.execute("update frozen set at = at + interval '1 second'")
        await begun(house, expected)
    await house.db.execute("update frozen set at = at + interval '999 milliseconds'")
    await begun(house, 5)
    await house.db.execute("update frozen set at = at + interval '1 millisecond'")
    await begun(house, 6)
    # The burst comes back, and no more than that.
    await house.db.execute("update frozen set at = at + interval '1 hour'")
    await begun(house, 9)
    assert [await run.result(timeout=SOON) for run in runs] == list(range(9))
    more = [await client.start(call, n) for n in range(4)]
    await begun(house, 9)
    await house.db.execute("update frozen set at = at + interval '1 hour'")
    await begun(house, 12)
    await house.db.execute("update frozen set at = at + interval '1 second'")
    assert [await run.result(timeout=SOON) for run in more] == list(range(4))
    await house.check_invariants()


async def test_no_span_has_more_than_the_rate_of_any_key_with_many_workers(house: House) -> None:
    app = house.app()
    interval, burst = timedelta(milliseconds=25), 4

    @app.activity(rate=Rate(40, per=timedelta(seconds=1), burst=burst, key="customer"))
    async def call(customer: str, number: int) -> int:
        return number

    client = await house.client(app)
    for _ in range(3):
        await house.worker(app, parallelism_factor=5.0)
    runs = await client.start_many([call.call(one, n) for n in range(40) for one in "abc"])
    for number, run in enumerate(runs):
        assert await run.result(timeout=SOON) == number // 3
    rows = await house.db.fetch(
        "select r.input ->> 'customer' as customer, e.first_claim_at as at from holdfast.result e "
        "join holdfast.run r on r.id = e.run_id order by 2"
    )
    assert Counter(row["customer"] for row in rows) == {"a": 40, "b": 40, "c": 40}
    for customer in "abc":
        times = [row["at"] for row in rows if row["customer"] == customer]
        for (n, first), (m, last) in itertools.combinations(enumerate(times), 2):
            assert m - n + 1 <= burst + (last - first) / interval + 1e-6
        # And they did not wait for longer than they had to: within a poll of the pace.
        assert times[-1] - times[0] < interval * (40 - burst) + timedelta(seconds=2)
    await house.check_invariants()


async def test_each_attempt_counts(house: House) -> None:
    app = house.app()

    @app.activity(rate=Rate(1, per=timedelta(hours=1)), retry=Retry(initial=timedelta(milliseconds=1)))
    async def call() -> None:
        raise ConnectionError

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(call)
    await house.until("select exists (select from holdfast.journal where kind = 2)")
    await house.until("select exists (select from holdfast.permit_wait)")
    await house.advance(timedelta(hours=1))
    await house.until("select count(*) = 2 from holdfast.journal where kind = 2")
    await house.until("select exists (select from holdfast.permit_wait)")
    (reason,) = (await client.why(run.id)).reasons
    assert reason.kind == "limit"
    assert reason.text.startswith("waits for rate 'call'; next in line: ")
    assert reason.until is not None
    await house.check_invariants()


async def test_a_rate_and_a_limit_hold_together(house: House) -> None:
    app = house.app()

    @app.workflow(concurrency=Limit(2, per="customer"), rate=Rate(3, per=timedelta(hours=1), burst=3))
    async def flow(customer: str) -> str:
        return customer

    client = await house.client(app)
    await house.worker(app)
    runs = [await client.start(flow, one) for one in "aaabbb"]
    await begun(house, 3)
    await house.advance(timedelta(hours=1))
    await begun(house, 6)
    assert [await run.result(timeout=SOON) for run in runs] == list("aaabbb")
    await house.check_invariants()
