"""Runs that are driven by hand, where answers are lost and the database goes away."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import DatabaseUnavailable, Effect, ReceiptLost, RunStatus, StepEnded, StepStatus
from tests.faults.proxy import Proxy
from tests.house import House
from tests.scenarios.soon import SOON

TASK = "process_task"


def every_other(place: int, _rows: int) -> bool:
    return place % 2 == 0


async def test_answers_to_one_who_drives_runs(house: House, far: House, proxy: Proxy) -> None:
    near = await house.client(house.app())
    client = await far.client(far.app())
    losses = [
        proxy.lose(f"holdfast.{name}(", every_other)
        for name in ("create_workflow", "trigger_run", "record_step", "give_back", "end_driven")
    ]
    await client.driven.create_workflow(TASK)
    triggered = await client.driven.trigger(TASK, {"n": 1}, key="k")
    assert await house.value("select count(*) from holdfast.run") == 1
    async with client.driven.consumer(TASK) as consumer:
        (run,) = await consumer.dequeue(wait=SOON)
        first = await run.acquire_step("fetch")
        await first.success("page")
        with pytest.raises(StepEnded):
            await first.success("another page")
        # Its failed attempt is one, and it is given back once.
        await (await run.acquire_step("charge")).retry(error="away")
        (run,) = await consumer.dequeue(wait=SOON)
        assert (await run.acquire_step("fetch")).value == "page"
        second = await run.acquire_step("charge")
        assert second.attempt == 2
        await second.fail("declined")
        await run.pause("for a while")
        assert await triggered.status() is RunStatus.PAUSED
        assert await near.get(run.id).resume() is Effect.DONE
        (run,) = await consumer.dequeue(wait=SOON)
        assert (await run.acquire_step("charge")).status is StepStatus.SKIPPED
        await run.release()
        (run,) = await consumer.dequeue(wait=SOON)
        await run.complete({"n": 1})
    assert await near.get(run.id).result(SOON) == {"n": 1}
    assert await house.journal(run.id) == ["fetch#1", "charge#1@1", "charge#1"]
    assert all(loss.lost for loss in losses)
    await house.check_invariants()


async def test_answers_to_a_dequeue(house: House, far: House, proxy: Proxy) -> None:
    client = await far.client(far.app())
    await client.driven.create_workflow(TASK)
    runs = {(await client.driven.trigger(TASK, {"n": n})).id for n in range(4)}
    loss = proxy.lose("holdfast.take_driven(", lambda place, rows: place == 0 and rows > 0)
    async with client.driven.consumer(TASK, visibility=timedelta(seconds=1)) as consumer:
        done: set[UUID] = set()
        while done != runs:
            for run in await consumer.dequeue(batch_size=2, wait=SOON):
                await run.complete()
                done.add(run.id)
    # Those of which the answer was lost have come back when their visibility had passed.
    assert loss.lost == 1
    await house.check_invariants()


async def test_one_that_is_sent_again_when_others_have_the_run_is_refused(
    house: House, far: House, proxy: Proxy
) -> None:
    """Its first try was not committed, and until the second one somebody else had taken the run."""
    near = await house.client(house.app())
    client = await far.client(far.app())
    await client.driven.create_workflow(TASK)
    triggered = await client.driven.trigger(TASK, {"n": 1})
    async with client.driven.consumer(TASK) as consumer, near.driven.consumer(TASK) as other:
        (run,) = await consumer.dequeue(wait=SOON)
        step = await run.acquire_step("charge")
        proxy.cut()
        await house.db.execute("update holdfast.task set due_at = holdfast.now()")
        (theirs,) = await other.dequeue(wait=SOON)
        with pytest.raises((ReceiptLost, DatabaseUnavailable)):
            await step.success("mine")
        await (await theirs.acquire_step("charge")).success("theirs")
        await theirs.complete("theirs")
    assert await triggered.result(SOON) == "theirs"
    await house.check_invariants()
