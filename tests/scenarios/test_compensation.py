"""W15, and W14 where it meets it: what was done is undone in reverse order, in real processes, through every crash."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from holdfast import RunCancelled, RunFailed, RunStatus, RunTimedOut
from holdfast.client import Client, RunHandle
from tests.apps.ledger import Ledger
from tests.apps.trips import GATE, SoldOut, go, trip
from tests.apps.trips import app as trips
from tests.house import House, WorkerProcess, eventually
from tests.scenarios.soon import SOON

MODULE = "tests.apps.trips"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def the_gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
async def client(house: House) -> Client:
    trips.override(origin="the test", database_url=house.dsn)
    return await house.client(trips)


async def process(house: House, ledger: Ledger, gate: Path) -> WorkerProcess:
    env = {**ledger.env, GATE: str(gate)}
    started = await house.process(MODULE, "--lease", "2s", "--poll", "200ms", env=env)
    await started.name()
    return started


def calls(ledger: Ledger, run: UUID, word: str = "unbook") -> list[str]:
    """What of this kind the run has called, in order, each with its attempt."""
    lines = [line.partition(" ")[2] for line in ledger.lines() if line.startswith(str(run))]
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


def more_than(ledger: Ledger, lines: int) -> bool:
    return len(ledger.lines()) > lines


async def undone(house: House, run: UUID) -> list[str]:
    rows = await house.db.fetch(
        "select key from holdfast.journal where run_id = $1 and kind = 1 and key like 'unbook#%' order by seq", run
    )
    return [row["key"] for row in rows]


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_a_worker_is_killed_in_the_middle_of_undoing_and_another_goes_on_where_it_was(
    house: House, ledger: Ledger, client: Client, the_gate: Path, how: str
) -> None:
    first = await process(house, ledger, the_gate)
    stops = ["flight", "gated hotel", "car"]
    run = await client.start(trip, [*stops, "unicorn"] if how == "fails" else stops, how != "fails")
    if how == "is cancelled":
        await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
        await run.cancel()
    await eventually(lambda: "gated hotel 1" in calls(ledger, run.id), "it is in the middle of undoing")
    assert await undone(house, run.id) == ["unbook#1"]
    await first.kill()

    the_gate.touch()
    await process(house, ledger, the_gate)
    if how == "fails":
        with pytest.raises(RunFailed) as failed:
            await run.result(timeout=SOON)
        assert isinstance(failed.value.__cause__, SoldOut)
    else:
        with pytest.raises(RunCancelled):
            await run.result(timeout=SOON)
    # The car was undone before, and its outcome recorded: not again. The hotel was under way: once more.
    assert calls(ledger, run.id) == ["car 1", "gated hotel 1", "gated hotel 1", "flight 1"]
    assert await undone(house, run.id) == ["unbook#1", "unbook#2", "unbook#3"]
    await house.check_invariants()


async def test_an_undo_is_retried_and_one_that_fails_for_good_is_told_and_stops_no_other(
    house: House, ledger: Ledger, client: Client, the_gate: Path
) -> None:
    await process(house, ledger, the_gate)
    run = await client.start(trip, ["flight", "stuck hotel", "flaky car", "unicorn"], False)
    with pytest.raises(RunFailed, match=r"1 of 3 undos failed \(unbook\) after SoldOut: unicorn") as failed:
        await run.result(timeout=SOON)
    assert failed.value.type_name.endswith(":CompensationFailed")
    assert "ConnectionError: <stuck hotel>" in failed.value.message
    assert isinstance(failed.value.__cause__, Exception)
    assert isinstance(failed.value.__cause__.__cause__, SoldOut)
    assert calls(ledger, run.id) == [
        *("flaky car 1", "flaky car 2"),
        *("stuck hotel 1", "stuck hotel 2", "stuck hotel 3"),
        "flight 1",
    ]
    described = await run.describe()
    outcomes = {step.key: step.failure is None for step in described.journal if step.key.startswith("unbook")}
    assert outcomes == {"unbook#1": True, "unbook#2": False, "unbook#3": True}
    await house.check_invariants()


async def test_a_second_cancel_does_not_stop_the_undoing(
    house: House, ledger: Ledger, client: Client, the_gate: Path
) -> None:
    await process(house, ledger, the_gate)
    run = await client.start(trip, ["flight", "gated hotel"], True)
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    await run.cancel()
    await eventually(lambda: "gated hotel 1" in calls(ledger, run.id), "it is in the middle of undoing")
    await run.cancel()
    the_gate.touch()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    assert calls(ledger, run.id) == ["gated hotel 1", "flight 1"]
    await house.check_invariants()


async def test_the_timeout_of_a_run_undoes_too(house: House, ledger: Ledger, client: Client, the_gate: Path) -> None:
    await process(house, ledger, the_gate)
    run = await client.start(trip, ["flight", "hotel"], True, timeout=timedelta(hours=1))
    await house.parked(run.id)
    await house.advance(timedelta(hours=1))
    with pytest.raises(RunTimedOut):
        await run.result(timeout=SOON)
    assert calls(ledger, run.id) == ["hotel 1", "flight 1"]
    await house.check_invariants()


async def test_workers_are_killed_again_and_again_and_each_booking_that_is_recorded_is_undone(
    house: House, ledger: Ledger, client: Client, the_gate: Path
) -> None:
    the_gate.touch()
    chance = random.Random(7)
    runs: list[RunHandle[list[str]]] = []
    waiting: list[RunHandle[list[str]]] = []
    workers = [await process(house, ledger, the_gate) for _ in range(2)]
    for _ in range(4):
        before = len(ledger.lines())
        for number in range(15):
            stops = [f"stop-{n}" for n in range(chance.randint(1, 4))]
            waits = number % 3 == 0
            runs.append(await client.start(trip, stops if waits else [*stops, "unicorn"], waits))
            if waits:
                waiting.append(runs[-1])
        await eventually(partial(more_than, ledger, before + chance.randint(10, 40)), "work goes on")
        for run in waiting:
            if chance.random() < 0.5:
                await run.cancel()
        await workers.pop(0).kill()
        workers.append(await process(house, ledger, the_gate))
    for run in waiting:
        await run.cancel()
    await house.ended(*[run.id for run in runs], patience=60.0)
    for run in runs:
        ended = await run.status()
        rows = await house.db.fetch("select key, error is null as done from holdfast.journal where run_id = $1", run.id)
        done = Counter(row["key"].partition("#")[0] for row in rows if row["done"])
        booked, given_back = done["book"], done["unbook"]
        if ended is RunStatus.CANCELLED and not booked:
            continue
        assert ended in (RunStatus.FAILED, RunStatus.CANCELLED)
        assert booked == given_back
    await house.check_invariants()


async def test_nothing_is_undone_where_all_goes_well(
    house: House, ledger: Ledger, client: Client, the_gate: Path
) -> None:
    await process(house, ledger, the_gate)
    run = await client.start(trip, ["flight", "hotel"], True)
    await house.parked(run.id)
    await run.signal(go, "on")
    assert await run.result(timeout=SOON) == ["<flight>", "<hotel>"]
    assert calls(ledger, run.id) == []
    await house.check_invariants()
