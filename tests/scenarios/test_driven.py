"""Q6: runs are driven by hand: acquire, execute or skip, success, failure, retry later, pause, resume, complete."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from holdfast import (
    ActivityFailed,
    Cancellation,
    Client,
    DrivenConsumer,
    DrivenRun,
    Effect,
    HoldfastError,
    InvalidInput,
    Key,
    KeyConflict,
    KeyTaken,
    ReceiptLost,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunHandle,
    RunNotFound,
    RunPaused,
    RunStatus,
    RunTimedOut,
    StepEnded,
    StepNotDue,
    StepStatus,
    UnknownWorkflow,
    Unstorable,
)
from holdfast.core.failure import Failure
from holdfast.store.connect import connect
from tests.house import House, eventually
from tests.scenarios.soon import SOON

TASK = "process_task"
HELLO = {"id": 1, "payload": "Hello"}


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """A client with the workflow created; the invariants hold when the test is over."""
    client = await house.client(house.app())
    await client.driven.create_workflow(TASK)
    yield client
    await house.check_invariants()


@pytest.fixture
async def consumer(client: Client) -> AsyncIterator[DrivenConsumer]:
    async with client.driven.consumer(TASK, name="first") as consumer:
        yield consumer


@pytest.fixture
async def other(client: Client) -> AsyncIterator[DrivenConsumer]:
    async with client.driven.consumer(TASK, name="second") as consumer:
        yield consumer


async def take(consumer: DrivenConsumer) -> DrivenRun:
    (run,) = await consumer.dequeue(wait=SOON)
    return run


async def look(house: House, query: str, *arguments: object) -> Any:
    """A value from a connection of its own, for tasks that look at the same time."""
    connection = await connect(house.dsn, application="tests")
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def expire(house: House, run: UUID) -> None:
    """As if the one that has the run in hand had sent no heartbeat for the time of its visibility."""
    await look(house, "update holdfast.task set due_at = holdfast.now() where run_id = $1 and flags & 1 = 0", run)


# ---- the way of a run


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


# ---- whose it is


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
    monkeypatch.setattr("holdfast.client.driven.consumer._POLL", timedelta(minutes=5))
    waiting = asyncio.create_task(consumer.dequeue(wait=timedelta(minutes=5)))
    await eventually(lambda: client._parts._ear.listening, "it listens")
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


# ---- what others do to it


async def test_a_cancel_ends_it_at_once_and_who_has_it_is_refused(client: Client, consumer: DrivenConsumer) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    step = await run.acquire_step("charge")
    assert await triggered.cancel() is Cancellation.CANCELLED
    for write in (step.success, run.complete, run.release):
        with pytest.raises(RunEnded):
            await write()
    with pytest.raises(RunCancelled):
        await triggered.result()


async def test_a_pause_from_outside_lets_what_runs_be_recorded_and_nothing_new_begin(
    client: Client, consumer: DrivenConsumer, house: House
) -> None:
    triggered = await client.driven.trigger(TASK, HELLO)
    run = await take(consumer)
    step = await run.acquire_step("charge")
    assert await triggered.pause() is Effect.DONE
    await step.success("late, and recorded")
    with pytest.raises(RunPaused):
        await run.acquire_step("next")
    await run.release()
    assert await triggered.status() is RunStatus.PAUSED
    await house.advance(timedelta(days=1))
    assert await consumer.dequeue() == []
    assert await triggered.resume() is Effect.DONE
    again = await take(consumer)
    assert (await again.acquire_step("charge")).value == "late, and recorded"
    # Resumed while it is still in hand, it stays there.
    assert await triggered.pause() is Effect.DONE
    assert await triggered.resume() is Effect.DONE
    assert await consumer.dequeue() == []
    assert await triggered.wake() is Effect.NOTHING
    await again.complete()


async def test_a_timeout_ends_it_when_it_is_looked_for(client: Client, consumer: DrivenConsumer, house: House) -> None:
    triggered = await client.driven.trigger(TASK, HELLO, timeout=timedelta(seconds=10))
    run = await take(consumer)
    assert run.deadline is not None
    assert await house.value("select due_at <= deadline from holdfast.task")
    await house.advance(timedelta(seconds=11))
    assert await consumer.dequeue() == []
    with pytest.raises(RunTimedOut):
        await triggered.result(SOON)
    with pytest.raises(RunEnded):
        await run.complete("too late")


async def test_it_is_seen_like_any_run(client: Client, consumer: DrivenConsumer) -> None:
    triggered = await client.driven.trigger(TASK, HELLO, tags={"a": "b"}, lane="mail", headers={"trace": "x"})
    assert await consumer.dequeue() == []  # another lane
    assert "next in line; a consumer takes it" in str(await triggered.why())
    (ready,) = await client.list(status="ready", lane="mail", name=TASK, tags={"a": "b"})
    assert (ready.id, ready.lane) == (triggered.id, "mail")
    async with client.driven.consumer(TASK, name="mailer", lane="mail") as mailer:
        run = await take(mailer)
        assert (run.tags, run.headers, run.lane, run.priority) == ({"a": "b"}, {"trace": "x"}, "mail", "medium")
        (running,) = await client.list(status="running", lane="mail")
        assert (running.id, running.worker) == (run.id, mailer.name)
        assert f"in the hands of {mailer.name}" in str(await triggered.why())
        await (await run.acquire_step("fetch")).success(1)
        described = await triggered.describe()
        assert [(step.key, step.kind, step.output) for step in described.journal] == [("fetch#1", "activity", 1)]
        assert described.input == HELLO
        await run.complete(2)
    (ended,) = await client.list(status="succeeded", lane="mail")
    assert ended.id == triggered.id
    exported = await triggered.export()
    assert exported.name == TASK


async def test_workers_take_none_of_it(client: Client, house: House) -> None:
    app = house.app()

    @app.workflow(name=TASK)
    async def same_name(id: int, payload: str) -> str:
        raise AssertionError("it is driven by hand")

    @app.workflow
    async def mark() -> str:
        return "the worker has looked"

    triggered = await client.driven.trigger(TASK, HELLO)
    await house.worker(app)
    theirs = await house.client(app)
    assert await (await theirs.start(mark)).result(SOON) == "the worker has looked"
    assert await triggered.status() is RunStatus.READY
    with pytest.raises(InvalidInput, match="is workflow 'process_task' of this app, whose workers execute it"):
        await theirs.driven.create_workflow(TASK)


# ---- starts


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


# ---- in a transaction of the caller's


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


# ---- all at once


async def test_whatever_consumers_do_and_suffer_each_step_has_one_outcome_and_each_run_one_end(
    client: Client, house: House
) -> None:
    chance = Random(7)
    runs = [await client.driven.trigger(TASK, {"n": n}) for n in range(60)]
    done: Counter[tuple[UUID, str]] = Counter()
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(consume(client, house, f"consumer-{number}", chance, done))
        group.create_task(disturb(house, runs, chance))
    assert set(done.values()) == {1}
    for run in runs:
        values = await house.value(
            "select sum((output #>> '{}')::int) from holdfast.journal where run_id = $1 and kind = 1", run.id
        )
        assert await run.result(SOON) == values
        assert [key for key in await house.journal(run.id) if "@" not in key] == ["fetch#1", "charge#1", "send#1"]


OPEN = "select count(*) > 0 from holdfast.task"


async def consume(client: Client, house: House, name: str, chance: Random, done: Counter[tuple[UUID, str]]) -> None:
    async with client.driven.consumer(TASK, name=name, visibility=timedelta(seconds=1)) as consumer:
        while await look(house, OPEN):
            for run in await consumer.dequeue(batch_size=3, wait=timedelta(milliseconds=20)):
                with suppress(ReceiptLost, RunEnded):
                    try:
                        await drive(house, run, chance, done)
                    except RunPaused:
                        await run.release()
                    except ZeroDivisionError:
                        await expire(house, run.id)


async def drive(house: House, run: DrivenRun, chance: Random, done: Counter[tuple[UUID, str]]) -> None:
    total = 0
    for name in ("fetch", "charge", "send"):
        step = await run.acquire_step(name)
        if step.status is StepStatus.EXECUTE:
            match chance.randrange(12):
                case 0:
                    await step.retry(after=timedelta(milliseconds=chance.randrange(30)))
                    return
                case 1:
                    await run.release()
                    return
                case 2:
                    await run.pause("for a moment", resume_after=timedelta(milliseconds=20))
                    return
                case 3:
                    await expire(house, run.id)  # heartbeats that did not come
                case 4:
                    raise ZeroDivisionError  # it dies: nobody gives the run back
                case _:
                    pass
            await step.success(chance.randrange(1000))
            done[run.id, step.key] += 1
        total += step.value
    await run.complete(total)


async def disturb(house: House, runs: Sequence[RunHandle[Any]], chance: Random) -> None:
    while await look(house, OPEN):
        run = chance.choice(runs)
        await run.pause()
        await asyncio.sleep(0.001)  # for others to meet it paused
        await run.resume()


async def test_a_run_that_nobody_refers_to_any_more_is_not_kept(client: Client, house: House) -> None:
    second = timedelta(seconds=1)
    async with client.driven.consumer(TASK, visibility=second) as consumer, client.driven.consumer(TASK) as other:
        triggered = await client.driven.trigger(TASK, HELLO)
        assert len(await consumer.dequeue()) == 1
        await eventually(lambda: not consumer.runs, "the run is forgotten")
        run = await take(other)
        assert run.id == triggered.id
        await run.complete()
