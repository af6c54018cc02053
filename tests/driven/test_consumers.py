"""Consumers of driven runs: registered among the workers, told what to do, and quick in a long line."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Client, ConsumerState, DrivenConsumer, WorkerStatus
from holdfast.store.connect import connect
from tests.driven.task import HELLO, TASK, expire, take
from tests.house import House, eventually
from tests.scenarios.soon import SOON
from tests.store.plans import explained

LINE = f"default driven {TASK}"
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say how they stand a few times a second."""
    monkeypatch.setattr("holdfast.client.attendance.REPORT_EVERY", 0.1)
    monkeypatch.setattr("holdfast.client.driven.consumer.TICK", 0.05)


async def test_it_is_registered_among_the_workers(client: Client, house: House) -> None:
    async with client.driven.consumer(TASK, name="driver") as consumer:
        (listed,) = await client.workers.list()
        assert (listed.name, listed.lane, listed.status) == (consumer.name, LINE, WorkerStatus.ACTIVE)
        assert consumer.name.startswith("driver-")
        assert consumer.state is ConsumerState.READY
        # It is no consumer of a queue.
        assert await client.queue.list() == []
        for _ in range(2):
            await client.driven.trigger(TASK, HELLO)
        done, at_hand = await consumer.dequeue(batch_size=2)
        await done.complete()
        await house.until("select (in_hands, handled) = (1, 1) from holdfast.consumer")
        waiting = asyncio.ensure_future(consumer.dequeue(wait=SOON))
        await house.until("select state = 'polling' from holdfast.consumer")
        waiting.cancel()
        await asyncio.wait([waiting])
        await at_hand.release()
    assert await client.workers.list() == []
    row = await house.db.fetchrow("select state, in_hands, handled from holdfast.consumer")
    assert row is not None
    assert tuple(row) == ("stopped", 0, 1)
    assert str(consumer.state) == "stopped"


async def test_it_obeys_what_is_asked_of_a_worker(client: Client, house: House, other: DrivenConsumer) -> None:
    async with client.driven.consumer(TASK, name="driver") as consumer:
        waiting = asyncio.ensure_future(consumer.dequeue(wait=SOON))
        (paused,) = await client.workers.pause(consumer.name)
        assert (paused.status, paused.obeyed) == (WorkerStatus.PAUSED, True)
        # Who waits has nothing, and takes nothing of what comes.
        assert await waiting == []
        assert consumer.state is ConsumerState.SUSPENDED
        await client.driven.trigger(TASK, HELLO)
        assert await consumer.dequeue(wait=timedelta(milliseconds=50)) == []
        waiting = asyncio.ensure_future(consumer.dequeue(wait=SOON))
        (resumed,) = await client.workers.resume(consumer.name)
        assert resumed.obeyed
        (run,) = await waiting
        await run.release()
        assert not consumer.stopped
        await client.workers.stop(consumer.name, wait=timedelta(0))
        await eventually(lambda: consumer.stopped, "it is told to stop")
        assert await consumer.dequeue() == []
        await (await take(other)).complete()


async def test_one_whose_lease_is_over_is_registered_anew(
    client: Client, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lease decides nothing but whether it is believed to be there: its runs stay in hand."""
    async with client.driven.consumer(TASK) as consumer:
        triggered = await client.driven.trigger(TASK, HELLO)
        run = await take(consumer)
        await house.expire_lease(consumer.name)
        await house.until("select count(*) = 2 from holdfast.worker")
        await run.complete("kept")
        assert await triggered.result() == "kept"
    assert "is registered anew" in caplog.text


async def test_one_that_closes_while_it_waits_says_so_to_who_waits(client: Client, house: House) -> None:
    async with client.driven.consumer(TASK) as consumer:
        waiting = asyncio.ensure_future(consumer.dequeue(wait=SOON))
        await eventually(lambda: consumer.state is ConsumerState.POLLING, "it waits")
    triggered = await client.driven.trigger(TASK, HELLO)
    with pytest.raises(Exception, match="this consumer is closed"):
        await waiting
    # What had been taken for it is given back.
    async with client.driven.consumer(TASK) as another:
        run = await take(another)
        assert run.id == triggered.id
        await run.complete()


async def test_a_dequeue_does_not_walk_what_has_ended(
    client: Client, consumer: DrivenConsumer, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9: it begins at a watermark, beside the entries of 600 that are over, which an old snapshot keeps."""
    monkeypatch.setattr("holdfast.client.watermarks._SWEEP_EVERY", float("inf"))
    pin = await connect(house.dsn, application="pin")
    await pin.execute("begin isolation level repeatable read")
    await pin.fetchval("select count(*) from holdfast.task")
    await house.db.execute(
        "select holdfast.trigger($1, json_build_object('n', n)) from generate_series(1, 630) n", TASK
    )
    for _ in range(12):
        runs = await consumer.dequeue(batch_size=50)
        assert len(runs) == 50
        await asyncio.gather(*(run.complete() for run in runs))
    lower = consumer._exchange._watermarks._lower
    costs: list[int] = []
    # The first fills the caches of the catalog, whose tables are touched like any other.
    for one in (lower, lower, [await house.value("select min(created_at) from holdfast.run")] * 5):
        async with explained(house.db) as plans:
            found: Any = await house.db.fetch(
                "select * from holdfast.take_driven($1, 10, '1 minute', $2, false, '1 s', 'tests')", LINE, one
            )
        assert len(found) == 10
        costs.append(plans.touched("task_due"))
    assert costs[1] < 30
    assert costs[2] > costs[1] + 5, "nothing was pinned, so this shows nothing"
    await pin.close()


async def test_what_comes_back_below_the_watermark_is_found(
    client: Client, consumer: DrivenConsumer, house: House
) -> None:
    first = await client.driven.trigger(TASK, {"n": 1})
    run = await take(consumer)
    await (await client.driven.trigger(TASK, {"n": 2})).wake()
    await (await take(consumer)).complete()
    # As if its time had been over long ago: below what the consumer has seen.
    await expire(house, run.id)
    await house.db.execute("update holdfast.task set due_at = due_at - interval '1 hour'")
    (again,) = await consumer.dequeue()
    assert again.id == first.id
    await again.complete()
