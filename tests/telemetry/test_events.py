"""Typed events of workers and clients, for those who listen."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest

import holdfast
from holdfast import (
    ActivityEnded,
    ActivityRetried,
    ActivityStarted,
    App,
    DefinitionError,
    Event,
    FlushDone,
    LeaseLost,
    LeaseRenewed,
    Retry,
    RunBlocked,
    RunClaimed,
    RunFailed,
    RunFinished,
    RunsRecovered,
    RunStarted,
    Signal,
    Swept,
    WorkerStarted,
    WorkerStopped,
)
from holdfast.core.events import EVENTS
from tests.house import ROOT, House, eventually

E = TypeVar("E", bound=Event)
AT_ONCE = Retry(max_attempts=2, initial=timedelta(0))


def heard(app: App) -> list[Event]:
    events: list[Event] = []
    app.on(Event, events.append)
    return events


def of(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_run_tells_how_it_goes_from_its_start_to_its_end(house: House) -> None:
    app = house.app()
    events = heard(app)

    @app.activity(retry=AT_ONCE)
    async def fragile() -> str:
        if not tried:
            tried.append(1)
            raise LookupError("not yet")
        return "done"

    tried: list[int] = []

    @app.workflow
    async def flow() -> str:
        return await fragile()

    client = await house.client(app)
    async with app.worker(skip_warm_up=True, name="teller") as hosted:
        worker = hosted.worker.name if hosted.worker else None
        run = await client.start(flow, priority="high")
        assert await run.result() == "done"
        await eventually(lambda: of(events, RunFinished), "the end was told")
    assert of(events, RunStarted) == [
        RunStarted(run_id=run.id, name="flow", lane="default", priority="high", existing=False)
    ]
    (claimed,) = of(events, RunClaimed)
    assert (claimed.worker, claimed.run_id, claimed.name) == (worker, run.id, "flow")
    assert (claimed.lane, claimed.priority, claimed.number) == ("default", "high", 1)
    assert claimed.due_at <= claimed.claimed_at
    started = [(one.key, one.name, one.attempt, one.workflow) for one in of(events, ActivityStarted)]
    assert started == [("fragile#1", "fragile", 1, "flow"), ("fragile#1", "fragile", 2, "flow")]
    first, second = of(events, ActivityEnded)
    assert (first.status, first.error, second.status, second.error) == (
        "failed",
        "LookupError: not yet",
        "succeeded",
        None,
    )
    assert first.elapsed >= timedelta(0)
    (retried,) = of(events, ActivityRetried)
    assert (retried.run_id, retried.key, retried.name, retried.attempt) == (run.id, "fragile#1", "fragile", 1)
    assert of(events, RunFinished) == [
        RunFinished(worker=str(worker), run_id=run.id, name="flow", lane="default", priority="high", status="succeeded")
    ]
    assert of(events, WorkerStarted) == [WorkerStarted(worker=str(worker), lane="default")]
    assert of(events, WorkerStopped) == [WorkerStopped(worker=str(worker), lane="default")]
    assert isinstance(events[-1], WorkerStopped)
    assert sum(one.units for one in of(events, FlushDone)) >= 3
    assert all(one.elapsed > timedelta(0) and not one.refused for one in of(events, FlushDone))
    assert of(events, Swept)


async def test_jobs_threads_processes_and_failures_are_told_of_too(house: House) -> None:
    app = house.app()
    events = heard(app)

    @app.activity(retry=AT_ONCE)
    def broken() -> None:
        raise ValueError("broken")

    @app.activity(timeout=timedelta(milliseconds=20), retry=Retry(max_attempts=1))
    async def endless() -> None:
        await asyncio.get_running_loop().create_future()

    client = await house.client(app)
    await house.worker(app)
    for activity in (broken, endless):
        run = await client.start(activity)
        with pytest.raises(RunFailed):
            await run.result()
    await eventually(lambda: len(of(events, RunFinished)) == 2, "both ends were told")
    assert [(one.name, one.status) for one in of(events, RunFinished)] == [("broken", "failed"), ("endless", "failed")]
    assert [one.status for one in of(events, ActivityEnded)] == ["failed", "failed", "timed out"]
    assert [one.workflow for one in of(events, ActivityStarted)] == [None] * 3
    assert [(one.key, one.attempt) for one in of(events, ActivityRetried)] == [("broken#1", 1)]


async def test_a_blocked_run_is_told_of(house: House) -> None:
    go = Signal[str]("go")

    def release(word: str) -> App:
        app = house.app()

        @app.activity
        async def greet(text: str) -> str:
            return text

        @app.workflow
        async def visit() -> str:
            await greet(word)
            return await go.wait()

        return app

    first, second = release("hello"), release("good day")
    events = heard(second)
    client = await house.client(first)
    async with first.worker(skip_warm_up=True):
        run = await client.start_by_name("visit")
        await house.parked(run.id)
    await house.worker(second)
    await run.signal(go, "now")
    (blocked,) = await eventually(lambda: of(events, RunBlocked), "it was told")
    assert (blocked.run_id, blocked.name, blocked.lane) == (run.id, "visit", "default")
    assert "NonDeterminismError" in blocked.reason


async def test_a_lost_lease_and_what_another_recovers_of_it(house: House) -> None:
    app, other = house.app(), house.app()
    begun, goes_on = asyncio.Event(), asyncio.Event()
    events, others = heard(app), heard(other)

    async def wait() -> str:
        begun.set()
        await goes_on.wait()
        return "done"

    app.activity(wait)
    other.activity(wait)
    client = await house.client(app)
    worker = await house.worker(app)
    run = await client.start(app.definitions["wait"].call())
    await begun.wait()
    assert worker.worker is not None
    name = worker.worker.name
    assert name is not None
    await house.worker(other)
    await house.expire_lease(name)
    await eventually(lambda: of(events, LeaseLost), "the loss was told")
    goes_on.set()
    assert await run.result() == "done"
    assert [one.worker for one in of(events, LeaseLost)] == [name]
    recovered = await eventually(lambda: [*of(events, RunsRecovered), *of(others, RunsRecovered)], "it was recovered")
    assert [(one.lost_by, one.runs) for one in recovered] == [(name, 1)]
    await eventually(lambda: len(of(events, WorkerStarted)) == 2, "it goes on as a new one")
    await eventually(lambda: of(events, LeaseRenewed), "the new one renews its lease")


async def test_a_listener_that_raises_is_logged_and_disturbs_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    app = house.app()
    seen: list[UUID] = []

    @app.on(RunFinished)
    def broken(event: RunFinished) -> None:
        raise RuntimeError("listener down")

    @app.on(RunFinished)
    def fine(event: RunFinished) -> None:
        seen.append(event.run_id)

    @app.workflow
    async def flow() -> int:
        return 1

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    assert await run.result() == 1
    await eventually(lambda: seen == [run.id], "the second one was told")
    assert "listener down" in caplog.text
    await house.check_invariants()


async def test_a_worker_has_listeners_of_its_own_and_those_that_come_later(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> int:
        return 1

    own: list[Event] = []
    late: list[Event] = []
    client = await house.client(app)
    one = await house.worker(app)
    one.on(RunFinished, own.append)
    app.on(RunFinished, late.append)
    assert await (await client.start(flow)).result() == 1
    await eventually(lambda: len(own) == len(late) == 1, "both were told")
    other = app.worker()
    assert other._surroundings.herald.ended
    assert len(other._surroundings.herald.ended) == 1


async def test_starts_tell_of_what_was_there_already_and_not_of_what_may_yet_be_rolled_back(house: House) -> None:
    app = house.app()
    events = heard(app)

    @app.workflow
    async def flow(number: int) -> int:
        return number

    client = await house.client(app)
    first = await client.start(flow, 1, key="k")
    await client.start(flow, 1, key="k")
    await client.start_many([flow.call(2), flow.call(3)], lane="other")
    async with house.db.transaction():
        await client.start(flow, 4, connection=house.db)
    told = [(one.lane, one.existing) for one in of(events, RunStarted)]
    assert told == [("default", False), ("default", True), ("other", False), ("other", False)]
    assert of(events, RunStarted)[1].run_id == first.id


def test_what_cannot_listen_is_refused() -> None:
    app = App()

    async def slow(event: Event) -> None: ...

    wrong: Any = str
    nothing: Any = 17
    with pytest.raises(DefinitionError, match="no kind of event"):
        app.on(wrong, print)
    with pytest.raises(DefinitionError, match="not async"):
        app.on(RunFinished, slow)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="cannot listen"):
        app.on(RunFinished, nothing)


def test_the_guide_lists_every_event() -> None:
    page = (ROOT / "docs" / "guide" / "events.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {kind.__name__ for kind in EVENTS}
    assert all(getattr(holdfast, kind.__name__) is kind for kind in EVENTS)
    assert {kind.__name__ for kind in Event.__subclasses__()} == {kind.__name__ for kind in EVENTS}
