"""Queues and their consumers pass both type checkers, strict, and each type is the one written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from holdfast import (
    BlockingClient,
    BlockingMessage,
    BlockingQueue,
    Client,
    Consumer,
    ConsumerInfo,
    ConsumerState,
    DeadLetter,
    Message,
    MessageState,
    MessageView,
    Page,
    Queue,
    QueueMetrics,
    ReceiptLost,
)


@dataclass
class Email:
    to: str


async def send_and_receive(client: Client) -> None:
    emails = client.queue("emails", Email)
    assert_type(emails, Queue[Email])
    assert_type(client.queue("plain"), Queue[Any])
    assert_type(await emails.send(Email("ada"), key="one", priority="high", headers={"a": "b"}), UUID)
    assert_type(await emails.send_many([Email("bob")], after=timedelta(seconds=1)), list[UUID])
    messages = await emails.receive(batch=5, visibility=timedelta(seconds=5), wait=timedelta(seconds=1))
    assert_type(messages, list[Message[Email]])
    message = messages[0]
    assert_type(message.id, UUID)
    assert_type(message.body, Email)
    assert_type(message.deliveries, int)
    assert_type(message.sent_at, datetime)
    await message.extend(timedelta(minutes=1))
    await message.release(delay=timedelta(seconds=1))
    await message.dead("no such address")
    await message.archive({"sent": True})
    try:
        await message.ack()
        await emails.ack(messages)
        await emails.archive(messages)
    except ReceiptLost as error:
        assert_type(error.lost, dict[UUID, str])


async def consume(client: Client) -> None:
    emails = client.queue("emails", Email)
    async with emails.consume(batch=10, concurrency=5, name="mailer") as consumer:
        assert_type(consumer, Consumer[Email])
        async for message in consumer:
            assert_type(message, Message[Email])
        assert_type(consumer.state, ConsumerState)
        assert_type(consumer.handled, int)
    assert_type(await emails.consumers(all=True), list[ConsumerInfo])


async def look_after(client: Client) -> None:
    emails = client.queue("emails", Email)
    views = await emails.peek(limit=3)
    assert_type(views, list[MessageView[Email]])
    assert_type(views[0].body, Email)
    assert_type(views[0].state, MessageState)
    assert_type(await emails.metrics(), QueueMetrics)
    assert_type((await emails.metrics()).oldest, timedelta | None)
    assert_type(await client.queue.list(), Sequence[QueueMetrics])
    page = await emails.dead_letters.list()
    assert_type(page, Page[DeadLetter[Email]])
    assert_type((await emails.dead_letters.get(page.items[0].id)).body, Email)
    assert_type(await emails.dead_letters.redrive([page.items[0].id]), int)
    assert_type(await emails.dead_letters.purge(), int)
    assert_type(await emails.purge(), int)
    await emails.configure(max_deliveries=5)
    await emails.pause()
    await emails.resume()


def use_blocking(client: BlockingClient) -> None:
    emails = client.queue("emails", Email)
    assert_type(emails, BlockingQueue[Email])
    assert_type(emails.send(Email("ada")), UUID)
    messages = emails.receive(batch=5)
    assert_type(messages, list[BlockingMessage[Email]])
    assert_type(messages[0].body, Email)
    emails.ack(messages)
    with emails.consume() as consumer:
        for message in consumer:
            assert_type(message, BlockingMessage[Email])
            message.ack()
