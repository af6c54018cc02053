"""A run goes back to before one of its outcomes, in place; or goes on from there beside itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import (
    InvalidInput,
    OperationRefused,
    RunCancelled,
    RunNotFound,
    RunStatus,
    Signal,
    activity_info,
    now,
    run_info,
    sleep,
)
from holdfast import uuid4 as run_uuid4
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


class Desk:
    """A workflow of several steps, and what was done."""

    def __init__(self, house: House) -> None:
        self.app = house.app()
        self.calls: Counter[str] = Counter()
        self.keys: list[str] = []
        calls, keys = self.calls, self.keys

        @self.app.activity
        async def note(word: str, run: UUID) -> str:
            calls[word] += 1
            keys.append(activity_info().idempotency_key)
            return f"{word}{calls[word]}"

        @self.app.workflow
        async def flow(first: str = "a") -> list[str]:
            seen = [await note(first, run_info().run_id)]
            seen.append(await go.wait())
            seen.append(await note("b", run_info().run_id))
            await sleep(timedelta(days=1))
            seen.append(str(run_uuid4()))
            seen.append(await go.wait())
            return seen

        self.flow = flow


async def reached(house: House, run: UUID, key: str) -> None:
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = $2)", run, key)
    # One that keeps rows of another has begun before anybody has claimed it.
    await house.until("select bucket_id is null and waits_for is not null from holdfast.task where run_id = $1", run)


async def test_an_open_run_is_replaced_and_does_what_follows_once_more(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app, cached_runs=0)
    run = await client.start(desk.flow, timeout=timedelta(days=30))
    waiting = asyncio.create_task(run.result(timeout=SOON))
    await reached(house, run.id, "note#1")
    await run.signal(go, "x", key="one")
    await reached(house, run.id, "note#2")
    due = await house.value("select due_at from holdfast.task where run_id = $1", run.id)
    deadline = await house.value("select deadline from holdfast.task where run_id = $1", run.id)
    await run.signal(go, "y", key="two")

    again = await run.rewind("note#2")
    assert await house.value("select status from holdfast.runs where id = $1", run.id) == "cancelled"
    assert await run.status() in {RunStatus.READY, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.ASSIGNED}
    await reached(house, again.id, "note#2")
    assert desk.calls == {"a": 1, "b": 2}
    assert await house.journal(again.id) == ["note#1", "signal:go#1", "signal:go#2", "note#2"]
    # What follows is another call, to the outside too; what is kept was asked for by the old id.
    assert desk.keys == [f"{run.id}:note#1", f"{run.id}:note#2", f"{again.id}:note#2"]
    # Its timer is due a day after the step was done again, its timeout is the one that it had.
    assert await house.value("select deadline from holdfast.task where run_id = $1", again.id) == deadline
    assert await house.value("select due_at > $2 from holdfast.task where run_id = $1", again.id, due)
    # A key that was used is used, and what was not read yet is read by the new one.
    assert not await run.signal(go, "x again", key="one")
    assert not await run.signal(go, "y again", key="two")
    assert await run.wake() == "done"
    assert (await waiting)[:3] == ["a1", "x", "b2"]
    assert (await waiting)[-1] == "y"
    await house.check_invariants()


async def test_back_to_a_signal_another_one_is_waited_for_and_later_ones_are_kept(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app)
    run = await client.start(desk.flow)
    await reached(house, run.id, "note#1")
    await run.signal(go, "wrong", key="decision")
    await reached(house, run.id, "note#2")
    again = await run.rewind("signal:go#1")
    await house.parked(again.id)
    assert await house.journal(again.id) == ["note#1"]
    assert desk.calls == {"a": 1, "b": 1}
    await house.check_invariants()
    assert await run.signal(go, "right", key="decision")
    await reached(house, again.id, "note#2")
    await run.wake()
    await run.signal(go, "end")
    assert (await run.result(timeout=SOON))[:3] == ["a1", "right", "b2"]
    await house.check_invariants()


async def test_one_that_a_worker_holds_is_given_back_first(house: House) -> None:
    app = house.app()
    calls: list[str] = []
    may_end = asyncio.Event()

    @app.activity
    async def quick() -> str:
        calls.append("quick")
        return "q"

    @app.activity
    async def slow() -> str:
        calls.append("slow")
        await may_end.wait()
        return "s"

    @app.workflow
    async def flow() -> str:
        return await quick() + await slow()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
    await house.held(run.id)
    again = await run.rewind("quick#1")
    assert await house.value("select status from holdfast.result where run_id = $1", run.id) == 3
    may_end.set()
    assert await again.result(timeout=SOON) == await run.result(timeout=SOON) == "qs"
    assert calls.count("quick") == 2
    assert await house.journal(run.id) == ["quick#1"]
    assert await house.value("select count(*) from holdfast.pause") == 0
    await house.check_invariants()


async def test_one_that_has_ended_goes_back_too_again_and_again(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app, cached_runs=0)
    run = await client.start(desk.flow)
    for word in ("x", "y"):
        await run.signal(go, word)
    await reached(house, run.id, "note#2")
    await run.wake()
    first = await run.result(timeout=SOON)
    ids = [run.id]
    for _ in range(2):
        again = await run.rewind("timer#1")
        ids.append(again.id)
        await reached(house, again.id, "note#2")
        await again.wake()
        seen = await run.result(timeout=SOON)
        assert (seen[:3], seen[-1]) == (first[:3], first[-1])
        # A number that was drawn after the place is drawn anew.
        assert seen[3] != first[3]
        first = seen
    assert desk.calls == {"a": 1, "b": 1}
    # To the beginning: nothing is kept.
    again = await run.rewind("note#1")
    await reached(house, again.id, "note#1")
    assert desk.calls["a"] == 2
    assert desk.keys[-1].startswith(str(again.id))
    await house.check_invariants()


async def test_a_fork_goes_on_beside_the_run(house: House) -> None:
    desk = Desk(house)
    client = await house.client(desk.app)
    await house.worker(desk.app, cached_runs=0)
    run = await client.start(desk.flow, key="mine")
    await run.signal(go, "x")
    await reached(house, run.id, "note#2")
    fork = await run.fork("note#2")
    other = await run.fork(input={"first": "c"})
    assert await run.status() is RunStatus.WAITING
    await reached(house, fork.id, "note#2")
    await reached(house, other.id, "note#2")
    assert desk.calls == {"a": 1, "b": 3, "c": 1}
    for one in (run, fork, other):
        await one.wake()
        await one.signal(go, "end")
    results = [await one.result(timeout=SOON) for one in (run, fork, other)]
    assert [seen[0] for seen in results] == ["a1", "a1", "c1"]
    assert len({seen[3] for seen in results}) == 3
    # The handle and the key of the run mean the run.
    assert (await run.newest()).id == run.id == (await client.start(desk.flow, key="mine")).id
    await house.check_invariants()


async def test_a_fork_replays_what_it_keeps_with_the_times_that_it_had(house: House) -> None:
    app = house.app()
    times: list[list[str]] = []

    @app.activity
    async def note(at: str) -> str:
        return at

    @app.workflow
    async def flow() -> list[str]:
        seen: list[str] = []
        times.append(seen)
        for _ in range(3):
            seen.append(await note(str(now())))
            await sleep(timedelta(hours=1))
        seen.append(await go.wait())
        return seen

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(flow)
    await house.parked(run.id)
    for _ in range(3):
        await house.advance(timedelta(hours=2))
        await house.db.execute("select holdfast.hint('due default')")
        await house.until("select due_at > holdfast.now() from holdfast.task where run_id = $1", run.id)
    fork = await run.fork("timer#3")
    await house.until("select due_at = 'infinity' from holdfast.task where run_id = $1", fork.id)
    for one in (run, fork):
        await one.signal(go, "end")
    assert await run.result(timeout=SOON) == await fork.result(timeout=SOON)
    await house.check_invariants()


async def test_what_cannot_be_done_is_refused_and_the_run_goes_on(house: House) -> None:
    desk = Desk(house)

    @desk.app.activity
    async def job() -> None:
        await asyncio.Event().wait()

    client = await house.client(desk.app)
    await house.worker(desk.app)
    run, work = await client.start(desk.flow), await client.start(job)
    await reached(house, run.id, "note#1")
    for bad in (run.rewind("note#2"), run.fork("note#7")):
        with pytest.raises(InvalidInput, match=r"is not in the journal of run .*; there is: note#1"):
            await bad
    with pytest.raises(InvalidInput, match="first"):
        await run.fork(input={"first": 7})
    with pytest.raises(OperationRefused, match="is a job"):
        await work.rewind("job#1")
    with pytest.raises(RunNotFound):
        await client.get(UUID(int=7)).rewind("note#1")
    assert await run.status() is RunStatus.WAITING
    # Another who rewinds it at the same moment wins, or is refused; there is one that follows.
    answers = await asyncio.gather(*(run.rewind("note#1") for _ in range(8)), return_exceptions=True)
    assert all(isinstance(one, OperationRefused) for one in answers if isinstance(one, BaseException))
    newest = await run.newest()
    assert await house.value("select count(*) from holdfast.task where run_id = $1", newest.id) == 1
    assert await house.value("select count(*) from holdfast.task") == 2
    await work.terminate()
    with pytest.raises(RunCancelled):
        await work.result(timeout=SOON)
    await house.check_invariants()


async def test_if_whoever_rewinds_it_gives_up_the_run_goes_on(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()

    @app.activity
    async def quick() -> str:
        return "q"

    @app.activity
    async def slow() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "s"

    @app.workflow
    async def flow() -> str:
        return await quick() + await slow()

    client = await house.client(app)
    # It neither hears nor looks, so it does not give the run back.
    await house.worker(app, hints=False, poll=timedelta(minutes=1))
    run = await client.start(flow)
    await begun.wait()
    rewinding = asyncio.create_task(run.rewind("quick#1"))
    await house.until("select flags & 1 <> 0 from holdfast.task where run_id = $1", run.id)
    rewinding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rewinding
    assert await run.status() is RunStatus.RUNNING
    assert await house.value("select count(*) from holdfast.pause") == 0
    await house.check_invariants()
