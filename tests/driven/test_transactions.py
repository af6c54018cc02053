"""Steps in a transaction of the caller's: their effects and their outcomes are one commit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import Client, DrivenConsumer, HoldfastError, ReceiptLost, StepStatus
from holdfast.store.connect import connect
from tests.driven.task import HELLO, TASK, expire, take
from tests.house import House
from tests.scenarios.soon import SOON


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_the_effects_of_a_step_and_its_outcome_are_one_commit(
    client: Client, consumer: DrivenConsumer, house: House, level: str
) -> None:
    await house.db.execute("create table account (amount int)")
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    for end, rows in (("rollback", 0), ("commit", 1)):
        step = await run.acquire_step("book")
        assert (step.key, step.status) == ("book#1", StepStatus.EXECUTE)
        await house.db.execute(f"begin isolation level {level}")
        await house.db.execute("insert into account values (1)")
        await step.success("booked", connection=house.db)
        await house.db.execute(end)
        assert await house.value("select count(*) from account") == rows
        assert len(await house.journal(run.id)) == rows
    assert (await run.acquire_step("book")).key == "book#2"
    await house.db.execute(f"begin isolation level {level}")
    await house.db.execute("insert into account values (2)")
    await run.complete("done", connection=house.db)
    await house.db.execute("commit")
    assert await triggered.result(SOON) == "done"


async def test_a_transaction_of_one_who_is_too_late_cannot_commit_an_outcome(
    client: Client, consumer: DrivenConsumer, other: DrivenConsumer, house: House
) -> None:
    await house.db.execute("create table account (amount int)")
    await client.driven.trigger(TASK, HELLO)
    late = await take(consumer)
    step = await late.acquire_step("book")
    mine = await connect(house.dsn, application="tests")
    try:
        await mine.execute("begin isolation level repeatable read")
        await mine.execute("insert into account values (1)")
        await expire(house, late.id)
        theirs = await take(other)
        with pytest.raises(HoldfastError):
            await step.success("mine", connection=mine)
        await mine.execute("rollback")
        await mine.execute("begin")
        with pytest.raises(ReceiptLost):
            await step.success("mine", connection=mine)
        await mine.execute("rollback")
        assert await house.value("select count(*) from account") == 0
        # Once one that is in time has written, nobody takes the run before its transaction is over.
        await mine.execute("begin")
        await (await theirs.acquire_step("book")).success("theirs", connection=mine)
        await house.advance(timedelta(minutes=1))
        assert await consumer.dequeue() == []
        await mine.execute("commit")
        assert await house.journal(theirs.id) == ["book#1"]
        await theirs.complete()
    finally:
        await mine.close()
