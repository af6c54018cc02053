"""What others do to runs that are driven by hand, and what they see of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import (
    Cancellation,
    Client,
    DrivenConsumer,
    Effect,
    InvalidInput,
    RunCancelled,
    RunEnded,
    RunPaused,
    RunStatus,
    RunTimedOut,
)
from tests.driven.task import HELLO, TASK, take
from tests.house import House
from tests.scenarios.soon import SOON


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
