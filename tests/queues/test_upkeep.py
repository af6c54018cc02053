"""Looking after queues: peek, purge, pause, metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Queue, QueueMetrics, ReceiptLost
from holdfast.client import Client
from tests.house import House, until

NOW = timedelta(0)
SOON = timedelta(seconds=20)
HOUR = timedelta(hours=1)


async def test_to_peek_takes_nothing(client: Client, emails: Queue[Any]) -> None:
    await emails.send("in flight")
    await emails.receive(visibility=HOUR, wait=NOW)
    await emails.send("later", after=2 * HOUR)
    paused = await emails.send("paused", after=3 * HOUR)
    await client.get(paused).pause()
    await emails.send("ready", headers={"a": "b"})
    await emails.send("urgent", priority="critical")
    views = await emails.peek()
    assert [(view.body, view.state) for view in views] == [
        ("urgent", "ready"),
        ("ready", "ready"),
        ("in flight", "in flight"),
        ("later", "delayed"),
        ("paused", "paused"),
    ]
    assert dict(views[1].headers) == {"a": "b"}
    assert [view.body for view in await emails.peek(limit=2)] == ["urgent", "ready"]
    assert sorted(message.body for message in await emails.receive(wait=NOW)) == ["ready", "urgent"]


async def test_what_is_purged_is_gone_also_for_who_has_it_in_hands(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    await emails.send_many(range(10))
    await emails.send("later", after=HOUR)
    await emails.send("with a key", key="k")
    messages = await others.receive(batch=4, wait=NOW)
    await messages[0].dead("bad")
    assert await emails.purge() == 11
    with pytest.raises(ReceiptLost) as refused:
        await others.ack(messages[1:])
    assert set(refused.value.lost.values()) == {"gone"}
    assert await emails.receive(wait=NOW) == []
    assert (await emails.metrics()).dead == 1
    assert await emails.purge() == 0
    # The key holds, and the dead letter is there; nothing else is.
    assert await house.value("select count(*) from holdfast.run") == 2


async def test_consumers_go_on_while_a_queue_is_purged_again_and_again(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    stop = asyncio.Event()
    why: set[str] = set()

    async def consume(queue: Queue[Any]) -> None:
        while not stop.is_set():
            messages = await queue.receive(batch=5, wait=timedelta(milliseconds=50))
            try:
                await queue.ack(messages)
            except ReceiptLost as error:
                why.update(error.lost.values())

    async with asyncio.TaskGroup() as tasks:
        for queue in (emails, others):
            tasks.create_task(consume(queue))
        for _ in range(10):
            await others.send_many(range(100))
            await emails.purge()
        stop.set()
    assert why <= {"gone"}
    await emails.purge()
    assert await house.value("select count(*) from holdfast.run") == 0


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send_many(range(2))
    (message,) = await emails.receive(batch=1, wait=NOW)
    await emails.pause()
    await emails.pause()
    assert await others.receive(wait=timedelta(milliseconds=200)) == []
    # What is in hands can be settled, and what is sent waits.
    await message.ack()
    await emails.send(2)
    waiting = asyncio.ensure_future(others.receive(wait=SOON))
    assert (await emails.metrics()).paused
    await emails.resume()
    assert [one.body for one in await waiting] == [1, 2]
    assert not (await emails.metrics()).paused


async def test_metrics_say_how_a_queue_stands(house: House, emails: Queue[Any]) -> None:
    assert await emails.metrics() == QueueMetrics(
        queue="emails",
        depth=0,
        delayed=0,
        in_flight=0,
        dead=0,
        oldest=None,
        rate=0.0,
        consumers=0,
        paused=False,
        max_deliveries=20,
    )
    await emails.send_many(range(6))
    messages = await emails.receive(batch=3, visibility=HOUR, wait=NOW)
    await messages[0].dead("bad")
    await messages[1].release(delay=HOUR)
    await emails.send("later", after=2 * HOUR)
    await house.advance(timedelta(minutes=1))
    found = await emails.metrics()
    assert (found.depth, found.delayed, found.in_flight, found.dead) == (3, 2, 1, 1)
    assert found.oldest is not None
    assert timedelta(minutes=1) <= found.oldest < timedelta(minutes=2)


async def test_the_rate_is_that_of_the_consumers(
    house: House, emails: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.attendance.REPORT_EVERY", 0.1)
    await emails.send_many(range(20))
    async with emails.consume(visibility=timedelta(seconds=1)) as consumer:
        async for message in consumer:
            await message.ack()
            if message.body == 10:
                await house.until("select handled > 0 from holdfast.consumer")
                assert (await emails.metrics()).consumers == 1
            if message.body == 19:
                break

    assert await house.value("select handled from holdfast.consumer") == 20


async def test_all_queues_are_listed(client: Client) -> None:
    await client.queue("b").send(1)
    await client.queue("a").send(1)
    await client.queue("paused").pause()
    await client.start_by_name("no queue of ours", lane="zebra")
    async with client.queue("consumed").consume() as consumer:
        waiting = asyncio.ensure_future(anext(aiter(consumer)))

        async def all_are_there() -> bool:
            return len(await client.queue.list()) == 4

        await until(all_are_there, "four queues")
        found = [(one.queue, one.depth) for one in await client.queue.list()]
        assert found == [("a", 1), ("b", 1), ("consumed", 0), ("paused", 0)]
        waiting.cancel()
        await asyncio.wait([waiting])
