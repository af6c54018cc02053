"""Q4: dead letters after the cap of deliveries, with reasons; listed, inspected, redriven, purged."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast import InvalidInput, Queue, ReceiptLost, RunNotFound
from holdfast.client import Client
from tests.house import House

NOW = timedelta(0)
MINUTE = timedelta(minutes=1)


async def bury(queue: Queue[Any], *bodies: Any) -> list[UUID]:
    """Sends messages that become dead letters; gives their ids."""
    sent = await queue.send_many(bodies)
    for message in await queue.receive(batch=100, wait=NOW):
        await message.dead(f"{message.body} is bad")
    return sent


async def test_after_the_cap_of_deliveries_a_message_becomes_a_dead_letter(house: House, emails: Queue[Any]) -> None:
    await emails.configure(max_deliveries=3)
    sent = await emails.send("x")
    last = None
    for deliveries in (1, 2, 3):
        (last,) = await emails.receive(visibility=MINUTE, wait=NOW)
        assert last.deliveries == deliveries
        await house.advance(MINUTE)
    assert await emails.receive(wait=NOW) == []
    letter = await emails.dead_letters.get(sent)
    assert (letter.body, letter.reason) == ("x", "delivered 3 times, and never acknowledged")
    assert (letter.queue, letter.deliveries, letter.priority) == ("emails", 3, "medium")
    assert last is not None
    with pytest.raises(ReceiptLost, match="is a dead letter by now"):
        await last.ack()


async def test_without_being_told_otherwise_the_cap_is_twenty(emails: Queue[Any]) -> None:
    await emails.send("x")
    for _ in range(20):
        (message,) = await emails.receive(wait=NOW)
        await message.release()
    assert await emails.receive(wait=NOW) == []
    found = await emails.metrics()
    assert (found.dead, found.max_deliveries) == (1, 20)


async def test_those_behind_dead_letters_are_received_by_who_waits(emails: Queue[Any]) -> None:
    await emails.configure(max_deliveries=1)
    await emails.send_many(range(3))
    for message in await emails.receive(batch=3, wait=NOW):
        await message.release()
    await emails.send("behind them")
    (message,) = await emails.receive(batch=1, wait=timedelta(seconds=20))
    assert message.body == "behind them"


async def test_they_are_listed_and_inspected(emails: Queue[Any], client: Client) -> None:
    sent = await bury(emails, *range(5))
    await bury(client.queue("others"), "not here")
    page = await emails.dead_letters.list(limit=2)
    found = [*page]
    while page.next is not None:
        page = await emails.dead_letters.list(limit=2, after=page.next)
        found += page
    assert [letter.id for letter in found] == sent
    assert [letter.reason for letter in found] == [f"{number} is bad" for number in range(5)]
    assert (await emails.dead_letters.get(str(sent[3]))).body == 3
    with pytest.raises(RunNotFound):
        await emails.dead_letters.get(uuid4())
    with pytest.raises(InvalidInput, match="no id of a message"):
        await emails.dead_letters.get("7")
    with pytest.raises(InvalidInput, match="limit is 0"):
        await emails.dead_letters.list(limit=0)
    with pytest.raises(InvalidInput, match="the end of no page"):
        await emails.dead_letters.list(after="nowhere")


async def test_what_is_redriven_is_received_again_and_counts_anew(house: House, emails: Queue[Any]) -> None:
    await emails.configure(max_deliveries=2)
    sent = await bury(emails, "a", "b", "c")
    assert await emails.dead_letters.redrive([sent[1]]) == 1
    for deliveries in (1, 2):
        (message,) = await emails.receive(visibility=MINUTE, wait=NOW)
        assert (message.id, message.deliveries) == (sent[1], deliveries)
        await house.advance(MINUTE)
    # And becomes one again, after as many deliveries as any other.
    assert await emails.receive(wait=NOW) == []
    assert (await emails.metrics()).dead == 3
    assert await emails.dead_letters.redrive() == 3
    assert sorted(message.body for message in await emails.receive(wait=NOW)) == ["a", "b", "c"]
    assert await emails.dead_letters.redrive() == 0
    assert await emails.dead_letters.redrive([]) == 0


async def test_of_two_who_redrive_at_once_each_message_is_redriven_by_one(
    emails: Queue[Any], others: Queue[Any]
) -> None:
    await bury(emails, *range(50))
    counts = await asyncio.gather(*(queue.dead_letters.redrive() for queue in (emails, others) for _ in range(3)))
    assert sum(counts) == 50
    messages = await emails.receive(batch=100, wait=NOW)
    assert sorted(message.body for message in messages) == list(range(50))
    assert {message.deliveries for message in messages} == {1}


async def test_an_old_receipt_is_not_good_again_after_a_redrive(emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send("x")
    (message,) = await emails.receive(wait=NOW)
    await message.dead("bad")
    await others.dead_letters.redrive()
    (again,) = await others.receive(wait=NOW)
    assert again.receipt.hold > message.receipt.hold
    await again.ack()


async def test_what_is_purged_is_gone(house: House, emails: Queue[Any]) -> None:
    sent = await bury(emails, *range(4))
    await emails.send("lives")
    assert await emails.dead_letters.purge([sent[0]]) == 1
    assert await emails.dead_letters.purge() == 3
    assert await emails.dead_letters.purge() == 0
    assert len(await emails.dead_letters.list()) == 0
    assert await house.value("select count(*) from holdfast.run") == 1


async def test_one_that_was_sent_with_a_key_keeps_it_when_it_is_purged(house: House, emails: Queue[Any]) -> None:
    sent = await emails.send("x", key="k")
    (message,) = await emails.receive(wait=NOW)
    await message.dead("bad")
    await emails.dead_letters.purge()
    assert await emails.send("x", key="k") == sent
    assert await house.value("select status from holdfast.runs") == "cancelled"


async def test_a_dead_letter_that_is_paused_can_be_redriven(client: Client, emails: Queue[Any]) -> None:
    (sent,) = await bury(emails, "x")
    await client.get(sent).pause()
    assert await emails.dead_letters.redrive() == 1
    assert [message.id for message in await emails.receive(wait=NOW)] == [sent]


@pytest.mark.parametrize("most", [0, -1, True, "3", 10_000_000])
async def test_a_cap_that_cannot_be(emails: Queue[Any], most: Any) -> None:
    with pytest.raises(InvalidInput, match="max_deliveries is"):
        await emails.configure(max_deliveries=most)
