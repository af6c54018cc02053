"""R10: a worker's clock is one hour off, in either direction; nothing that lasts is touched by it."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast import RunTimedOut
from tests.apps.journeys import falls, journey, lasting, lasts, rests
from tests.faults.load import MODULE, OPTIONS, SOON, Load
from tests.house import ROOT, House, WorkerProcess

FOLDER = Path(__file__).parent / "wrong_clock"


async def worker(load: Load, hours: int) -> WorkerProcess:
    """A worker process whose clock is wrong by so many hours."""
    env = {
        **load.ledger.env,
        "HOLDFAST_TEST_CLOCK": str(hours),
        "PYTHONPATH": os.pathsep.join([str(FOLDER), str(ROOT)]),
    }
    process = await load.house.process(MODULE, *OPTIONS, "--lease", "2s", env=env)
    await process.name()
    return process


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_whose_clock_is_an_hour_off(house: House, load: Load, hours: int) -> None:
    began = await house.value("select clock_timestamp()")
    await worker(load, hours)
    await load.add(5, jobs=3)
    await load.signal(5)
    later = await load.client.start(lasts, 0.0, after=timedelta(seconds=1.5))
    never = await load.client.start(lasts, 0.0, after=timedelta(minutes=30))
    resting = await load.client.start(rests, 1)
    failing = await load.client.start(falls, "job")
    late = await load.client.start(lasting, 60.0, timeout=timedelta(seconds=1.5))
    patient = await load.client.start(lasting, 0.0, timeout=timedelta(minutes=30))
    assert await later.result(timeout=SOON) == "done"
    assert await failing.result(timeout=SOON) == "job"
    assert await patient.result(timeout=SOON) == "done"
    with pytest.raises(RunTimedOut):
        await late.result(timeout=SOON)
    assert {line.split(" ")[1] for line in load.ledger.lines()} == {
        str(await house.value("select pid from holdfast.worker"))
    }
    # Its own clock is really off: this is what the activities wrote down.
    off = float(load.ledger.lines()[0].split(" ")[0]) - time.time()
    assert abs(off - hours * 3600) < 60

    waits = await house.db.fetch(
        "select r.name, extract(epoch from e.first_claim_at - r.created_at)::float8 as claimed, "
        "extract(epoch from e.at - r.created_at)::float8 as ended, r.id from holdfast.run r "
        "join holdfast.result e on e.run_id = r.id"
    )
    by_id = {row["id"]: row for row in waits}
    assert by_id[later.id]["claimed"] >= 1.5
    assert by_id[failing.id]["ended"] >= 3.0
    assert 1.5 <= by_id[late.id]["ended"] < 15
    # What is far away is where it should be: not begun, and resting for an hour from its own beginning.
    assert await house.value("select first_claim_at is null from holdfast.task where run_id = $1", never.id)
    due = "select due_at - first_claim_at from holdfast.task where run_id = $1"
    assert timedelta(hours=1) <= await house.value(due, resting.id) < timedelta(hours=1, seconds=20)
    # No time that was written is out of order with the database's own.
    for table, column in (("journal", "at"), ("journal", "started_at"), ("result", "at"), ("worker", "started_at")):
        wrong = f"select count(*) from holdfast.{table} where {column} not between $1 and clock_timestamp()"
        assert not await house.value(wrong, began)
    await resting.cancel()
    await never.cancel()
    await load.house.ended(resting.id, never.id)
    assert await journeys_took(house) >= 1.2
    counts = Counter(line.split(" ", 2)[2] for line in load.ledger.lines())
    assert set(counts.values()) == {1}
    await house.check_invariants()


async def journeys_took(house: House) -> float:
    """Seconds that the quickest journey took, which has timers of 1.2 s and more."""
    await house.until(
        "select count(*) = 5 from holdfast.result e join holdfast.run r on r.id = e.run_id where r.name = 'journey'"
    )
    took: float = await house.value(
        "select min(extract(epoch from e.at - e.first_claim_at))::float8 from holdfast.result e "
        "join holdfast.run r on r.id = e.run_id where r.name = $1",
        journey.name,
    )
    return took


async def test_workers_whose_clocks_differ_by_two_hours_pass_runs_to_and_fro(house: House, load: Load) -> None:
    early, late = await worker(load, -1), await worker(load, 1)
    await load.add(12, jobs=4)
    await load.signal(6)
    await early.kill()
    await worker(load, -1)
    await load.signal(6)
    runs = await house.db.fetch("select id from holdfast.run")
    await house.ended(*[row["id"] for row in runs])
    assert not await house.value("select count(*) from holdfast.result where status <> 1")
    # A second call only where the first one's worker had been killed.
    counts = Counter(line.split(" ", 2)[2] for line in load.ledger.lines())
    dead = {line.split(" ", 2)[2] for line in load.ledger.lines() if line.split(" ")[1] == str(early.pid)}
    assert all(number == 1 or (number == 2 and call in dead) for call, number in counts.items())
    assert late.pid != early.pid
    await house.check_invariants()
