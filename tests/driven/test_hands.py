"""Whose a run is: one consumer has it in hand, and who is too late writes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import Client, DrivenConsumer, HoldfastError, ReceiptLost, RunEnded, RunFailed, RunStatus, StepStatus
from tests.driven.task import HELLO, TASK, expire, take
from tests.house import House, eventually
from tests.scenarios.soon import SOON


async def test_of_two_who_dequeue_at_once_each_run_goes_to_one(
    client: Client, consumer: DrivenConsumer, other: DrivenConsumer
) -> None:
    for n in range(40):
        await client.driven.trigger(TASK, {"n": n})
    done: list[int] = []

    async def work(consumer: DrivenConsumer) -> int:
        count = 0
        while runs := await consumer.dequeue(batch_size=5):
            for run in runs:
                step = await run.acquire_step(TASK)
                assert step.status is StepStatus.EXECUTE
                done.append(run.input["n"])
                await step.success(run.input["n"])
                await run.complete()
                count += 1
        return count

    counts = await asyncio.gather(work(consumer), work(other))
    assert sum(counts) == 40
    assert sorted(done) == list(range(40))


async def test_who_is_too_late_writes_nothing(
    client: Client, consumer: DrivenConsumer, other: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    late = await take(consumer)
    step = await late.acquire_step("charge")
    await expire(house, late.id)
    assert await triggered.status() is RunStatus.READY
    run = await take(other)
    assert run.id == late.id
    for write in (
        lambda: step.success("mine"),
        lambda: step.fail("mine"),
        step.retry,
        lambda: late.acquire_step("charge"),
        late.pause,
        late.release,
        lambda: late.complete("mine"),
        lambda: late.fail("mine"),
        lambda: consumer.archive(late),
    ):
        with pytest.raises(ReceiptLost, match=r"its time there was over, and second-.* has it"):
            await write()
    assert await house.journal(run.id) == []
    mine = await run.acquire_step("charge")
    assert (mine.status, mine.attempt) == (StepStatus.EXECUTE, 1)
    await mine.success("theirs")
    await run.complete("theirs")
    assert await triggered.result() == "theirs"
    for write in (lambda: step.success("mine"), lambda: late.complete("theirs")):
        with pytest.raises(RunEnded):
            await write()


async def test_a_late_receipt_is_good_as_long_as_nobody_else_has_taken_the_run(
    client: Client, consumer: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    step = await run.acquire_step("charge")
    await expire(house, run.id)
    await step.success(1)
    await run.complete(2)
    assert await triggered.result() == 2


async def test_after_it_was_given_back_nothing_is_written_with_the_old_receipt(
    client: Client, consumer: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    for give_back in ("release", "pause", "retry"):
        run = await take(consumer)
        step = await run.acquire_step(give_back)
        await (step.retry() if give_back == "retry" else getattr(run, give_back)())
        for write in (step.success, run.complete, run.release, run.pause):
            with pytest.raises(ReceiptLost, match="it was given back"):
                await write()
        await triggered.resume()
    assert await house.journal(run.id) == ["retry#1@1"]


async def test_the_heartbeat_keeps_a_run_in_hand(client: Client, house: House) -> None:
    second = timedelta(seconds=1)
    async with (
        client.driven.consumer(TASK, visibility=second) as consumer,
        client.driven.consumer(TASK, visibility=second) as other,
    ):
        triggered = await client.driven.trigger(TASK, HELLO)
        run = await take(consumer)
        taken_until = await house.value("select due_at from holdfast.task")
        await house.until("select due_at > $1::timestamptz + interval '1 second' from holdfast.task", taken_until)
        assert await other.dequeue() == []
        await run.complete("kept")
        assert await triggered.result() == "kept"


async def test_a_run_that_is_lost_says_so(client: Client, other: DrivenConsumer, house: House) -> None:
    async with client.driven.consumer(TASK, visibility=timedelta(seconds=1)) as consumer:
        await client.driven.trigger(TASK, HELLO)
        run = await take(consumer)
        await expire(house, run.id)
        theirs = await take(other)
        await eventually(lambda: run.lost, "its heartbeat finds that it is not in hand any more")
        with pytest.raises(ReceiptLost):
            await run.acquire_step("charge")
        assert consumer.runs == []
        await theirs.complete()


async def test_a_consumer_that_closes_gives_back_what_it_has(client: Client, other: DrivenConsumer) -> None:
    runs = {(await client.driven.trigger(TASK, {"n": n})).id for n in range(3)}
    async with client.driven.consumer(TASK) as consumer:
        taken = await consumer.dequeue(batch_size=3)
        assert {run.id for run in taken} == runs
        assert await other.dequeue() == []
    assert {run.id for run in await other.dequeue(batch_size=3)} == runs
    with pytest.raises(HoldfastError, match="this consumer is closed"):
        await consumer.dequeue()


async def test_one_who_is_cancelled_while_it_waits_has_taken_nothing(client: Client, consumer: DrivenConsumer) -> None:
    waiting = asyncio.create_task(consumer.dequeue(wait=SOON))
    for _ in range(20):
        await asyncio.sleep(0)
        triggered = await client.driven.trigger(TASK, HELLO)
        waiting.cancel()
        await asyncio.wait([waiting])
        run = await take(consumer) if waiting.cancelled() else waiting.result()[0]
        assert run.id == triggered.id
        await run.complete()
        waiting = asyncio.create_task(consumer.dequeue(wait=SOON))
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_one_who_waits_is_told_of_what_comes_and_of_what_is_due_soon(
    client: Client, consumer: DrivenConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.lookout._FIRST_INTERVAL", 300.0)
    monkeypatch.setattr("holdfast.client.lookout._LONGEST_INTERVAL", 300.0)
    waiting = asyncio.create_task(consumer.dequeue(wait=timedelta(minutes=5)))
    await eventually(lambda: client._parts._lines._lookout.settled, "it has looked, and listens")
    soon = await client.driven.trigger(TASK, HELLO, after=timedelta(milliseconds=200))
    async with asyncio.timeout(SOON.total_seconds()):
        (run,) = await waiting
    assert run.id == soon.id
    await run.complete()


async def test_one_that_kills_whoever_takes_it_is_given_up(
    client: Client, consumer: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    for _ in range(5):
        run = await take(consumer)
        await expire(house, run.id)
    assert await consumer.dequeue() == []
    with pytest.raises(RunFailed, match="given up after 5 who took it and did not come back"):
        await triggered.result(SOON)
    # What is recorded is progress.
    triggered = await client.driven.trigger(TASK, HELLO)
    for n in range(8):
        run = await take(consumer)
        step = await run.acquire_step("step", key=str(n))
        await step.success()
        await expire(house, run.id)
    await (await take(consumer)).complete("done")
    assert await triggered.result() == "done"


async def test_a_run_that_nobody_refers_to_any_more_is_not_kept(client: Client, house: House) -> None:
    second = timedelta(seconds=1)
    async with client.driven.consumer(TASK, visibility=second) as consumer, client.driven.consumer(TASK) as other:
        triggered = await client.driven.trigger(TASK, HELLO)
        assert len(await consumer.dequeue()) == 1
        await eventually(lambda: not consumer.runs, "the run is forgotten")
        run = await take(other)
        assert run.id == triggered.id
        await run.complete()
