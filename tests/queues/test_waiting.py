"""Receives that wait: what comes is found through hints, and by looking anyway; one loop looks for all of a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast import HoldfastError, Queue
from holdfast.client import Client
from holdfast.store.connect import connect
from tests.house import House, eventually, until

NOW = timedelta(0)
SOON = timedelta(seconds=20)
HOUR = timedelta(hours=1)


def exchange_of(queue: Queue[Any]) -> Any:
    return queue._exchange


async def resting(*queues: Queue[Any]) -> None:
    """Returns when whoever receives from these has found nothing and rests."""
    await eventually(
        lambda: all(len(exchange_of(one)._resting) == exchange_of(one).waiting > 0 for one in queues), "they rest"
    )


@pytest.mark.parametrize("hints", [True, False])
async def test_a_receive_that_waits_gets_what_is_sent_meanwhile(house: House, hints: bool, emails: Queue[Any]) -> None:
    async with house.app().client(hints=hints) as client:
        waiting = asyncio.ensure_future(client.queue("emails").receive(wait=SOON))
        await resting(client.queue("emails"))
        await emails.send("x")
        (message,) = await waiting
        assert (message.body, message.deliveries) == ("x", 1)
        await message.ack()


async def test_a_receive_that_waits_in_vain_gives_nothing(house: House, emails: Queue[Any]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await emails.receive(wait=timedelta(milliseconds=200)) == []
    assert 0.2 <= loop.time() - began < 10


async def test_what_becomes_due_is_received_when_it_is(house: House, emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send("x", after=timedelta(seconds=3))
    (first,) = await emails.receive(visibility=timedelta(milliseconds=500), wait=SOON)
    # Nobody settles it: it comes back, and nobody has to say so.
    (second,) = await others.receive(wait=SOON)
    assert [first.deliveries, second.deliveries] == [1, 2]
    late = await house.value(
        "select extract(epoch from first_claim_at - r.created_at) - 3 from holdfast.task t"
        " join holdfast.run r on r.id = t.run_id"
    )
    assert 0 <= late < 0.5


async def test_what_commits_late_is_received(house: House, emails: Queue[Any]) -> None:
    connection = await connect(house.dsn, application="user")
    transaction = connection.transaction()
    await transaction.start()
    await emails.send("late", connection=connection)
    waiting = asyncio.ensure_future(emails.receive(wait=SOON))
    # The watermark moves on beyond it.
    for number in range(3):
        await asyncio.sleep(0.2)  # until it is beyond the slack
        await emails.send(number)
        waiting = asyncio.ensure_future(emails.receive(wait=SOON)) if waiting.done() else waiting
    await transaction.commit()
    found: list[Any] = []
    while "late" not in found:
        found += [message.body for message in await waiting]
        waiting = asyncio.ensure_future(emails.receive(wait=SOON))
    waiting.cancel()
    await connection.close()


async def test_what_is_released_is_received_by_who_waits(emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send("x")
    (message,) = await emails.receive(wait=NOW)
    waiting = [asyncio.ensure_future(queue.receive(wait=SOON)) for queue in (emails, others)]
    await resting(emails, others)
    await message.release()
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [one.deliveries for one in done.pop().result()] == [2]
    for one in pending:
        one.cancel()


async def test_one_message_goes_to_one_of_many_who_wait(emails: Queue[Any]) -> None:
    waiting = [asyncio.ensure_future(emails.receive(wait=timedelta(seconds=1))) for _ in range(10)]
    await resting(emails)
    await emails.send("x")
    received = await asyncio.gather(*waiting)
    assert sorted(len(messages) for messages in received) == [0] * 9 + [1]


async def test_who_waits_together_is_served_together(house: House, emails: Queue[Any]) -> None:
    await emails.send_many(range(10))
    received = await asyncio.gather(*(emails.receive(batch=3, wait=NOW) for _ in range(4)))
    assert [[message.body for message in messages] for messages in received] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


@pytest.mark.parametrize("moment", ["before it is sent", "while it is under way", "while it rests"])
async def test_a_receive_that_is_cancelled_leaves_nothing_behind(
    house: House, emails: Queue[Any], others: Queue[Any], moment: str
) -> None:
    blocker = await connect(house.dsn, application="user")
    transaction = blocker.transaction()
    if moment == "while it is under way":
        await emails.send("x")
        await transaction.start()
        await blocker.execute("lock table holdfast.task in access exclusive mode")
    receive = asyncio.ensure_future(emails.receive(visibility=HOUR, wait=SOON))
    await asyncio.sleep(0)
    if moment == "while it is under way":
        await house.until("select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock'")
    elif moment == "while it rests":
        await resting(emails)
    receive.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receive
    if moment == "while it is under way":
        await transaction.rollback()
    else:
        await emails.send("x")
    (message,) = await others.receive(wait=SOON)
    assert message.deliveries == 1
    await blocker.close()


async def test_what_arrives_just_when_its_receiver_is_cancelled_is_given_back(
    emails: Queue[Any], others: Queue[Any]
) -> None:
    await emails.send("x")
    receive = asyncio.ensure_future(emails.receive(visibility=HOUR, wait=SOON))
    exchange = exchange_of(emails)
    deliver = exchange._deliver

    def deliver_and_cancel(*arguments: Any, **options: Any) -> None:
        deliver(*arguments, **options)
        # In the turn of the loop in which it gets its answer, and before it can look at it.
        receive.cancel()

    exchange._deliver = deliver_and_cancel
    with pytest.raises(asyncio.CancelledError):
        await receive
    (message,) = await others.receive(wait=SOON)
    assert message.deliveries == 1


async def test_a_client_that_closes_ends_waits_and_settles_what_was_asked(house: House, others: Queue[Any]) -> None:
    await others.send_many(range(2))
    async with house.app().client() as client:
        queue = client.queue("emails")
        one, two = await queue.receive(wait=NOW)
        settled = [asyncio.ensure_future(one.ack()), asyncio.ensure_future(two.ack())]
        waiting = asyncio.ensure_future(client.queue("empty").receive(wait=SOON))
        await resting(client.queue("empty"))
    await asyncio.gather(*settled)
    with pytest.raises(HoldfastError, match="this client is closed"):
        await waiting
    with pytest.raises(HoldfastError, match="this client is closed"):
        await queue.receive(wait=NOW)
    assert await house.value("select count(*) from holdfast.task") == 0


async def looks(house: House) -> Callable[[], Any]:
    """How often queues were asked, so far."""
    await house.db.execute("create extension if not exists pg_stat_statements")

    async def count() -> int:
        return int(
            await house.value(
                "select coalesce(sum(calls), 0)::int from pg_stat_statements where"
                " (query like '%take_in_hand%' or query like '%bool_or(now.due_at%')"
                " and query not like '%pg_stat_statements%'"
                " and dbid = (select oid from pg_database where datname = current_database())"
            )
        )

    return count


async def test_a_hundred_who_wait_cost_one_look_a_second(house: House, client: Client) -> None:
    queues = [client.queue(f"queue-{number}") for number in range(10)]
    waiting = [asyncio.ensure_future(queue.receive(wait=SOON)) for queue in queues for _ in range(10)]
    await resting(*queues)
    count = await looks(house)
    await eventually(lambda: client._parts._lines._lookout._interval >= 1.0, "it looks as seldom as it ever does")
    before, began = await count(), await house.value("select clock_timestamp()")

    async def looked() -> bool:
        return bool(await count() >= before + 3)

    await until(looked, "it has looked three times")
    seconds = (await house.value("select clock_timestamp()") - began).total_seconds()
    assert seconds >= 1.5, "it looks once a second"
    for one in waiting:
        one.cancel()


async def test_a_queue_that_cannot_be_read_says_so_to_who_waits(house: House, emails: Queue[Any]) -> None:
    waiting = asyncio.ensure_future(emails.receive(wait=SOON))
    await resting(emails)
    await house.db.execute("alter table holdfast.queue rename to another")
    with pytest.raises(HoldfastError, match="schema is missing or not complete"):
        await waiting
    await house.db.execute("alter table holdfast.another rename to queue")
