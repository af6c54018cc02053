"""R: worker processes that are killed, stopped, frozen and blocked."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from holdfast.client import Client, RunHandle
from tests.apps.journeys import app as journeys
from tests.apps.journeys import blocks, branches, go, journey, journeys_end, lasting, lasts, trips_everywhere
from tests.apps.ledger import Ledger
from tests.house import House, WorkerProcess, eventually
from tests.scenarios.soon import SOON

MODULE = "tests.apps.journeys"
LEASE = ("--lease", "2s", "--poll", "200ms")
ROOMY = ("--parallelism-factor", "100", "--max-activities", "400")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


async def started(house: House, ledger: Ledger, count: int = 1, *options: str) -> list[WorkerProcess]:
    """Worker processes with a lease of two seconds, which have registered."""
    processes = [await house.process(MODULE, *LEASE, *options, env=ledger.env) for _ in range(count)]
    for process in processes:
        await process.name()
    return processes


async def no_recorded_call_was_repeated(house: House, ledger: Ledger, runs: Sequence[UUID]) -> None:
    """No activity was called again after its outcome, or that attempt's, had been recorded."""
    rows = await house.db.fetch(
        "select run_id, key, kind, extract(epoch from at)::float8 as at from holdfast.journal "
        "where run_id = any ($1::uuid[]) and kind in (1, 2)",
        runs,
    )
    recorded = {(str(row["run_id"]), row["key"]): row["at"] for row in rows}
    repeated: list[str] = []
    for line in ledger.lines():
        at, _, run, key, attempt = line.split(" ")
        ends = [recorded.get((run, key)), recorded.get((run, f"{key}@{attempt}"))]
        repeated.extend(line for end in ends if end is not None and float(at) > end)
    assert not repeated


async def called(ledger: Ledger, count: int) -> None:
    """Waits until so many calls of activities have begun."""
    await eventually(lambda: len(ledger.lines()) >= count, f"{count} activities are called")


async def client_of(house: House) -> Client:
    journeys.override(origin="the test", database_url=house.dsn)
    return await house.client(journeys)


async def all_ended_by_themselves(house: House, runs: Sequence[UUID]) -> None:
    statuses = await house.db.fetch(
        "select status, error::text from holdfast.result where run_id = any ($1::uuid[]) and status <> 1", runs
    )
    assert not statuses
    assert not await house.value("select count(*) from holdfast.task")


@pytest.mark.parametrize("seed", [1, 2])
async def test_workers_are_killed_again_and_again_and_every_run_ends_once(
    house: House, ledger: Ledger, seed: int
) -> None:
    chance = random.Random(seed)
    client = await client_of(house)
    workers = await started(house, ledger, 2)
    runs: list[RunHandle[int]] = await client.start_many([journey.call(n) for n in range(60)])
    more = await client.start_many([branches.call(n) for n in range(10)])
    signalled = 0
    for kill in range(5):
        # At a random moment: after so many further calls of activities.
        target = len(ledger.lines()) + chance.randint(5, 45)
        await called(ledger, min(target, 300))
        victim = workers.pop(chance.randrange(len(workers)))
        await victim.kill()
        workers += [await house.process(MODULE, *LEASE, env=ledger.env)]
        for n in range(signalled, signalled + 12):
            assert await runs[n].signal(go, n, key="once")
            assert not await runs[n].signal(go, n, key="once")
        signalled += 12
        if kill % 2:
            await house.check_invariants()
    ids = [run.id for run in (*runs, *more)]
    await house.ended(*ids, patience=40)
    assert [await run.result(timeout=SOON) for run in runs] == [journeys_end(n, n) for n in range(60)]
    assert len({len(await run.result(timeout=SOON)) for run in more}) == 1
    await all_ended_by_themselves(house, ids)
    await no_recorded_call_was_repeated(house, ledger, ids)
    await house.check_invariants()


async def test_all_runs_of_a_killed_worker_are_taken_within_its_lease_and_a_second(
    house: House, ledger: Ledger
) -> None:
    """By the database's clock. A machine that has other things to do may be late once, but not three times."""
    client = await client_of(house)
    (worker,) = await started(house, ledger, 1, *ROOMY)
    await client.start_many([lasting.call(3600.0) for _ in range(200)])
    late: list[float] = []
    while len(late) < 3 and (not late or late[-1] > 1.0):
        await called(ledger, 200 * (len(late) + 1))
        victim = await worker.name()
        await house.db.execute("update holdfast.task set crashes = 0")  # they are no suspects
        (worker,), dying = await started(house, ledger, 1, *ROOMY), worker
        await dying.kill()
        lease_until = await house.value("select lease_until from holdfast.worker where name = $1", victim)
        await house.until(
            "select count(*) = 200 from holdfast.task t join holdfast.bucket b on b.id = t.bucket_id "
            "join holdfast.worker w on w.id = b.worker_id where w.name = $1",
            await worker.name(),
        )
        late.append(((await house.value("select clock_timestamp()")) - lease_until).total_seconds())
    assert late[-1] <= 1.0
    await house.check_invariants()


async def test_what_a_frozen_worker_writes_after_its_lease_is_refused_and_its_runs_end_elsewhere(
    house: House, ledger: Ledger
) -> None:
    client = await client_of(house)
    (frozen,) = await started(house, ledger)
    name = await frozen.name()
    runs = [await client.start(lasting, 1.0) for _ in range(5)] + [await client.start(lasting, 0.2) for _ in range(5)]
    jobs = [await client.start(lasts, 1.0) for _ in range(3)]
    ids = [run.id for run in (*runs, *jobs)]
    await called(ledger, 13)
    frozen.send(signal.SIGSTOP)
    (peer,) = await started(house, ledger)
    await house.until("select state = 'lost' from holdfast.worker where name = $1", name)
    await house.ended(*ids)
    results = await house.db.fetch("select * from holdfast.result order by run_id")
    journal = await house.db.fetch("select * from holdfast.journal order by run_id, seq")
    frozen.send(signal.SIGCONT)
    # It finds out by itself, and goes on as a new worker.
    await house.until(
        "select count(*) = 1 from holdfast.worker where pid = $1 and state = 'active' and name <> $2", frozen.pid, name
    )
    after = await client.start(lasting, 0.0)
    await after.result(timeout=SOON)
    assert await house.db.fetch("select * from holdfast.result where run_id <> $1 order by run_id", after.id) == results
    assert (
        await house.db.fetch("select * from holdfast.journal where run_id <> $1 order by run_id, seq", after.id)
        == journal
    )
    assert {row["status"] for row in results} == {1}
    assert "stopped itself" in house.log() or "lost its lease" in house.log()
    assert peer.pid != frozen.pid
    await house.check_invariants()


async def test_a_worker_that_was_frozen_beyond_its_lease_begins_nothing_when_it_wakes(
    house: House, ledger: Ledger
) -> None:
    """What it was about to begin has been done by somebody else; the next attempt is not called by both."""
    client = await client_of(house)
    frozen = await house.process(MODULE, "--lease", "1s", "--poll", "200ms", env=ledger.env)
    name = await frozen.name()
    runs = await client.start_many([trips_everywhere.call() for _ in range(5)])
    await house.until("select count(*) = 15 from holdfast.journal where kind = 2")
    frozen.send(signal.SIGSTOP)
    await started(house, ledger)
    await house.ended(*[run.id for run in runs])
    frozen.send(signal.SIGCONT)
    await house.until(
        "select count(*) = 1 from holdfast.worker where pid = $1 and state = 'active' and name <> $2", frozen.pid, name
    )
    calls = [line.split(" ", 2)[2] for line in ledger.lines()]
    assert len(calls) == len(set(calls)) == 35
    await house.check_invariants()


async def test_a_handler_that_blocks_the_loop_for_longer_than_the_lease_loses_nothing(
    house: House, ledger: Ledger
) -> None:
    client = await client_of(house)
    await started(house, ledger, 2)
    beside = await client.start_many([journey.call(n) for n in range(10)])
    blocking = await client.start(blocks, 3.0)
    await eventually(lambda: any("blocks#1" in line for line in ledger.lines()), "the loop is blocked")
    later = await client.start_many([journey.call(n) for n in range(10, 20)])
    for n, run in enumerate((*beside, *later)):
        await run.signal(go, n)
    assert await blocking.result(timeout=SOON) == "done"
    runs = [run.id for run in (*beside, *later)]
    await house.ended(*runs)
    assert sum("blocks#1" in line for line in ledger.lines()) == 1
    assert await house.value("select count(*) from holdfast.worker where state = 'active'") == 2
    assert not await house.value("select count(*) from holdfast.worker where state <> 'active'")
    await no_recorded_call_was_repeated(house, ledger, runs)
    await house.check_invariants()


async def test_sigterm_under_load_finishes_what_runs_and_hands_over_the_rest(house: House, ledger: Ledger) -> None:
    client = await client_of(house)
    (first,) = await started(house, ledger, 1, "--grace", "20s")
    running = [await client.start(lasts, 0.7) for _ in range(4)]
    await called(ledger, 4)
    waiting = [await client.start(lasts, 0.0) for _ in range(20)]
    flows = await client.start_many([journey.call(n) for n in range(20)])
    await house.until("select count(*) >= 10 from holdfast.task where bucket_id is not null")
    (second,) = await started(house, ledger)
    first.send(signal.SIGTERM)
    assert await first.exit() == 0
    ended = await house.value("select ended_at from holdfast.worker where pid = $1", first.pid)
    for n, run in enumerate(flows):
        await run.signal(go, n)
    await house.ended(*[run.id for run in (*running, *waiting, *flows)])
    # Nobody waited for a lease: what was given back was taken within a second.
    late = await house.value(
        "select max(first_claim_at) - $2::timestamptz from holdfast.result where run_id = any ($1::uuid[])",
        [run.id for run in waiting],
        ended,
    )
    assert late.total_seconds() < 1.0
    by_first = [line for line in ledger.lines() if int(line.split(" ")[1]) == first.pid]
    assert sum(str(run.id) in line for run in running for line in by_first) == 4
    # Each ran once: running work was let finish, and nothing was executed by both.
    for job in (*running, *waiting):
        assert sum(str(job.id) in line for line in ledger.lines()) == 1
    assert second.pid != first.pid
    await all_ended_by_themselves(house, [run.id for run in (*running, *waiting, *flows)])
    await house.check_invariants()


async def test_eight_processes_on_an_empty_database_migrate_it_once(empty_dsn: str, tmp_path: Path) -> None:
    from holdfast.store.connect import connect

    db = await connect(empty_dsn, application="tests")
    try:
        async with House(empty_dsn, db, tmp_path) as house:
            ledger = Ledger(tmp_path / "ledger")
            processes = [await house.process(MODULE, *LEASE, env=ledger.env) for _ in range(8)]
            await house.until("select to_regclass('holdfast.worker') is not null")
            for process in processes:
                await process.name()
            count, distinct = await db.fetchrow("select count(*), count(distinct version) from holdfast.migration")  # type: ignore[misc]
            assert count == distinct > 0
            client = await client_of(house)
            runs = [await client.start(lasting, 0.01) for _ in range(20)]
            assert {await run.result(timeout=SOON) for run in runs} == {"done"}
            assert "Traceback" not in house.log()
            assert "ERROR" not in house.log()
            await house.check_invariants()
    finally:
        await db.close()
