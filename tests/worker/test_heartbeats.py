"""Heartbeats of activities: silence fails an attempt, and what was said last is known to the next one."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from holdfast import (
    ActivityTimedOut,
    App,
    DefinitionError,
    Retry,
    RunCancelled,
    RunFailed,
    Unstorable,
    activity_info,
    heartbeat,
)
from holdfast.app.hosted import WorkerOptions
from holdfast.client import Client
from holdfast.store.writes import Beat, Writes
from holdfast.worker.pulse import Pulse
from tests.apps import copies
from tests.apps.copies import app
from tests.apps.ledger import Ledger
from tests.house import House, eventually
from tests.worker.hand import end, hand, outcome, park, start

SOON = timedelta(seconds=20)
HOW = ["loop", "thread", "process"]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    for name, value in {**ledger.env, "RELEASED": str(tmp_path / "released")}.items():
        monkeypatch.setenv(name, value)
    return ledger


@pytest.fixture
async def client(house: House, ledger: Ledger) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def nothing_left(house: House) -> None:
    assert await house.value("select count(*) from holdfast.heartbeat") == 0
    await house.check_invariants()


# ---- silence


@pytest.mark.parametrize("how", HOW)
async def test_in_a_workflow_silence_fails_an_attempt_and_the_next_begins_where_it_was(
    house: House, client: Client, ledger: Ledger, how: str
) -> None:
    await house.worker(app)
    run = await client.start(copies.moves, how, 6)
    assert tuple(await run.result(timeout=SOON)) == (2, 3)
    row = await house.db.fetchrow("select output, error from holdfast.journal where run_id = $1 and kind = 2", run.id)
    assert row is not None
    assert row["output"] == "3"
    assert "no heartbeat for 0.4 s (heartbeat_timeout)" in row["error"]
    assert '"reason":"timeout"' in row["error"]
    await nothing_left(house)


@pytest.mark.parametrize("activity", [copies.on_the_loop, copies.in_a_thread, copies.in_a_process])
async def test_in_a_job_too(house: House, client: Client, ledger: Ledger, activity: Any) -> None:
    await house.worker(app)
    run = await client.start(activity, 6)
    assert tuple(await run.result(timeout=SOON)) == (2, 3)
    await nothing_left(house)


async def test_a_process_that_dies_has_said_how_far_it_was(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    assert tuple(await (await client.start(copies.moves, "dies", 6)).result(timeout=SOON)) == (2, 3)


async def test_one_that_is_heard_of_may_take_longer(house: House) -> None:
    app = house.app()

    @app.activity(heartbeat_timeout=timedelta(milliseconds=300), retry=Retry(max_attempts=1))
    async def slow() -> int:
        over = time.monotonic() + 1.0
        while time.monotonic() < over:
            heartbeat()
            await asyncio.sleep(0.02)
        return activity_info().attempt

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(slow)).result(timeout=SOON) == 1
    await nothing_left(house)


async def test_silence_comes_out_as_a_timeout(house: House) -> None:
    app = house.app()
    quiet = timedelta(milliseconds=100)

    @app.activity(retry=Retry(max_attempts=1))
    async def silent() -> None:
        await asyncio.sleep(3600)

    @app.workflow
    async def flow() -> str:
        try:
            await silent.options(heartbeat_timeout=quiet)()
        except ActivityTimedOut as error:
            return error.message
        return "it ended"

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(flow)).result(timeout=SOON) == "no heartbeat for 0.1 s (heartbeat_timeout)"


# ---- what was said


@dataclass
class Progress:
    file: str
    done: int


async def test_details_are_typed(house: House) -> None:
    app = house.app()
    found: list[object] = []

    @app.activity(retry=Retry(max_attempts=3, initial=timedelta(0)))
    async def work() -> None:
        info = activity_info()
        found.extend([info.details, info.details_as(Progress)])
        if info.attempt == 1:
            heartbeat(Progress("a.txt", 7))
        if info.attempt < 3:
            raise ValueError
        with pytest.raises(Unstorable, match="the details of a heartbeat"):
            info.details_as(int)

    client = await house.client(app)
    await house.worker(app)
    await (await client.start(work)).result(timeout=SOON)
    # The second said nothing, so what the first had said stays.
    said = {"file": "a.txt", "done": 7}
    assert found == [None, None, said, Progress("a.txt", 7), said, Progress("a.txt", 7)]
    await nothing_left(house)


@pytest.mark.parametrize("details", [{1, 2}, object(), "x" * 200_000], ids=["set", "object", "long"])
async def test_details_that_cannot_be_stored_are_refused_where_they_are_given(house: House, details: object) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=1))
    def work() -> None:
        heartbeat([details])

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed, match=r"Unstorable: the details of a heartbeat") as caught:
        await (await client.start(work)).result(timeout=SOON)
    assert "in work" in (caught.value.traceback or "")


async def test_the_answer_says_that_the_outcome_is_not_wanted(house: House) -> None:
    app = house.app()
    answers: list[bool] = []

    @app.activity
    def work() -> None:
        over = time.monotonic() + 20
        while time.monotonic() < over:
            answers.append(heartbeat(len(answers)))
            if not answers[-1]:
                return
            time.sleep(0.005)

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(work)
    await eventually(lambda: answers, "it runs")
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await eventually(lambda: not answers[-1], "it was told")
    assert all(answers[:-1])
    await nothing_left(house)


async def test_where_no_worker_is_it_does_nothing() -> None:
    assert heartbeat(17)


async def test_a_workflow_has_none(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None:
        heartbeat()

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed, match="ForbiddenInWorkflow: heartbeat"):
        await (await client.start(flow)).result(timeout=SOON)


def test_a_heartbeat_timeout_is_a_duration() -> None:
    seconds: Any = 3
    decorate: Any = App().activity
    with pytest.raises(DefinitionError, match="heartbeat_timeout= is a timedelta"):
        decorate(heartbeat_timeout=seconds)(test_a_heartbeat_timeout_is_a_duration)
    with pytest.raises(DefinitionError, match="heartbeat_timeout= is a duration of more than zero"):
        copies.dies.options(heartbeat_timeout=timedelta(0))


# ---- crashes


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_what_was_said_outlives_the_worker(house: House, client: Client, ledger: Ledger, kind: str) -> None:
    first = await house.process("tests.apps.copies", "--lease", "1s", "--poll", "200ms")
    run = await client.start(copies.waits if kind == "workflow" else copies.until_released, 5)
    # The first heartbeat is written at once, the others only a while later.
    await house.until("select exists (select from holdfast.heartbeat where run_id = $1)", run.id)
    await first.kill()
    said = int(await house.value("select details::text from holdfast.heartbeat where run_id = $1", run.id))
    assert 1 <= said <= 5

    (house.place / "released").touch()
    await house.process("tests.apps.copies", "--lease", "2s", "--poll", "200ms")
    assert tuple(await run.result(timeout=SOON)) == (1, said)
    assert re.fullmatch(rf"begun until_released#1 1 {said} \d+", ledger.lines()[-2])
    await nothing_left(house)


async def test_a_worker_that_leaves_hands_over_the_last_that_was_said(
    house: House, client: Client, ledger: Ledger
) -> None:
    options: WorkerOptions = {"grace": timedelta(0)}
    first = await house.worker(app, **options)
    run = await client.start(copies.waits, 5)
    await eventually(lambda: "said 5" in ledger.lines(), "all is said")
    first.stop()
    await house.until("select bucket_id is null from holdfast.task where run_id = $1", run.id)
    assert await house.value("select details::text from holdfast.heartbeat where run_id = $1", run.id) == "5"
    (house.place / "released").touch()
    await house.worker(app)
    assert tuple(await run.result(timeout=SOON)) == (1, 5)
    await nothing_left(house)


async def test_a_run_that_ends_while_an_attempt_is_under_way_leaves_nothing(house: House) -> None:
    app = house.app()
    begun = asyncio.Event()

    @app.activity
    async def work() -> None:
        heartbeat(1)
        begun.set()
        await asyncio.sleep(3600)

    @app.workflow
    async def flow() -> None:
        task = asyncio.create_task(work())
        await asyncio.wait([task], timeout=1.0)

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await begun.wait()
    await house.until("select count(*) = 1 from holdfast.heartbeat")
    await run.result(timeout=SOON)
    await nothing_left(house)


async def rows(house: House, run: UUID) -> list[tuple[object, ...]]:
    found = await house.db.fetch(
        "select key, attempt, hold, details::text from holdfast.heartbeat where run_id = $1 order by key", run
    )
    return [tuple(row) for row in found]


async def test_nothing_is_written_for_a_hold_that_is_over(house: House) -> None:
    run = await start(house)
    async with hand(house, "first") as first, hand(house, "second") as second:
        (held,) = await first.claim()

        def said(hold: int, details: str, attempt: int = 1) -> Writes:
            return Writes(run, hold, beats=[Beat("work#1", attempt, details)], beaten=attempt > 0)

        await first.flush(said(held.hold, "1"), said(held.hold, "2"))
        assert await rows(house, run) == [("work#1", 1, 1, "2")]
        await first.flush(Writes(run, held.hold, move=park(due=None)))
        (again,) = await second.claim()
        await second.flush(said(again.hold, "3"))
        flushed = await first.flush(said(held.hold, "4"))
        assert flushed.lost == {run}
        await first.flush(Writes(run, held.hold, beats=[Beat("work#1", 1, "5")]))
        await first.flush(Writes(run, held.hold, beats=[Beat("work#1", 0, None)]))
        assert await rows(house, run) == [("work#1", 1, 2, "3")]
        await second.flush(Writes(run, again.hold, journal=[outcome(1, "work#1")], beats=[Beat("work#1", 0, None)]))
        assert await rows(house, run) == []
        await second.flush(said(again.hold, "6"))
        await second.flush(Writes(run, again.hold, end=end()))
        await second.flush(said(again.hold, "7"), again=True)
    await nothing_left(house)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_job_that_is_ended_after_its_worker_died_leaves_nothing(
    house: House, client: Client, ledger: Ledger, how: str
) -> None:
    worker = await house.process("tests.apps.copies", "--lease", "1s", "--poll", "200ms")
    run = await client.start(copies.until_released, 5)
    await house.until("select exists (select from holdfast.heartbeat)")
    await worker.kill()
    await house.until(
        "select (select count(*) from holdfast.recover(10)) >= 0 and bucket_id is null from holdfast.task"
    )
    await (run.cancel() if how == "cancel" else run.terminate())
    await house.ended(run.id)
    await nothing_left(house)


# ---- how often it is written


async def test_of_many_at_most_three_are_written_in_a_timeout_and_always_the_last() -> None:
    written: list[tuple[float, str]] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    last = asyncio.Event()

    def write(details: str | None, progress: str | None) -> None:
        assert details is not None
        assert progress is None
        written.append((loop.time() - began, details))
        if details == '"end"':
            last.set()

    pulse = Pulse(loop, limit=0.6, write=write, silent=lambda: None)
    while loop.time() - began < 1.0:
        pulse.beat(f'"{loop.time()}"')
        await asyncio.sleep(0)
    pulse.beat('"end"')
    async with asyncio.timeout(5):
        await last.wait()
    times = [at for at, _ in written]
    assert times[0] < 0.1
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(times))
    pulse.beat('"more"')
    pulse.flush()
    assert written[-1][1] == '"more"'
    pulse.beat('"late"')
    pulse.close()
    await asyncio.sleep(0)
    assert written[-1][1] == '"more"'
