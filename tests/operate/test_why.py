"""Why a run does not move is known from the database, without its code, and says what would move it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from holdfast import (
    App,
    Retry,
    RetryAfter,
    RunNotFound,
    RunStatus,
    Signal,
    Update,
    Why,
    complete_later,
    fan_out,
    sleep,
    start_child,
)
from holdfast.client import Client
from tests.house import House
from tests.scenarios.soon import SOON

approve = Signal[str]("approve")


def kinds(found: Why) -> list[str]:
    return [reason.kind for reason in found.reasons]


async def stranger(house: House) -> Client:
    """A client that knows no code."""
    return await house.client(house.app())


async def test_a_run_that_waits_for_a_signal_a_timer_and_a_back_off(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=5))
    async def charge() -> str:
        raise RetryAfter(timedelta(hours=5), "the bank is closed")

    @app.workflow
    async def flow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(charge())
            group.create_task(sleep(timedelta(hours=3)))
            group.create_task(approve.wait())

    client = await stranger(house)
    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
    await house.parked(run.id)
    await house.advance(timedelta(hours=2))
    found = await client.why(run.id)
    assert (found.run_id, found.name, found.status) == (run.id, "flow", RunStatus.WAITING)
    assert sorted(kinds(found)) == ["retry", "signal", "timer"]
    reasons = {reason.kind: reason for reason in found.reasons}
    assert reasons["signal"].text == "waits for signal 'approve' since 2 h"
    assert reasons["signal"].what == "approve"
    assert reasons["retry"].what == "charge#1"
    assert "one attempt has failed, the last with RetryAfter: the bank is closed" in reasons["retry"].text
    assert reasons["timer"].text.startswith("sleeps until ")
    assert "in 59 min (timer#1)" in reasons["timer"].text
    due = await house.value("select due_at from holdfast.task where run_id = $1", run.id)
    assert reasons["timer"].until == due
    assert "; send it" in str(found)
    assert (await run.describe()).waits_for[1] == "signal 'approve'"


async def test_a_run_that_waits_for_an_update(house: House) -> None:
    app = house.app()
    vote = Update[str, None]("vote")

    @app.workflow
    async def flow() -> None:
        (await vote.wait()).reply(None)

    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.parked(run.id)
    await house.advance(timedelta(days=3))
    (reason,) = (await (await stranger(house)).why(run.id)).reasons
    assert (reason.kind, reason.what, reason.remedy) == ("update", "vote", "send it")
    assert reason.text == "waits for update 'vote' since 3 d"
    assert (await run.describe()).waits_for == ("update 'vote'",)


async def test_nobody_is_there_to_take_it(house: House) -> None:
    app, other = house.app(), house.app()

    @app.workflow
    async def flow() -> None:
        await approve.wait()

    @other.workflow
    async def another() -> None:
        pass

    client = await stranger(house)
    run = await (await house.client(app)).start(flow, lane="gpu")
    (reason,) = (await client.why(run.id)).reasons
    assert (reason.kind, reason.text) == ("no worker", "lane 'gpu' has no worker")
    assert reason.remedy == "start one that has 'flow': holdfast worker --lane gpu"
    await house.worker(other, lane="gpu")
    await house.until("select count(*) = 1 from holdfast.worker where state = 'active'")
    (reason,) = (await client.why(run.id)).reasons
    assert (reason.kind, reason.text) == ("no worker", "no worker of lane 'gpu' has 'flow'")
    await house.worker(app, lane="gpu", buckets={"medium": 0})
    await house.until("select count(*) = 2 from holdfast.worker where state = 'active'")
    (reason,) = (await client.why(run.id)).reasons
    assert reason.text == "no worker of lane 'gpu' that has 'flow' serves priority medium"


async def test_the_worker_that_could_take_it_is_paused(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None:
        pass

    client = await house.client(app)
    await house.worker(app, lane="gpu")
    await house.until("select count(*) = 1 from holdfast.worker")
    await client.workers.pause(lane="gpu")
    run = await client.start(flow, lane="gpu")
    (reason,) = (await client.why(run.id)).reasons
    assert (reason.kind, reason.text) == ("no worker", "lane 'gpu' has no worker that is not paused and has 'flow'")
    assert reason.remedy == "holdfast worker resume --lane gpu"
    await client.workers.resume(lane="gpu")
    await run.result(timeout=timedelta(seconds=20))


async def test_in_line_scheduled_paused_and_held(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()
    may_end = asyncio.Event()

    @app.activity
    async def job() -> None:
        begun.set()
        await may_end.wait()

    client = await stranger(house)
    starter = await house.client(app)
    later = await starter.start(job, after=timedelta(hours=3))
    found = await client.why(later.id)
    assert kinds(found) == ["scheduled", "no worker"]
    assert ", in 2 h" in found.reasons[0].text
    await later.pause()
    assert kinds(await client.why(later.id))[0] == "paused"
    assert str(await client.why(later.id)).startswith("paused since 0 s; resume it")

    await house.worker(app, parallelism_factor=0.1, bucket_buffer_size=0)
    held = await starter.start(job)
    await begun.wait()
    runs = [await starter.start(job) for _ in range(3)]
    (reason,) = (await client.why(held.id)).reasons
    assert reason.kind == "held"
    assert (
        f"worker {await house.value('select name from holdfast.worker')} executes it; it began 0 s ago" in reason.text
    )
    last = await client.why(runs[-1].id)
    assert kinds(last) == ["line"]
    assert "2 runs are before it in line" in last.reasons[0].text
    assert "next in line" in str(await client.why(runs[0].id))
    await held.terminate()
    await house.ended(held.id)
    may_end.set()
    await house.ended(*[run.id for run in runs])
    assert "it has been cancelled, 0 s ago" in str(await client.why(held.id))


async def test_blocked_says_both_sides(house: House) -> None:
    def version(name: str) -> App:
        app = house.app()

        @app.activity(name=name)
        async def step() -> None:
            pass

        @app.workflow(name="flow")
        async def flow() -> None:
            await step()
            await approve.wait()

        return app

    client = await stranger(house)
    async with version("refund").worker(skip_warm_up=True):
        run = await client.start_by_name("flow")
        await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
        await house.parked(run.id)
    await run.signal_by_name("approve", "yes")
    async with version("charge").worker(skip_warm_up=True):
        await house.until("select flags & 2 <> 0 from holdfast.task where run_id = $1", run.id)
        await house.parked(run.id)
        found = await client.why(run.id)
    assert found.reasons[0].kind == "blocked"
    assert "refund#1" in str(found)
    assert "tried again " in str(found)


async def test_what_it_waited_for_has_come_while_it_is_paused(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await approve.wait()

    client = await stranger(house)
    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.parked(run.id)
    await run.pause()
    assert [one.text.partition(" since")[0] for one in (await client.why(run.id)).reasons] == [
        "paused",
        "waits for signal 'approve'",
    ]
    await run.signal(approve, "yes")
    found = await client.why(run.id)
    assert str(found).splitlines()[1] == "signal 'approve', for which it waited, has come"
    await run.resume()
    assert await run.result(timeout=SOON) == "yes"
    ended = await client.why(run.id)
    assert ended.reasons[0].text.startswith("it has succeeded, ")
    assert ended.reasons[0].remedy is None


async def test_how_it_failed_and_what_to_do(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None:
        raise ValueError("no such customer")

    client = await stranger(house)
    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.ended(run.id)
    (reason,) = (await client.why(run.id)).reasons
    assert reason.kind == "ended"
    assert reason.text.endswith("ago, with ValueError: no such customer")
    assert reason.remedy == "retry it, and it goes on from its last good step"


async def test_whose_activities_nobody_can_take(house: House) -> None:
    app, other = house.app(), house.app()

    @app.activity(lane="gpu")
    async def render() -> None:
        pass

    @app.workflow
    async def child() -> None:
        pass

    @app.workflow
    async def flow() -> None:
        handle = await start_child(child, lane="kids")
        async with asyncio.TaskGroup() as group:
            group.create_task(render())
            group.create_task(handle.result())

    @other.workflow
    async def another() -> None:
        pass

    client = await stranger(house)
    await house.worker(app)
    await house.worker(other, lane="kids")
    run = await (await house.client(app)).start(flow)
    await house.until("select waits_for is not null from holdfast.task where run_id = $1", run.id)
    await house.parked(run.id)
    found = await client.why(run.id)
    texts = sorted(f"{reason.text.partition(' since')[0]}; {reason.remedy}" for reason in found.reasons)
    ids = {row["name"]: row["id"] for row in await house.db.fetch("select name, id from holdfast.run")}
    assert texts == [
        "lane 'gpu' has no worker; start one that has 'render': holdfast worker --lane gpu",
        "no worker of lane 'kids' has 'child'; deploy code that has it",
        f"waits for child child#1; holdfast run why {ids['child']}",
        f"waits for render#1, dispatched to lane 'gpu',; holdfast run why {ids['render']}",
    ]
    assert "lane 'gpu' has no worker; start one that has 'render'" in str(await client.why(ids["render"]))


async def test_an_activity_that_found_no_room_stands_in_the_lane_of_its_workers(house: House) -> None:
    app = house.app()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @app.activity
    async def step(number: int) -> int:
        begun.set()
        await may_end.wait()
        return number

    @app.workflow
    async def flow() -> int:
        return sum(await fan_out(step, range(6)))

    client = await stranger(house)
    await house.worker(app, max_activities=1)
    run = await (await house.client(app)).start(flow)
    await begun.wait()
    await house.until("select count(*) > 1 from holdfast.task where bucket_id is null")
    for row in await house.db.fetch(
        "select run_id from holdfast.task where bucket_id is null and run_id <> $1", run.id
    ):
        found = await client.why(row["run_id"])
        assert kinds(found) in (["line"], ["held"], ["ended"])
    assert "no worker" not in kinds(await client.why(run.id))
    may_end.set()
    assert await run.result(timeout=SOON) == 15


async def test_one_that_is_to_be_completed_from_outside(house: House) -> None:
    app = house.app()

    @app.activity
    async def sign() -> str:
        complete_later()

    @app.workflow
    async def flow() -> str:
        return await sign()

    client = await stranger(house)
    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.until("select waits_for is not null from holdfast.task where run_id = $1", run.id)
    await house.parked(run.id)
    (reason,) = (await client.why(run.id)).reasons
    assert reason.text.startswith("waits for the completion of sign#1 from outside since ")
    assert reason.remedy == "complete it by its token"


async def test_after_a_retry_the_old_id_tells_of_the_new_run(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await approve.wait()

    client = await stranger(house)
    await house.worker(app)
    run = await (await house.client(app)).start(flow)
    await house.parked(run.id)
    await run.terminate()
    again = await run.retry()
    await house.until("select waits_for is not null from holdfast.task where run_id = $1", again.id)
    found = await client.why(run.id)
    assert (found.run_id, kinds(found)) == (again.id, ["signal"])
    description = await run.describe()
    assert (description.id, description.continued_from, description.continuation) == (again.id, run.id, "retry")
    old = await run.describe(exact=True)
    assert (old.id, old.status, old.continued_from) == (run.id, RunStatus.CANCELLED, None)
    await run.signal(approve, "yes")
    assert await run.result(timeout=SOON) == "yes"
    with pytest.raises(RunNotFound):
        await client.why(uuid4())
