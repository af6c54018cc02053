"""What messages cost: statements, commits and WAL bytes, as counts and never as times."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Queue
from tests.costs.meter import Meter
from tests.house import House

NOW = timedelta(0)
SOON = timedelta(seconds=20)
COUNT = 500


async def warmed_up(house: House) -> Queue[Any]:
    """A queue of a client that has prepared its statements, and that looks below its watermarks no more."""
    queue = (await house.client(house.app())).queue("emails")
    await queue.send(0)
    await queue.send_many(range(100))
    messages = await queue.receive(batch=50, wait=SOON)
    messages, _ = await asyncio.gather(queue.receive(batch=51, wait=SOON), queue.ack(messages))
    await queue.ack(messages)
    await house.db.execute("checkpoint")
    return queue


async def test_a_message_that_is_sent_costs_what_a_start_costs(house: House) -> None:
    queue = await warmed_up(house)
    async with Meter(house) as cost:
        for number in range(100):
            await queue.send(number)
    assert cost.calls == {"start_one": 100}
    assert cost.commits == 100
    assert cost.wal <= 100 * 1_000, f"{cost.wal / 100:.0f} bytes each"


async def test_messages_that_are_sent_together_cost_a_statement(house: House) -> None:
    queue = await warmed_up(house)
    async with Meter(house) as cost:
        await queue.send_many(range(COUNT))
    assert cost.calls == {"start_plain": 1}
    assert cost.commits == 1
    assert cost.wal / COUNT <= 800, f"{cost.wal / COUNT:.0f} bytes each"


@pytest.mark.parametrize(("batch", "most"), [(1, 900), (50, 700)])
async def test_a_batch_that_is_acknowledged_with_the_next_receive_costs_a_statement_and_a_commit(
    house: House, batch: int, most: int
) -> None:
    queue = await warmed_up(house)
    count = 10 * batch if batch > 1 else 100
    await queue.send_many(range(count))
    handled = 0
    async with Meter(house) as cost:
        messages = await queue.receive(batch=batch, wait=SOON)
        while handled < count:
            handled += len(messages)
            messages, _ = await asyncio.gather(queue.receive(batch=batch, wait=NOW), queue.ack(messages))
    rounds = count // batch
    # The first receive has nothing to acknowledge; the last finds nothing, and looks below its watermark then.
    assert cost.calls["exchange_messages"] == rounds
    assert cost.calls["take_messages"] <= 2
    assert cost.statements <= rounds + 2, cost.calls
    assert cost.commits == rounds + 1
    assert cost.wal / count <= most, f"{cost.wal / count:.0f} bytes each"


@pytest.mark.parametrize(("batch", "most"), [(1, 1_000), (50, 700)])
async def test_a_batch_that_is_received_and_then_acknowledged_costs_two(house: House, batch: int, most: int) -> None:
    queue = await warmed_up(house)
    count = 10 * batch if batch > 1 else 100
    await queue.send_many(range(count))
    async with Meter(house) as cost:
        for _ in range(count // batch):
            await queue.ack(await queue.receive(batch=batch, wait=SOON))
    rounds = count // batch
    assert cost.calls == {"take_messages": rounds, "settle_messages": rounds}
    assert cost.commits == 2 * rounds
    assert cost.wal / count <= most, f"{cost.wal / count:.0f} bytes each"


async def test_who_consumes_one_by_one_acknowledges_each_with_the_receive_that_is_ahead(house: House) -> None:
    queue = await warmed_up(house)
    count = 100
    await queue.send_many(range(count))
    async with Meter(house) as cost:
        async for message in queue.consume(batch=1):
            await message.ack()
            if message.body == count - 1:
                break
    # Until it knows how long handling takes it receives nothing ahead.
    assert cost.calls["exchange_messages"] >= count - 3, cost.calls
    assert cost.statements <= count + 6, cost.calls


async def test_acknowledgements_at_the_same_time_are_one_commit(house: House) -> None:
    queue = await warmed_up(house)
    await queue.send_many(range(50))
    messages = await queue.receive(batch=50, wait=SOON)
    async with Meter(house) as cost:
        await asyncio.gather(*(message.ack() for message in messages))
    assert cost.calls == {"settle_messages": 1}
    assert cost.commits == 1
