"""W13: activities with a lane of their own, or that find no room, run as runs of their own wherever there is room."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from holdfast import ActivityTimedOut, Client, Retry, RunCancelled, RunFailed, RunHandle, RunStatus, activity_info
from tests.apps.ledger import Ledger
from tests.apps.studio import (
    app,
    bad_film,
    bookings,
    endless_film,
    film,
    held_fan,
    held_threads,
    hurried_film,
    mixed_film,
    noted_fan,
    patient_film,
    slow_film,
)
from tests.house import House, WorkerProcess, eventually, until
from tests.scenarios.soon import SOON

MODULE = "tests.apps.studio"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    for name, value in ledger.env.items():
        monkeypatch.setenv(name, value)
    return ledger


@pytest.fixture
async def client(house: House, ledger: Ledger) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def process(house: House, ledger: Ledger, *arguments: str) -> WorkerProcess:
    started = await house.process(MODULE, "--lease", "2s", "--poll", "200ms", *arguments, env=ledger.env)
    await started.name()
    return started


def let_go(ledger: Ledger) -> None:
    Path(f"{ledger.place}.release").touch()


async def kinds(house: House, run: UUID) -> list[tuple[int, str]]:
    rows = await house.db.fetch("select kind, key from holdfast.journal where run_id = $1 order by seq", run)
    return [tuple(row) for row in rows]


async def replays(house: House, client: Client, run: RunHandle[Any]) -> None:
    """The journal fits the code that has made it."""
    report = app.check([await run.export()])
    assert report.ok, report.breaks


# ---- a lane of its own


async def test_an_activity_with_a_lane_runs_there_and_its_workflow_is_a_row_meanwhile(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app)
    run = await client.start(film, 3, priority="high")
    await house.parked(run.id)
    await house.until("select count(*) = 3 from holdfast.run where parent = $1", run.id)
    # It is registered with the app, but does not serve the lane.
    rows = await house.db.fetch(
        "select kind, name, lane, priority, root, parent_key from holdfast.run where parent = $1", run.id
    )
    assert {tuple(row) for row in rows} == {(2, "render", "gpu", 4, run.id, f"render#{n}") for n in (1, 2, 3)}
    assert not ledger.lines()
    said = str(await run.why())
    assert "waits for render#1" in said
    assert "lane 'gpu' has no worker" in said
    child: UUID = await house.value("select id from holdfast.run where parent_key = 'render#1'")
    assert "lane 'gpu' has no worker" in str(await client.get(child).why())
    await house.worker(app, lane="gpu")
    assert await run.result(timeout=SOON) == ["frame 0", "frame 1", "frame 2"]
    # To its code it is as if it were executed with its workflow.
    assert {line.rpartition(" ")[0] for line in ledger.lines()} == {
        f"render render#{n} 1 {run.id}:render#{n} film" for n in (1, 2, 3)
    }
    journal = await kinds(house, run.id)
    assert sorted(journal[:3]) == [(7, "render#1>"), (7, "render#2>"), (7, "render#3>")]
    assert sorted(journal[3:]) == [(6, "render#1"), (6, "render#2"), (6, "render#3")]
    await replays(house, client, run)
    await house.check_invariants()


async def test_in_a_workflow_of_its_own_lane_it_runs_with_it(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app, lane="gpu")
    run = await client.start(film, 2, lane="gpu")
    assert await run.result(timeout=SOON) == ["frame 0", "frame 1"]
    assert await kinds(house, run.id) == [(1, "render#1"), (1, "render#2")]


@pytest.mark.parametrize("dies", ["who executes", "who has the workflow"])
async def test_a_worker_that_is_killed_costs_an_attempt_and_nothing_else(
    house: House, client: Client, ledger: Ledger, dies: str
) -> None:
    coordinator = await process(house, ledger)
    executor = await process(house, ledger, "--lane", "gpu")
    run = await client.start(slow_film, 3)
    await eventually(lambda: len(ledger.lines()) == 3, "all are being executed")
    await house.until("select count(*) = 3 from holdfast.heartbeat")
    await (executor if dies == "who executes" else coordinator).kill()
    if dies == "who executes":
        await process(house, ledger, "--lane", "gpu")
        await eventually(lambda: len(ledger.lines()) == 6, "all are executed again")
        # What they had said last, their successors know; and a crash is no failed attempt.
        again = sorted(line.split() for line in ledger.lines()[3:])
        assert [(words[1], words[2], words[4]) for words in again] == [
            (f"render_slowly#{n}", "1", str(n - 1)) for n in (1, 2, 3)
        ]
    let_go(ledger)
    if dies != "who executes":
        await process(house, ledger)
    assert await run.result(timeout=SOON) == ["slow 0", "slow 1", "slow 2"]
    assert len(ledger.lines()) == (6 if dies == "who executes" else 3)
    assert await house.value("select count(*) from holdfast.run where parent = $1", run.id) == 3
    await replays(house, client, run)
    await house.check_invariants()


# ---- its options hold there


@pytest.mark.parametrize(
    ("how", "outcome"),
    [("twice", "attempt 3"), ("always", "burnt (3,)"), ("for good", "no film")],
)
async def test_its_retries_are_made_there_and_its_own_error_comes_back(
    house: House, client: Client, ledger: Ledger, how: str, outcome: str
) -> None:
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(bad_film, how)
    if how == "for good":
        with pytest.raises(RunFailed, match=outcome):
            await run.result(timeout=SOON)
    else:
        assert await run.result(timeout=SOON) == outcome
    # Each knows what the one before has said.
    attempts = 1 if how == "for good" else 3
    said = ["None", *(f"attempt {n}" for n in range(1, attempts))]
    assert ledger.lines() == [f"badly render_badly#1 {n} {said[n - 1]}" for n in range(1, attempts + 1)]
    await house.check_invariants()


async def test_options_of_the_call_hold_there_too(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(patient_film, "always")
    assert await run.result(timeout=SOON) == "burnt (1,)"
    assert len(ledger.lines()) == 1


async def test_its_timeout_counts_there(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(endless_film)
    assert await run.result(timeout=SOON) == "ActivityTimedOut"
    assert ledger.lines() == ["for ever 1", "for ever 2", "for ever 3"]
    await house.check_invariants()


async def test_its_total_timeout_counts_from_the_call_wherever_it_runs(house: House) -> None:
    app = house.app()

    @app.activity(lane="nowhere", total_timeout=timedelta(minutes=5))
    async def render() -> None: ...

    @app.workflow
    async def film() -> str:
        try:
            await render()
        except ActivityTimedOut as error:
            return type(error).__name__
        return ""

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(film)
    await house.parked(run.id)
    await house.until("select count(*) = 1 from holdfast.run where parent = $1", run.id)
    await house.advance(timedelta(minutes=6))
    assert await run.result(timeout=SOON) == "ActivityTimedOut"


async def test_in_processes_in_threads_and_completed_from_outside(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(mixed_film)
    token = await eventually(
        lambda: next((line.split()[-1] for line in ledger.lines() if line.startswith("asked")), None), "it has asked"
    )
    await client.complete(token, "and this")
    assert await run.result(timeout=SOON) == ["apart 1", "thread 2", "and this"]
    assert "apart render_apart#1 mixed_film" in ledger.lines()
    await replays(house, client, run)
    await house.check_invariants()


async def test_transactional_ones_have_their_effects_once_though_workers_are_killed(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.db.execute("create table booked (seat int)")
    await process(house, ledger)
    first = await process(house, ledger, "--lane", "gpu")
    run = await client.start(bookings, 60)
    await eventually(lambda: len(ledger.lines()) > 5, "some are booked")
    await first.kill()
    await process(house, ledger, "--lane", "gpu")
    assert await run.result(timeout=SOON) == list(range(60))
    seats = [row["seat"] for row in await house.db.fetch("select seat from booked order by seat")]
    assert seats == list(range(60))
    await house.check_invariants()


# ---- cancel


async def test_a_cancel_of_the_workflow_cancels_it_where_it_runs(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(slow_film, 2)
    await eventually(lambda: len(ledger.lines()) == 2, "both are being executed")
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await house.until("select count(*) = 2 from holdfast.runs where parent = $1 and status = 'cancelled'", run.id)
    assert not await house.value("select count(*) from holdfast.task")
    await house.check_invariants()


async def test_who_does_not_wait_for_it_any_more_cancels_it(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(hurried_film)
    assert await run.result(timeout=SOON) == "given up"
    await house.until("select count(*) = 1 from holdfast.runs where parent = $1 and status = 'cancelled'", run.id)
    await replays(house, client, run)
    await house.check_invariants()


async def test_one_that_somebody_cancels_has_failed(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(film, 1)
    child = await house.until("select id from holdfast.run where parent = $1", run.id)
    await client.cancel(child)
    with pytest.raises(RunFailed, match="it was cancelled"):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_a_retry_of_the_workflow_keeps_what_has_been_dispatched_and_succeeded(house: House) -> None:
    app = house.app()
    calls: list[str] = []

    @app.activity(lane="gpu")
    async def render(frame: int) -> str:
        calls.append(activity_info().idempotency_key)
        return f"frame {frame}"

    @app.activity(lane="gpu", retry=Retry(max_attempts=1))
    async def publish() -> str:
        calls.append(activity_info().idempotency_key)
        if len(calls) == 3:
            raise ValueError
        return "published"

    @app.workflow
    async def film() -> list[str]:
        return [*await asyncio.gather(render(1), render(2)), await publish()]

    client = await house.client(app)
    await house.worker(app)
    await house.worker(app, lane="gpu")
    run = await client.start(film)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    await run.retry()
    assert await run.result(timeout=SOON) == ["frame 1", "frame 2", "published"]
    # It is the same work: whoever is called outside knows it again.
    assert sorted(calls) == sorted([f"{run.id}:render#1", f"{run.id}:render#2", *[f"{run.id}:publish#1"] * 2])
    await house.check_invariants()


# ---- no room


@pytest.mark.parametrize("kind", ["loop", "threads"])
async def test_what_finds_no_room_is_executed_by_whoever_has_it(
    house: House, client: Client, ledger: Ledger, kind: str
) -> None:
    small = ("--max-activities", "4", "--max-threads", "4")
    first = await process(house, ledger, *small)
    run = await client.start(held_fan if kind == "loop" else held_threads, 12)
    # Four run, four are in line, and the others have no room there.
    await house.until("select count(*) = 4 from holdfast.run where parent = $1 and lane = 'default'", run.id)
    await eventually(lambda: len(ledger.lines()) == 4, "as many as may are being executed")
    second = await process(house, ledger, *small)
    await eventually(lambda: len(ledger.lines()) == 8, "the others are executed elsewhere")
    by = [line.split()[2] for line in ledger.lines()]
    assert (by.count(str(first.pid)), by.count(str(second.pid))) == (4, 4)
    let_go(ledger)
    assert await run.result(timeout=SOON) == sum(range(12))
    assert len(ledger.lines()) == 12
    await replays(house, client, run)
    await house.check_invariants()


async def test_what_is_crowded_in_one_kind_does_not_keep_the_others_from_their_places(
    house: House, client: Client, ledger: Ledger
) -> None:
    await process(house, ledger, "--max-activities", "2", "--max-threads", "2")
    on_loop = await client.start(held_fan, 8)
    await house.until("select count(*) = 4 from holdfast.run where parent = $1", on_loop.id)
    in_threads = await client.start(held_threads, 8)
    await house.until("select count(*) = 4 from holdfast.run where parent = $1", in_threads.id)
    await process(house, ledger, "--max-activities", "2", "--max-threads", "4")
    # Two of each run there; of the others, two and four do here.
    await eventually(lambda: len(ledger.lines()) == 2 + 2 + 2 + 4, "as many as may are being executed")
    let_go(ledger)
    assert await on_loop.result(timeout=SOON) == await in_threads.result(timeout=SOON) == sum(range(8))
    assert len(ledger.lines()) == 16
    await house.check_invariants()


async def test_a_worker_with_room_dispatches_nothing(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(noted_fan, 150)
    assert await run.result(timeout=SOON) == sum(range(150))
    assert await house.value("select count(*) from holdfast.run") == 1
    assert {kind for kind, _ in await kinds(house, run.id)} == {1}


async def test_nothing_is_executed_twice_in_a_fan_out_whose_workers_are_killed_unless_it_was_under_way(
    house: House, client: Client, ledger: Ledger
) -> None:
    workers = [await process(house, ledger) for _ in range(2)]
    run = await client.start(noted_fan, 2000)
    for target in (300, 900):
        await eventually(lambda target=target: len(ledger.lines()) >= target, "some are done")  # type: ignore[misc]
        await workers.pop(0).kill()
        await house.check_invariants()
        workers.append(await process(house, ledger))
    assert await run.result(timeout=SOON * 2) == sum(range(2000))
    journal = await kinds(house, run.id)
    outcomes = [key for kind, key in journal if kind in (1, 6)]
    assert len(outcomes) == len(set(outcomes)) == 2000
    starts = [key for kind, key in journal if kind == 7]
    assert (
        len(starts)
        == len(set(starts))
        == await house.value("select count(*) from holdfast.run where parent = $1", run.id)
    )
    # Its first worker may have begun them, and another one dispatched them: under the same key, with the same outcome.
    assert not [key for kind, key in journal if kind == 1 and f"{key}>" in starts]
    assert not await house.value("select count(*) from holdfast.task")
    await replays(house, client, run)
    await house.check_invariants()


async def test_what_began_where_its_workflow_is_and_is_dispatched_after_a_crash_is_the_same_call(
    house: House, client: Client, ledger: Ledger
) -> None:
    first = await process(house, ledger)
    run = await client.start(held_fan, 6)
    await eventually(lambda: len(ledger.lines()) == 6, "all are being executed, here")
    assert await house.value("select count(*) from holdfast.run") == 1
    await first.kill()
    await process(house, ledger, "--max-activities", "2")
    await house.until("select count(*) = 2 from holdfast.run where parent = $1", run.id)
    let_go(ledger)
    assert await run.result(timeout=SOON) == sum(range(6))
    calls: dict[str, set[str]] = {}
    for line in ledger.lines():
        _, number, _, key = line.split()
        calls.setdefault(number, set()).add(key)
    assert calls == {str(number): {f"held#{number + 1}"} for number in range(6)}
    await replays(house, client, run)
    await house.check_invariants()


async def test_an_input_that_is_too_large_to_be_stored_is_executed_here(house: House) -> None:
    app = house.app(payload_limit=1000)
    release = asyncio.Event()

    @app.activity
    async def takes(text: str) -> int:
        await release.wait()
        return len(text)

    @app.activity(lane="gpu")
    async def takes_elsewhere(text: str) -> int:
        return len(text)

    @app.workflow
    async def wide() -> int:
        return sum(await asyncio.gather(*(takes("x" * 2000) for _ in range(5))))

    @app.workflow
    async def elsewhere() -> int:
        return await takes_elsewhere("x" * 2000)

    client = await house.client(app)
    await house.worker(app, max_activities=1)
    run = await client.start(wide)
    release.set()
    assert await run.result(timeout=SOON) == 10_000
    with pytest.raises(RunFailed, match="the input of activity 'takes_elsewhere' is 2,011 bytes"):
        await (await client.start(elsewhere)).result(timeout=SOON)


async def test_dispatched_activities_can_be_seen_and_their_workflow_says_what_it_waits_for(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app)
    run = await client.start(film, 1)
    await house.parked(run.id)

    async def waits() -> tuple[str, ...]:
        return tuple((await run.describe()).waits_for)

    (line,) = await until(waits, "it waits")
    child = await house.value("select id from holdfast.run where parent = $1", run.id)
    assert line == f"activity render#1, run {child}"
    described = await client.describe(child)
    assert (described.parent, described.name, described.status) == (run.id, "render", RunStatus.READY)
    (step,) = (await run.describe()).journal
    assert (step.key, step.kind, step.child) == ("render#1", "activity", child)
