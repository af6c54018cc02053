"""Consumers in this process: one message after the other, more ahead of time, heartbeats while a handler runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Consumer, ConsumerState, InvalidInput, Message, Queue
from holdfast.client import Client
from holdfast.store.connect import connect
from tests.house import House, eventually

NOW = timedelta(0)
SECOND = timedelta(seconds=1)
SOON = timedelta(seconds=20)


@pytest.fixture
async def consumer(emails: Queue[Any]) -> AsyncIterator[Consumer[Any]]:
    """With a visibility timeout that is over soon."""
    async with emails.consume(batch=3, visibility=SECOND) as consumer:
        yield consumer


async def test_it_gives_out_every_message_in_order(emails: Queue[Any], consumer: Consumer[Any]) -> None:
    await emails.send_many(range(20))
    found: list[int] = []
    async for message in consumer:
        found.append(message.body)
        await message.ack()
        if len(found) == 20:
            break
    assert found == list(range(20))
    assert consumer.handled == 20


async def test_it_waits_for_what_comes(emails: Queue[Any], others: Queue[Any], consumer: Consumer[Any]) -> None:
    messages = aiter(consumer)
    first = asyncio.ensure_future(anext(messages))
    await eventually(lambda: consumer.state is ConsumerState.POLLING, "it waits")
    await others.send("x")
    message = await first
    assert consumer.state is ConsumerState.READY
    await message.ack()


async def test_heartbeats_extend_what_is_handled_and_what_stands_in_line(
    house: House, emails: Queue[Any], others: Queue[Any], consumer: Consumer[Any]
) -> None:
    await emails.send_many(range(3))
    async for message in consumer:
        if message.body == 0:
            began = time.monotonic()
            while time.monotonic() < began + 2.5:
                assert await others.receive(wait=timedelta(milliseconds=100)) == []
        assert message.deliveries == 1
        await message.ack()
        if message.body == 2:
            break


@pytest.mark.parametrize("concurrency", [1, 5])
async def test_what_is_forgotten_comes_back(house: House, emails: Queue[Any], concurrency: int) -> None:
    """To any consumer, and so to this one, too."""
    sent = await emails.send_many(range(2))
    async with emails.consume(visibility=SECOND, concurrency=concurrency) as consumer:
        messages = aiter(consumer)
        message = await anext(messages)
        message = await anext(messages)
        gc.collect()
        await house.until("select hold = 2 from holdfast.task where run_id = $1", sent[0])
        assert (message.body, message.id) == (1, sent[1])
        assert await house.value("select hold from holdfast.task where run_id = $1", sent[1]) == 1
        await message.ack()


async def test_with_a_concurrency_so_many_are_in_hands_at_once(emails: Queue[Any]) -> None:
    await emails.send_many(range(30))
    now: set[int] = set()
    most = 0
    done = 0

    async def handle(message: Message[Any]) -> None:
        nonlocal most, done
        now.add(message.body)
        most = max(most, len(now))
        await asyncio.sleep(0.01)
        now.discard(message.body)
        done += 1
        await message.ack()

    async with emails.consume(concurrency=7) as consumer, asyncio.TaskGroup() as tasks:
        async for message in consumer:
            tasks.create_task(handle(message))
            if message.body == 29:
                break
    assert (done, most) == (30, 7)
    assert consumer.handled == 30


async def test_what_was_not_given_out_is_given_back_and_was_not_delivered(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    await emails.send_many(range(10))
    async with emails.consume(batch=5, visibility=timedelta(hours=1)) as consumer:
        async for message in consumer:
            await message.ack()
            if message.body == 1:
                break
    messages: list[Message[Any]] = []
    while len(messages) < 8:
        messages += await others.receive(wait=SOON)
    assert sorted(message.body for message in messages) == list(range(2, 10))
    assert {message.deliveries for message in messages} == {1}


async def test_it_ends_with_the_task_that_consumes(house: House, emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send_many(range(5))
    begun = asyncio.Event()

    async def consume() -> None:
        async with emails.consume(visibility=timedelta(hours=1)) as consumer:
            async for _ in consumer:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await house.until("select count(*) = 4 from holdfast.task where flags & 8 = 0")
    assert sorted(message.body for message in await others.receive(wait=SOON)) == [1, 2, 3, 4]
    assert await house.value("select state from holdfast.consumer") == "stopped"


async def test_a_loop_that_is_left_without_a_word_ends_it_too(house: House, emails: Queue[Any]) -> None:
    await emails.send("x")
    async for message in emails.consume():
        await message.ack()
        break
    await house.until("select state = 'stopped' from holdfast.consumer")


async def test_little_is_received_ahead_where_handling_takes_long(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    """What could not be begun within about a second is left to others."""
    await emails.send_many(range(4))
    async with emails.consume(batch=1) as consumer:
        async for message in consumer:
            if message.body < 2:
                await asyncio.sleep(1.2)  # as long as its handler takes
                await message.ack()
                continue
            assert [one.body for one in await others.receive(wait=SOON)] == [3]
            break


async def test_where_handling_is_quick_more_is_received_meanwhile(house: House, emails: Queue[Any]) -> None:
    await emails.send_many(range(4))
    async with emails.consume(batch=1) as consumer:
        async for message in consumer:
            if message.body == 2:
                await house.until("select count(*) = 2 from holdfast.task where flags & 8 <> 0")
                break
            await message.ack()


async def test_it_is_registered_among_the_workers(house: House, emails: Queue[Any]) -> None:
    await emails.send("x")
    async with emails.consume(visibility=SECOND, name="mailer") as consumer:
        async for message in consumer:
            (info,) = await emails.consumers()
            assert (info.name, info.queue, info.state) == (consumer.name, "emails", "ready")
            assert info.name.startswith("mailer-")
            row = await house.db.fetchrow("select * from holdfast.worker")
            assert row is not None
            assert (row["name"], row["lane"], row["state"]) == (consumer.name, "emails queue", "active")
            await message.archive()
            break
    assert await emails.consumers() == []
    (info,) = await emails.consumers(all=True)
    assert (info.state, info.in_hands, info.handled) == (ConsumerState.STOPPED, 0, 1)
    assert await house.value("select state from holdfast.worker") == "left"


async def test_heartbeats_say_what_it_does(house: House, emails: Queue[Any], consumer: Consumer[Any]) -> None:
    await emails.send_many(range(2))
    async for message in consumer:
        await message.ack()
        if message.body == 1:
            break
    await house.until("select state = 'stopped' from holdfast.consumer")
    async with emails.consume(visibility=SECOND) as another:
        waiting = asyncio.ensure_future(anext(aiter(another)))
        await house.until("select count(*) = 1 from holdfast.consumer where state = 'polling'")
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_it_obeys_what_is_asked_of_a_worker(
    house: House, emails: Queue[Any], others: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.attendance.REPORT_EVERY", 0.1)
    command = "update holdfast.worker set command = $1"
    consumer = emails.consume(batch=1, visibility=SECOND)
    found: list[Any] = []

    async def consume() -> None:
        async with consumer:
            async for message in consumer:
                found.append(message.body)
                await message.ack()

    task = asyncio.create_task(consume())
    await others.send(1)
    await eventually(lambda: found == [1], "it consumes")
    await house.db.execute(command, "pause")
    await house.until("select state = 'suspended' from holdfast.consumer")
    await others.send(2)
    (message,) = await others.receive(wait=SOON)
    assert (message.body, message.deliveries) == (2, 1)
    await message.release()
    await house.db.execute(command, None)
    await eventually(lambda: found == [1, 2], "it goes on")
    await house.db.execute(command, "stop")
    await task
    assert await house.value("select state from holdfast.consumer") == "stopped"


async def test_one_whose_lease_is_over_is_registered_anew(
    house: House, emails: Queue[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("holdfast.client.attendance.REPORT_EVERY", 0.1)
    await emails.send("x")
    async with emails.consume(visibility=SECOND) as consumer:
        async for message in consumer:
            await house.expire_lease(consumer.name)
            await house.until("select count(*) = 2 from holdfast.worker")
            await message.ack()
            break
    assert "is registered anew" in caplog.text


async def test_what_is_lost_to_others_is_not_given_out(
    house: House, emails: Queue[Any], others: Queue[Any], caplog: pytest.LogCaptureFixture
) -> None:
    await emails.send_many(range(3))
    async with emails.consume(visibility=SECOND) as consumer:
        messages = aiter(consumer)
        message = await anext(messages)
        assert message.body == 0
        # Others have what stands in line here, as if no heartbeat had come through for long.
        await house.db.execute("update holdfast.task set due_at = clock_timestamp() where run_id <> $1", message.id)
        taken = await others.receive(visibility=timedelta(hours=1), wait=SOON)
        assert len(taken) == 2
        await eventually(lambda: "has lost 2 messages" in caplog.text, "it has noticed")
        await message.ack()
        await others.send("next")
        assert (await anext(messages)).body == "next"


async def test_an_acknowledgement_in_a_transaction_is_not_disturbed_by_heartbeats(
    house: House, emails: Queue[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await emails.send_many(range(2))
    connection = await connect(house.dsn, application="user")
    async with emails.consume(visibility=SECOND) as consumer:
        async for message in consumer:
            async with connection.transaction():
                await message.ack(connection=connection)
                await asyncio.sleep(0.8)  # heartbeats go on meanwhile
            if message.body == 1:
                break
    await connection.close()
    assert await house.value("select count(*) from holdfast.task") == 0
    assert caplog.text == ""


async def test_what_cannot_be_consumed_so(client: Client, emails: Queue[Any]) -> None:
    for options in ({"batch": 0}, {"visibility": NOW}, {"wait": -SECOND}, {"concurrency": 0}, {"name": ""}):
        with pytest.raises(InvalidInput):
            emails.consume(**options)  # pyright: ignore[reportArgumentType]
    consumer = emails.consume()
    aiter(consumer)
    with pytest.raises(InvalidInput, match="iterated over once"):
        aiter(consumer)
