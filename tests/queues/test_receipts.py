"""Q2, Q3: what is not settled in time comes back; and a receipt is good until somebody else has the message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Message, Queue, ReceiptLost, RunStatus
from holdfast.client import Client
from holdfast.core.queue import Receipt
from holdfast.store import queues as store
from holdfast.store import taking
from holdfast.store.queues import Settlement, Settling
from tests.house import House
from tests.store.ground import Ground

NOW = timedelta(0)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def test_a_message_that_is_not_settled_comes_back_by_itself_and_counts_its_deliveries(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    sent = await emails.send("x")
    for deliveries in (1, 2, 3):
        (message,) = await others.receive(visibility=MINUTE, wait=NOW)
        assert (message.id, message.deliveries) == (sent, deliveries)
        assert await emails.receive(wait=NOW) == []
        await house.advance(MINUTE)


async def test_who_extends_in_time_keeps_it(house: House, emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send("x")
    (message,) = await emails.receive(visibility=MINUTE, wait=NOW)
    for _ in range(3):
        await house.advance(MINUTE / 2)
        await message.extend(MINUTE)
    assert await others.receive(wait=NOW) == []
    # From now, and not from when it would have ended: it can be made shorter, too.
    await message.extend(timedelta(seconds=10))
    await house.advance(MINUTE / 2)
    (again,) = await others.receive(wait=NOW)
    assert again.deliveries == 2
    with pytest.raises(ReceiptLost, match="received by somebody else"):
        await message.extend(MINUTE)


WAYS: dict[str, Callable[[Message[Any]], Awaitable[None]]] = {
    "ack": lambda message: message.ack(),
    "archive": lambda message: message.archive(),
    "release": lambda message: message.release(),
    "dead": lambda message: message.dead("bad"),
}


@pytest.mark.parametrize("how", WAYS)
async def test_whoever_is_too_late_is_refused_and_told_so(
    house: House, emails: Queue[Any], others: Queue[Any], how: str
) -> None:
    sent = await emails.send("x")
    (late,) = await emails.receive(visibility=MINUTE, wait=NOW)
    await house.advance(MINUTE)
    (holder,) = await others.receive(visibility=MINUTE, wait=NOW)
    with pytest.raises(ReceiptLost, match="has been received by somebody else since") as refused:
        await WAYS[how](late)
    assert refused.value.lost == {sent: "taken"}
    assert (refused.value.run_id, refused.value.queue) == (sent, "emails")
    # Nothing was done to it: who has it can settle it, and then it is gone for the late one, too.
    await holder.ack()
    with pytest.raises(ReceiptLost, match="is gone") as refused:
        await WAYS[how](late)
    assert refused.value.lost == {sent: "gone"}


async def test_a_late_acknowledgement_counts_where_nobody_else_has_received_the_message(
    house: House, emails: Queue[Any], others: Queue[Any]
) -> None:
    await emails.send("x")
    (message,) = await emails.receive(visibility=MINUTE, wait=NOW)
    await house.advance(HOUR)
    await message.ack()
    assert await others.receive(wait=NOW) == []


async def test_of_many_only_the_late_ones_are_refused(house: House, emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send_many(range(5))
    messages = await emails.receive(visibility=MINUTE, wait=NOW)
    await emails.receive(wait=NOW)
    await house.advance(MINUTE)
    stolen = await others.receive(batch=2, visibility=HOUR, wait=NOW)
    with pytest.raises(ReceiptLost, match="and 1 more of these") as refused:
        await emails.ack(messages)
    assert refused.value.lost == dict.fromkeys((message.id for message in stolen), "taken")
    assert await house.value("select count(*) from holdfast.task") == 2


async def test_what_is_released_is_due_after_the_delay(house: House, emails: Queue[Any], others: Queue[Any]) -> None:
    await emails.send("x")
    (message,) = await emails.receive(visibility=HOUR, wait=NOW)
    await message.release(delay=MINUTE)
    assert await others.receive(wait=NOW) == []
    await house.advance(MINUTE)
    (message,) = await others.receive(wait=NOW)
    assert message.deliveries == 2
    await message.release()
    assert [one.deliveries for one in await emails.receive(wait=NOW)] == [3]


async def test_a_dead_letter_is_received_by_nobody(house: House, emails: Queue[Any]) -> None:
    sent = await emails.send("x")
    (message,) = await emails.receive(wait=NOW)
    await message.dead("it cannot be read")
    await house.advance(HOUR)
    assert await emails.receive(wait=NOW) == []
    row = await house.db.fetchrow("select * from holdfast.dead_letter")
    assert row is not None
    assert (row["run_id"], row["lane"], row["reason"], row["deliveries"]) == (
        sent,
        "emails queue",
        "it cannot be read",
        1,
    )


async def test_a_message_that_is_cancelled_is_gone_for_who_has_it(client: Client, emails: Queue[Any]) -> None:
    sent = await emails.send_many(["waits", "in hands", "dead"])
    await client.get(sent[0]).cancel()
    messages = await emails.receive(wait=NOW)
    await messages[1].dead("bad")
    assert [await client.get(one).cancel() for one in sent[1:]] == ["cancelled", "cancelled"]
    with pytest.raises(ReceiptLost, match="purged or cancelled"):
        await messages[0].ack()
    assert {await client.get(one).status() for one in sent} == {RunStatus.CANCELLED}


async def test_a_message_can_be_paused_as_any_run(house: House, client: Client, emails: Queue[Any]) -> None:
    waiting, in_hands = await emails.send_many(["waits", "in hands"])
    assert await client.get(waiting).pause() == "done"
    (message,) = await emails.receive(visibility=MINUTE, wait=NOW)
    assert await client.get(in_hands).pause() == "done"
    await message.release()
    await house.advance(HOUR)
    assert await emails.receive(wait=NOW) == []
    for run in (waiting, in_hands):
        await client.get(run).resume()
    assert len(await emails.receive(visibility=MINUTE, wait=NOW)) == 2
    # Acknowledged, or dead, it is not paused any more.
    for run in (waiting, in_hands):
        await client.get(run).pause()
    await house.check_invariants()


async def test_what_is_paused_in_somebodys_hands_can_be_extended_or_released_for_later(
    house: House, client: Client, emails: Queue[Any]
) -> None:
    sent = await emails.send_many(["extend", "release", "both"])
    messages = await emails.receive(visibility=MINUTE, wait=NOW)
    for run in sent:
        await client.get(run).pause()
    await messages[0].extend(HOUR)
    await messages[1].release(delay=HOUR)
    await messages[2].extend(HOUR)
    await messages[2].release()
    for run in sent:
        await client.get(run).resume()
    # It holds from then, not from when they are resumed.
    await house.advance(2 * MINUTE)
    assert [message.body for message in await emails.receive(wait=NOW)] == ["both"]
    await house.advance(HOUR)
    assert len(await emails.receive(wait=NOW)) == 3


async def test_what_is_paused_in_somebodys_hands_can_be_settled(
    house: House, client: Client, emails: Queue[Any]
) -> None:
    sent = await emails.send_many(["ack", "archive", "dead"])
    messages = await emails.receive(wait=NOW)
    for run in sent:
        await client.get(run).pause()
    await messages[0].ack()
    await messages[1].archive()
    await messages[2].dead("bad")
    assert await house.value("select count(*) from holdfast.pause") == 0
    await house.check_invariants()


# ---- what the database says to receipts that no client would send


async def receipt_of(ground: Ground, **options: Any) -> Receipt:
    """The receipt of a message that was sent and received."""
    await ground.start(name="q queue", lane="q queue", kind=3, **options)
    return (await take(ground)).taken[0].receipt


async def take(ground: Ground, line: str = "q queue") -> taking.Intake:
    asking = taking.Asking(10, MINUTE, [taking.EVER] * 5, sweep=False, hands=None)
    return await taking.take(ground.session, line, asking, driven=False)


@pytest.fixture
async def ground(house: House) -> Any:
    async with Ground(house.dsn, house.db) as ground:
        yield ground


@pytest.mark.parametrize("how", [*Settling])
async def test_a_receipt_is_of_one_delivery_of_one_message_in_one_queue(ground: Ground, how: Settling) -> None:
    run, hold = await receipt_of(ground)

    async def settle(lane: str, receipt: Receipt) -> dict[Any, Any]:
        return await store.settle(ground.session, lane, [Settlement(receipt, how, MINUTE, '"x"')])

    assert await settle("other queue", Receipt(run, hold)) == {run: "gone"}
    assert await settle("q queue", Receipt(run, hold - 1)) == {run: "taken"}
    assert await settle("q queue", Receipt(run, hold + 1)) == {run: "taken"}
    assert await settle("q queue", Receipt(run, hold)) == {}
    again = await settle("q queue", Receipt(run, hold))
    expected = {Settling.EXTEND: {}, Settling.RELEASE: {run: "released"}, Settling.DEAD: {run: "dead"}}
    assert again == expected.get(how, {run: "gone"})


async def test_one_call_settles_in_every_way(ground: Ground) -> None:
    for number in range(len(Settling)):
        await ground.start(name="q queue", lane="q queue", kind=3, input=str(number))
    messages = (await take(ground)).taken
    settlements = [
        Settlement(message.receipt, how, HOUR, '"x"') for message, how in zip(messages, Settling, strict=True)
    ]
    stale = Settlement(Receipt(messages[0].receipt.run_id, 7), Settling.EXTEND, HOUR)
    assert await store.settle(ground.session, "q queue", settlements) == {}
    assert await store.settle(ground.session, "q queue", [stale]) == {stale.receipt.run_id: "gone"}
    runs = {how: message.receipt.run_id for message, how in zip(messages, Settling, strict=True)}
    assert await ground.value("select array_agg(run_id) from holdfast.result") == [runs[Settling.ARCHIVE]]
    assert await ground.value("select array_agg(run_id) from holdfast.dead_letter") == [runs[Settling.DEAD]]
    in_hands = "select array_agg(run_id) from holdfast.task where flags & 8 <> 0"
    assert await ground.value(in_hands) == [runs[Settling.EXTEND]]
    assert await ground.value("select count(*) from holdfast.task") == 3


async def test_who_was_cancelled_while_it_acknowledged_may_do_it_again(
    house: House, emails: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await emails.send("x")
    (message,) = await emails.receive(visibility=MINUTE, wait=NOW)
    under_way = asyncio.Event()

    async def hangs(*_: object) -> dict[Any, Any]:
        under_way.set()
        await asyncio.Event().wait()
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(message._settler._exchange, "settle", hangs)
        acknowledging = asyncio.ensure_future(message.ack())
        await under_way.wait()
        acknowledging.cancel()
        await asyncio.gather(acknowledging, return_exceptions=True)
    await message.ack()
    assert not await house.value("select count(*) from holdfast.task")
