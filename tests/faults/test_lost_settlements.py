"""Rule 5 for queues: the answer to a settlement is lost, and it is sent again: it is done once, and not refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Message, ReceiptLost
from tests.faults.proxy import Proxy
from tests.house import House

NOW = timedelta(0)
SOON = timedelta(seconds=20)

WAYS: dict[str, Callable[[Message[Any]], Awaitable[None]]] = {
    "ack": lambda message: message.ack(),
    "archive": lambda message: message.archive("done"),
    "release": lambda message: message.release(delay=timedelta(hours=1)),
    "extend": lambda message: message.extend(timedelta(hours=1)),
    "dead": lambda message: message.dead("bad"),
}


def first(place: int, _rows: int) -> bool:
    return place == 0


@pytest.mark.parametrize("way", WAYS)
async def test_the_answer_to_a_settlement(house: House, far: House, proxy: Proxy, way: str) -> None:
    queue = (await far.client(far.app())).queue("emails")
    sent = await queue.send("x")
    (message,) = await queue.receive(visibility=timedelta(hours=1), wait=NOW)
    loss = proxy.lose("holdfast.settle_messages(", first)
    await WAYS[way](message)
    assert loss.lost == 1
    expected = {
        "ack": (0, 0, 0),
        "archive": (0, 1, 0),
        "release": (1, 0, 0),
        "extend": (1, 0, 0),
        "dead": (1, 0, 1),
    }
    tables = ("task", "result", "dead_letter")
    found = tuple([await house.value(f"select count(*) from holdfast.{table}") for table in tables])
    assert found == expected[way]
    if way == "release":
        assert await house.value("select flags & 8 = 0 from holdfast.task where run_id = $1", sent)
    await house.check_invariants()


async def test_whoever_cannot_know_is_not_told_that_it_is_done(house: House, far: House, proxy: Proxy) -> None:
    """The visibility timeout has passed before the second answer: somebody else may have settled the message."""
    queue = (await far.client(far.app())).queue("emails")
    await queue.send("x")
    (message,) = await queue.receive(visibility=timedelta(milliseconds=1), wait=NOW)
    proxy.lose("holdfast.settle_messages(", first)
    with pytest.raises(ReceiptLost, match="is gone"):
        await message.ack()
    assert await house.value("select count(*) from holdfast.task") == 0


async def test_the_answer_to_a_receive(house: House, far: House, proxy: Proxy) -> None:
    """What was taken and never arrived comes back at the end of its visibility timeout."""
    queue = (await far.client(far.app())).queue("emails")
    await queue.send_many(range(3))
    loss = proxy.lose("holdfast.take_in_hand(", first)
    messages: list[Message[Any]] = []
    while len(messages) < 3:
        messages += await queue.receive(visibility=timedelta(seconds=1), wait=SOON)
    assert loss.lost == 1
    assert sorted(message.body for message in messages) == [0, 1, 2]
    assert {message.deliveries for message in messages} == {2}
    await queue.ack(messages)
    await house.check_invariants()


async def test_answers_to_receives_and_settlements_in_one(house: House, far: House, proxy: Proxy) -> None:
    queue = (await far.client(far.app())).queue("emails")
    await queue.send_many(range(40))
    proxy.lose("holdfast.settle_messages(", lambda place, _rows: place % 2 == 0)
    handled: set[int] = set()
    messages = await queue.receive(batch=5, visibility=timedelta(seconds=2), wait=SOON)
    while len(handled) < 40 or messages:
        handled.update(message.body for message in messages)
        # Both travel together.
        more, answer = await asyncio.gather(
            queue.receive(batch=5, visibility=timedelta(seconds=2), wait=SOON if len(handled) < 40 else NOW),
            queue.ack(messages),
            return_exceptions=True,
        )
        assert answer is None or isinstance(answer, ReceiptLost)
        assert not isinstance(more, BaseException)
        messages = more
    await house.until("select count(*) = 0 from holdfast.task")
    await house.check_invariants()
