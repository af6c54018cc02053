"""A message is a run: what people see of it where they look at runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from holdfast import Queue, RunStatus
from holdfast.client import Client
from tests.house import House

NOW = timedelta(0)
HOUR = timedelta(hours=1)


async def test_its_status_says_where_it_is(client: Client, emails: Queue[Any]) -> None:
    (sent,) = await emails.send_many(["x"])
    message = client.get(sent)
    assert await message.status() is RunStatus.READY
    (taken,) = await emails.receive(visibility=HOUR, wait=NOW)
    assert await message.status() is RunStatus.RUNNING
    await taken.release(delay=HOUR)
    assert await message.status() is RunStatus.WAITING
    await message.wake()
    assert await message.status() is RunStatus.READY
    (taken,) = await emails.receive(visibility=timedelta(milliseconds=1), wait=NOW)
    (taken,) = await emails.receive(visibility=HOUR)
    await message.pause()
    assert await message.status() is RunStatus.PAUSED
    await message.resume()
    assert await message.status() is RunStatus.RUNNING
    await taken.archive("done")
    assert await message.status() is RunStatus.SUCCEEDED
    later = await emails.send("y", after=HOUR)
    assert await client.get(later).status() is RunStatus.SCHEDULED


async def test_messages_in_flight_are_listed_among_the_runs_that_are_running(
    client: Client, emails: Queue[Any]
) -> None:
    """With the name of their consumer, where it has one."""
    await emails.send_many(range(3))
    (received,) = await emails.receive(batch=1, visibility=HOUR, wait=NOW)
    async with emails.consume(batch=1, name="mailer") as consumer:
        async for message in consumer:
            running = await client.list(status="running", lane="emails")
            assert {(one.id, one.worker) for one in running} == {(received.id, None), (message.id, consumer.name)}
            assert f"in the hands of {consumer.name}" in str(await client.why(message.id))
            assert "in the hands of somebody who has received it" in str(await client.why(received.id))
            await message.ack()
            break
    await received.ack()


async def test_it_says_why_it_stands_where_it_does(house: House, client: Client, emails: Queue[Any]) -> None:
    (sent,) = await emails.send_many(["x"])
    message = client.get(sent)
    assert "next in line; a consumer takes it: client.queue('emails').consume()" in str(await message.why())
    assert (await message.describe()).waits_for == ("a consumer of 'emails'",)
    (taken,) = await emails.receive(wait=NOW)
    await taken.dead("no such address")
    assert await message.status() is RunStatus.WAITING
    (reason,) = (await message.why()).reasons
    assert reason.kind == "dead letter"
    assert "no such address; redrive it: holdfast queue redrive emails" in str(await message.why())
    assert (await message.describe()).waits_for == ("somebody who redrives it: it is a dead letter",)
    await emails.dead_letters.redrive()
    (taken,) = await emails.receive(wait=NOW)
    await taken.release(delay=HOUR)
    assert "to be taken" in str(await message.why())
