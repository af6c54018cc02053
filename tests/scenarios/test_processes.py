"""W5, W8: a run goes on in another process where it was in the first one; nothing that is recorded is done again."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.client import Client
from tests.apps.journeys import app as journeys
from tests.apps.journeys import falls, falls_twice, go, rests
from tests.apps.ledger import Ledger
from tests.house import House, WorkerProcess
from tests.scenarios.soon import SOON

MODULE = "tests.apps.journeys"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
async def client(house: House) -> Client:
    journeys.override(origin="the test", database_url=house.dsn)
    return await house.client(journeys)


async def process(house: House, ledger: Ledger) -> WorkerProcess:
    started = await house.process(MODULE, "--lease", "2s", "--poll", "200ms", env=ledger.env)
    await started.name()
    return started


def keys(ledger: Ledger) -> Counter[str]:
    """How often each call was begun: key and attempt."""
    return Counter(" ".join(line.split(" ")[3:]) for line in ledger.lines())


async def test_a_run_that_rests_goes_on_in_another_process_with_the_same_deadline(
    house: House, ledger: Ledger, client: Client
) -> None:
    due = "select due_at from holdfast.task where run_id = $1"
    first = await process(house, ledger)
    run = await client.start(rests, 5)
    await house.parked(run.id)
    deadline = await house.value(due, run.id)
    begun = await house.value("select at from holdfast.journal where run_id = $1 and key = 'fetch#1'", run.id)
    assert deadline == begun + timedelta(hours=5)
    await first.kill()

    second = await process(house, ledger)
    await house.advance(timedelta(hours=1))
    await run.signal(go, 10)
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'fetch#2')", run.id)
    await house.parked(run.id)
    assert await house.value(due, run.id) == deadline
    await second.kill()

    third = await process(house, ledger)
    await house.advance(timedelta(hours=4, seconds=1))
    assert await run.result(timeout=SOON) == 12 * 3
    assert keys(ledger) == {"fetch#1 1": 1, "fetch#2 1": 1, "crunch#1 1": 1}
    assert len({line.split(" ")[1] for line in ledger.lines()}) == 3
    assert third.pid != second.pid != first.pid
    assert await house.value(
        "select at >= $2 from holdfast.journal where run_id = $1 and key = 'timer#1'", run.id, deadline
    )
    await house.check_invariants()


async def test_back_offs_survive_the_death_of_the_process_and_attempts_go_on_counting(
    house: House, ledger: Ledger, client: Client
) -> None:
    first = await process(house, ledger)
    flow = await client.start(falls_twice)
    job = await client.start(falls, "job")
    await house.until("select count(*) = 3 from holdfast.journal where kind = 2")
    before = await house.db.fetch("select run_id, key, not_before from holdfast.journal where kind = 2")
    await first.kill()
    await process(house, ledger)
    assert await flow.result(timeout=SOON) == ["one", "two"]
    assert await job.result(timeout=SOON) == "job"
    # One call for each attempt, the second not before the back-off that the first process had recorded.
    assert keys(ledger) == {"falls#1 1": 2, "falls#2 1": 1, "falls#1 2": 2, "falls#2 2": 1}
    not_before = {(str(row["run_id"]), row["key"].partition("@")[0]): row["not_before"].timestamp() for row in before}
    for line in ledger.lines():
        at, _, run, key, attempt = line.split(" ")
        if attempt == "2":
            assert float(at) >= not_before[run, key]
    kept = await house.db.fetch("select run_id, key, not_before from holdfast.journal where kind = 2")
    assert sorted(map(tuple, kept)) == sorted(map(tuple, before))
    await house.check_invariants()
