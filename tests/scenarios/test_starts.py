"""W16: runs are started, alone, together, by key, in transactions; and each ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import KeyConflict, RunNotFound
from holdfast.store.connect import connect
from tests.house import House
from tests.scenarios.soon import SOON

MANY = 100_000


async def test_thirty_two_starts_with_one_key_from_several_clients_make_one_run_that_is_executed_once(
    house: House,
) -> None:
    app = house.app()
    executed: Counter[int] = Counter()

    @app.activity
    async def charge(order: int) -> int:
        executed[order] += 1
        return order

    @app.workflow
    async def buy(order: int) -> int:
        return await charge(order)

    clients = [await house.client(app) for _ in range(4)]
    await house.worker(app)
    runs = await asyncio.gather(*[clients[n % 4].start(buy, 7, key="order:7") for n in range(32)])
    assert len({run.id for run in runs}) == 1
    assert [run.existing for run in runs].count(False) == 1
    assert [await run.result(timeout=SOON) for run in runs] == [7] * 32
    late = await clients[0].start(buy, 7, key="order:7")
    assert (late.id, late.existing) == (runs[0].id, True)
    assert await late.result(timeout=SOON) == 7
    with pytest.raises(KeyConflict, match="another input"):
        await clients[1].start(buy, 8, key="order:7")
    assert executed == {7: 1}
    assert await house.value("select count(*) from holdfast.run") == 1
    await house.check_invariants()


async def test_a_start_in_a_transaction_exists_with_its_commit_and_never_with_its_rollback(house: House) -> None:
    app = house.app()
    executed: list[str] = []

    @app.workflow
    async def flow(word: str) -> str:
        executed.append(word)
        return word

    client = await house.client(app)
    await house.worker(app)
    await house.db.execute("create table orders (id int)")
    user = await connect(house.dsn, application="user")
    try:
        transaction = user.transaction()
        await transaction.start()
        await user.execute("insert into orders values (1)")
        gone = await client.start(flow, "rolled back", connection=user, key="k")
        many = await client.start_many([flow.call("rolled back too")], connection=user)
        await transaction.rollback()
        async with user.transaction():
            await user.execute("insert into orders values (2)")
            kept = await client.start(flow, "committed", connection=user, key="k")
            # Nobody sees it before the commit: what is started after it is executed before.
            outside = await client.start(flow, "outside")
            assert await outside.result(timeout=SOON) == "outside"
            assert executed == ["outside"]
        assert await kept.result(timeout=SOON) == "committed"
        assert not kept.existing
        for run in (gone, *many):
            with pytest.raises(RunNotFound):
                await run.result(timeout=SOON)
    finally:
        await user.close()
    assert executed == ["outside", "committed"]
    assert await house.value("select count(*) from holdfast.run") == 2
    await house.check_invariants()


async def test_a_start_that_commits_long_after_its_time_is_found(house: House) -> None:
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    client = await house.client(app)
    await house.worker(app)
    user = await connect(house.dsn, application="user")
    try:
        async with user.transaction():
            late = await client.start(job, 0, connection=user)
            # Meanwhile the worker has gone past its time, far beyond the slack of its watermark.
            began = await house.value("select clock_timestamp()")
            n = 0
            while await house.value("select clock_timestamp() - $1 < interval '600 ms'", began):
                n += 1
                assert await (await client.start(job, n)).result(timeout=SOON) == n
    finally:
        await user.close()
    assert await late.result(timeout=SOON) == 0
    await house.check_invariants()


async def test_a_run_is_started_in_plain_sql(house: House) -> None:
    app = house.app()

    @app.workflow
    async def greet(name: str, *, loud: bool = False) -> str:
        return name.upper() if loud else name

    client = await house.client(app)
    await house.worker(app)
    run = await house.value("""select holdfast.start('greet', '{"name": "ada", "loud": true}', key => 'g')""")
    assert await house.value("""select holdfast.start('greet', '{"loud": true, "name": "ada"}', key => 'g')""") == run
    assert await client.get(run, greet).result(timeout=SOON) == "ADA"
    by_client = await client.start(greet.call("ada", loud=True), key="g")
    assert (by_client.id, by_client.existing) == (run, True)
    await house.check_invariants()


async def test_a_hundred_thousand_starts_in_bulk(house: House) -> None:
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    client = await house.client(app)
    runs = await client.start_many([job.call(n) for n in range(MANY)], after=timedelta(days=1))
    assert len({run.id for run in runs}) == MANY
    assert await house.value("select count(*) from holdfast.run") == MANY
    assert await house.value("select count(*) from holdfast.task where due_at > holdfast.now()") == MANY
    await house.worker(app)
    now = await client.start(job, 1)
    assert await now.result(timeout=SOON) == 1


async def test_a_thousand_small_starts_at_once_all_end(house: House) -> None:
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    @app.workflow
    async def flow(n: int) -> int:
        return await job(n) + await job(n)

    client = await house.client(app)
    await house.worker(app)
    await house.worker(app)
    jobs, flows = await asyncio.gather(
        asyncio.gather(*[client.start(job, n) for n in range(700)]),
        asyncio.gather(*[client.start(flow, n) for n in range(300)]),
    )
    assert await asyncio.gather(*[run.result(timeout=SOON) for run in jobs]) == list(range(700))
    assert await asyncio.gather(*[run.result(timeout=SOON) for run in flows]) == [2 * n for n in range(300)]
    await house.check_invariants()
