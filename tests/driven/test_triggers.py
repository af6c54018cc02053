"""Workflows that are driven by hand are created and triggered, from Python and from SQL."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from holdfast import (
    Client,
    DrivenConsumer,
    InvalidInput,
    Key,
    KeyConflict,
    KeyTaken,
    RunNotFound,
    RunStatus,
    UnknownWorkflow,
    Unstorable,
)
from tests.driven.task import HELLO, TASK, take
from tests.house import House


async def test_creating_twice_is_creating_once(client: Client) -> None:
    assert await client.driven.create_workflow("another") is True
    assert await client.driven.create_workflow("another") is False
    assert await client.driven.workflows() == ["another", TASK]


async def test_a_trigger_has_the_options_of_a_start(client: Client, consumer: DrivenConsumer, house: House) -> None:
    first = await client.driven.trigger(TASK, {"n": 1}, key="k", priority="low")
    again = await client.driven.trigger(TASK, {"n": 1}, key="k", priority="low")
    assert (again.id, again.existing, first.existing) == (first.id, True, False)
    with pytest.raises(KeyConflict):
        await client.driven.trigger(TASK, {"n": 2}, key="k")
    with pytest.raises(KeyTaken):
        await client.driven.trigger(TASK, {"n": 1}, key=Key("k", taken="reject"))
    later = await client.driven.trigger(TASK, {"n": 3}, after=timedelta(hours=1))
    high = await client.driven.trigger(TASK, {"n": 4}, priority="critical")
    assert [run.id for run in await consumer.dequeue(batch_size=9)] == [high.id, first.id]
    assert await later.status() is RunStatus.SCHEDULED
    transaction = house.db.transaction()
    await transaction.start()
    gone = await client.driven.trigger(TASK, {"n": 5}, connection=house.db)
    await transaction.rollback()
    with pytest.raises(RunNotFound):
        await gone.status()
    for run in consumer.runs:
        await run.complete()


async def test_what_is_not_there_or_cannot_be_used_is_refused(client: Client, house: House) -> None:
    with pytest.raises(UnknownWorkflow, match="there is no workflow 'proces_task' that is driven by hand"):
        await client.driven.trigger("proces_task", HELLO)
    with pytest.raises(UnknownWorkflow):
        async with client.driven.consumer("proces_task"):
            pass
    assert await house.value("select count(*) from holdfast.run") == 0
    for name in ("", "a@b", "x" * 201):
        with pytest.raises(InvalidInput):
            await client.driven.create_workflow(name)
    options: list[dict[str, Any]] = [
        {"name": ""},
        {"lane": "a b"},
        {"visibility": timedelta(milliseconds=10)},
        {"visibility": timedelta(days=2)},
    ]
    for option in options:
        with pytest.raises(InvalidInput, match="a consumer of 'process_task' cannot be made"):
            client.driven.consumer(TASK, **option)
    async with client.driven.consumer(TASK) as consumer:
        for batch_size, wait in ((0, timedelta(0)), (1001, timedelta(0)), (1, timedelta(seconds=-1))):
            with pytest.raises(InvalidInput):
                await consumer.dequeue(batch_size=batch_size, wait=wait)
        await client.driven.trigger(TASK, HELLO)
        run = await take(consumer)
        with pytest.raises(InvalidInput, match="current_time is"):
            await run.acquire_step("a", current_time=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake
        for name, key in (("", None), ("a@1", None), ("a", ""), ("a", "x" * 501)):
            with pytest.raises(InvalidInput):
                await run.acquire_step(name, key=key)
        step = await run.acquire_step("a")
        with pytest.raises(InvalidInput):
            await step.retry(after=timedelta(seconds=-1))
        with pytest.raises(Unstorable):
            await step.success("x" * 200_000)
        with pytest.raises(Unstorable):
            await step.success(object())
        with pytest.raises(InvalidInput):
            await run.release(after=timedelta(seconds=-1))
        await step.success("small")
        await run.complete()


async def test_from_sql(client: Client, consumer: DrivenConsumer, house: House) -> None:
    assert await house.value("select holdfast.create_workflow('from-sql')") is True
    assert await house.value("select holdfast.create_workflow('from-sql')") is False
    run_id = await house.value('select holdfast.trigger($1, $2, tags => \'{"a": "b"}\')', TASK, json.dumps(HELLO))
    run = await take(consumer)
    assert (run.id, run.input, run.tags) == (run_id, HELLO, {"a": "b"})
    await run.complete()
    with pytest.raises(asyncpg.PostgresError) as caught:
        await house.value("select holdfast.trigger('no-such')")
    assert caught.value.sqlstate == "HF022"
    assert "holdfast.create_workflow" in caught.value.as_dict()["hint"]
    with pytest.raises(asyncpg.PostgresError, match="lane 'a b' is not") as caught:
        await house.value("select holdfast.trigger($1, lane => 'a b')", TASK)
    assert caught.value.sqlstate == "HF007"
