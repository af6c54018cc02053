"""Q6: runs are driven by hand: acquire, execute or skip, success, failure, retry later, pause, resume, complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from holdfast import (
    ActivityFailed,
    Client,
    DrivenConsumer,
    Effect,
    InvalidInput,
    RunEnded,
    RunFailed,
    RunStatus,
    StepEnded,
    StepNotDue,
    StepStatus,
)
from holdfast.core.failure import Failure
from tests.driven.task import HELLO, TASK, take
from tests.house import House


async def test_from_the_trigger_to_the_result(client: Client, consumer: DrivenConsumer, house: House) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    assert await triggered.status() is RunStatus.READY
    assert await house.value("select count(*) from holdfast.journal") == 0
    run = await take(consumer)
    assert (run.id, run.input, run.workflow) == (triggered.id, HELLO, TASK)
    assert await triggered.status() is RunStatus.RUNNING
    step = await run.acquire_step(TASK, current_time=datetime.now(UTC))
    assert (step.status, step.key, step.attempt, step.value) == (StepStatus.EXECUTE, f"{TASK}#1", 1, None)
    await step.success({"greeting": run.input["payload"] + "!"})
    assert step.value == {"greeting": "Hello!"}
    await run.complete(step.value)
    assert await triggered.result() == {"greeting": "Hello!"}
    assert await client.driven.get(str(run.id)).status() is RunStatus.SUCCEEDED
    assert await consumer.archive(run) is False
    assert await consumer.dequeue() == []


async def test_a_step_that_has_an_outcome_is_skipped_with_it(client: Client, consumer: DrivenConsumer) -> None:
    await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    await (await run.acquire_step("fetch")).success([1, 2])
    await (await run.acquire_step("fetch")).success([3])
    await (await run.acquire_step("charge", key="order-17")).fail(ValueError("no money"))
    assert (await run.acquire_step("charge", key="order-17")).status is StepStatus.SKIPPED
    await run.release()
    again = await take(consumer)
    assert again.id == run.id
    first, second, third = [await again.acquire_step("fetch") for _ in range(3)]
    assert [(one.key, one.status) for one in (first, second, third)] == [
        ("fetch#1", StepStatus.SKIPPED),
        ("fetch#2", StepStatus.SKIPPED),
        ("fetch#3", StepStatus.EXECUTE),
    ]
    assert (first.value, second.value) == ([1, 2], [3])
    # Without an outcome it is the same step when it is asked for again.
    assert (await again.acquire_step("fetch")).key == "fetch#3"
    charge = await again.acquire_step("charge", key="order-17")
    assert (charge.key, charge.status) == ("charge:order-17#1", StepStatus.SKIPPED)
    with pytest.raises(ActivityFailed, match="no money"):
        _ = charge.value
    assert charge.error is not None
    assert charge.error.type_name == "builtins:ValueError"
    for verb in (charge.success, charge.fail, first.success):
        with pytest.raises(StepEnded, match="has an outcome already"):
            await verb("x")
    with pytest.raises(StepEnded):
        await first.retry()
    await again.complete()
    assert await client.get(run.id).result() is None


async def test_a_step_is_tried_again_later_from_the_database(
    client: Client, consumer: DrivenConsumer, other: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    await (await run.acquire_step("fetch")).success("page")
    step = await run.acquire_step("charge")
    await step.retry(after=timedelta(minutes=1), error=ConnectionError("the bank is away"))
    assert (run.over, consumer.runs) == (True, [])
    assert await triggered.status() is RunStatus.WAITING
    assert await other.dequeue() == []
    assert "tries charge#1 again" in str(await triggered.why())
    assert "the bank is away" in str(await triggered.why())
    described = await triggered.describe()
    (failed,) = described.journal[1].failed
    assert isinstance(failed.failure, Failure)
    assert failed.failure.message == "the bank is away"
    assert described.waits_for[0].startswith("retry of charge#1 at ")
    await house.advance(timedelta(minutes=1))
    again = await take(other)
    assert (await again.acquire_step("fetch")).value == "page"
    with pytest.raises(StepNotDue, match=r"charge#1 of run .* is to be tried again at"):
        await again.acquire_step("charge", current_time=datetime.now(UTC))
    step = await again.acquire_step("charge", current_time=datetime.now(UTC) + timedelta(minutes=2))
    assert (step.status, step.attempt) == (StepStatus.EXECUTE, 2)
    # Woken by somebody, it is there before its time, and may be executed.
    await step.retry(after=timedelta(hours=1))
    assert await triggered.wake() is Effect.DONE
    third = await (await take(consumer)).acquire_step("charge")
    assert (third.status, third.attempt) == (StepStatus.EXECUTE, 3)
    await third.success(3)
    await consumer.runs[0].complete("paid")
    assert await triggered.result() == "paid"
    assert await house.journal(run.id) == ["fetch#1", "charge#1@1", "charge#1@2", "charge#1"]


async def test_a_run_is_paused_until_it_is_resumed(client: Client, consumer: DrivenConsumer, house: House) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    await run.pause("waits for\napproval")
    assert await triggered.status() is RunStatus.PAUSED
    await house.advance(timedelta(days=365))
    assert await consumer.dequeue() == []
    assert "who gave it back says: waits for approval" in str(await triggered.why())
    assert await triggered.resume() is Effect.DONE
    run = await take(consumer)
    await run.pause("until tomorrow", resume_after=timedelta(days=1))
    assert await triggered.status() is RunStatus.WAITING
    assert "until tomorrow" in str(await triggered.why())
    assert await consumer.dequeue() == []
    await house.advance(timedelta(days=1))
    await (await take(consumer)).complete()


async def test_a_run_fails_and_is_retried_from_its_last_good_step(client: Client, consumer: DrivenConsumer) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    await (await run.acquire_step("fetch")).success("page")
    error = ValueError("no such article")
    await (await run.acquire_step("charge")).fail(error)
    await run.fail(error)
    with pytest.raises(RunFailed, match="no such article") as caught:
        await triggered.result()
    assert isinstance(caught.value.__cause__, ValueError)
    retried = await triggered.retry()
    assert await retried.status() is RunStatus.READY
    again = await take(consumer)
    assert again.id == retried.id
    assert (await again.acquire_step("fetch")).value == "page"
    assert (await again.acquire_step("charge")).status is StepStatus.EXECUTE
    rewound = await retried.rewind("fetch#1")
    with pytest.raises(RunEnded):
        await again.complete("too late")
    anew = await take(consumer)
    assert anew.id == rewound.id
    assert (await anew.acquire_step("fetch")).status is StepStatus.EXECUTE
    await anew.complete(1)
    assert await triggered.result() == 1


async def test_archive_ends_what_was_not_ended(client: Client, consumer: DrivenConsumer) -> None:
    runs = [await client.driven.trigger(TASK, {"n": n}) for n in range(3)]
    one, two, three = await consumer.dequeue(batch_size=10)
    assert await consumer.archive(one) is True
    assert await consumer.archive(two.id) is True
    await three.fail("no")
    assert await consumer.archive(three) is False
    assert [await run.status() for run in runs] == [RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, RunStatus.FAILED]
    with pytest.raises(InvalidInput, match="is not in the hands of first"):
        await consumer.archive(uuid4())
