"""Pruning beside everything else: who begins a key anew, retries, tags or goes on at the same moment; and kill -9."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from holdfast import HoldfastError, RunNotFound
from holdfast.core.states import Ending
from holdfast.store.connect import connect
from holdfast.store.retention import FIRST, prune
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import House
from tests.operate.test_retention import DAY, Shop, remaining
from tests.rules.change import rewritten
from tests.scenarios.soon import SOON

ALL = dict.fromkeys(Ending, DAY)


@asynccontextmanager
async def another(house: House) -> AsyncGenerator[tuple[asyncpg.Connection[asyncpg.Record], Session]]:
    """A connection of somebody else."""
    connection = await connect(house.dsn, application="somebody else")
    try:
        yield connection, Session(connection, Statements())
    finally:
        await connection.close()


TREE = """
with ids as (
  select u.n, holdfast.first_id(clock_timestamp() - interval '1 hour' + u.n * interval '1 ms') as id
    from generate_series(0, $1::int) as u (n)
), made as (
  insert into holdfast.run (id, kind, name, lane, priority, input, created_at, parent, root, parent_key)
  select i.id, 1, case when i.n = 0 then 'parent' else 'child' end, 'default', 3, '{}', clock_timestamp(),
         case when i.n > 0 then (select id from ids where n = 0) end,
         case when i.n > 0 then (select id from ids where n = 0) end,
         case when i.n > 0 then 'child#' || i.n end
    from ids i
), started as (
  insert into holdfast.journal (run_id, at, seq, hold, kind, key, output)
  select (select id from ids where n = 0), clock_timestamp(), i.n, 1, 7, 'child#' || i.n || '>', to_json(i.id)
    from ids i
   where i.n > 0
)
insert into holdfast.result (run_id, at, status)
select i.id, clock_timestamp(), 1 from ids i
returning run_id
"""


async def test_a_tree_of_any_size_goes_in_steps_of_a_bounded_size(house: House) -> None:
    await house.client(house.app())
    runs = [row["run_id"] for row in await house.db.fetch(TREE, 10_000)]
    root = min(runs)
    await house.advance(2 * DAY)
    async with another(house) as (_, session):
        first = await prune(session, ALL, keep_keys=DAY, limit=500)
        assert (first.runs, first.rest) == (501, True)
        # The root goes first, so nobody can go on from half of it.
        assert root not in await remaining(house)
        await house.check_invariants()
        sizes = [501]
        after: UUID | None = FIRST
        while after is not None:
            step = await prune(session, ALL, keep_keys=DAY, after=after, limit=500)
            sizes.append(step.runs or 0)
            after = step.last
    assert sum(sizes) == 10_001
    assert max(sizes) <= 1000
    assert await remaining(house) == set()
    await house.check_invariants()


async def test_children_by_a_clock_that_is_behind_go_too(house: House) -> None:
    """Their ids are lower than that of their root: they are looked at before it, and once more after it."""
    client = await house.client(house.app())
    runs = sorted(row["run_id"] for row in await house.db.fetch(TREE, 1_200))
    root = UUID(int=runs[-1].int + (60_000 << 80))
    for table, column in (("run", "id"), ("result", "run_id"), ("journal", "run_id")):
        await house.db.execute(f"update holdfast.{table} set {column} = $1 where {column} = $2", root, runs[0])
    await house.db.execute("update holdfast.run set root = $1, parent = $1 where root is not null", root)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, dry_run=True) == 1_201
    assert await client.records.prune(DAY) == 1_201
    assert await remaining(house) == set()


async def test_a_key_whose_time_is_over_is_taken_by_one_of_many(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    await (await client.start(shop.flow, "good", key="k")).result(timeout=SOON)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, keep_keys=timedelta(0)) == 1
    clients = [await house.client(shop.app) for _ in range(4)]
    started = await asyncio.gather(*(one.start(shop.flow, "good", key="k") for one in clients * 4))
    assert len({run.id for run in started}) == 1
    assert sum(not run.existing for run in started) == 1
    assert await started[0].result(timeout=SOON) == "good"
    await house.check_invariants()


async def test_a_start_with_the_key_of_a_run_that_goes_at_this_moment_makes_one_run_or_finds_it(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    run = await client.start(shop.flow, "good", key="k")
    await run.result(timeout=SOON)
    await house.advance(2 * DAY)
    async with another(house) as (connection, session):
        async with connection.transaction():
            assert (await prune(session, ALL, keep_keys=timedelta(0))).runs == 1
            starting = asyncio.create_task(client.start(shop.flow, "good", key="k"))
            await house.until("select exists (select from pg_stat_activity where wait_event_type = 'Lock')")
        new = await starting
    assert (new.existing, new.id == run.id) == (False, False)
    assert await new.result(timeout=SOON) == "good"
    again = await client.start(shop.flow, "good", key="k")
    assert (again.existing, again.id) == (True, new.id)
    await house.check_invariants()


async def test_what_somebody_else_is_at_is_not_waited_for_and_goes_the_next_time(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app)
    free, keyed, tagged = [await client.start(shop.flow, "good", key=key) for key in ("a", "b", "c")]
    await house.ended(free.id, keyed.id, tagged.id)
    await house.advance(2 * DAY)
    async with another(house) as (connection, _):
        async with connection.transaction():
            await connection.execute("select from holdfast.start_key where key = 'b' for update")
            await connection.execute('select holdfast.retag($1, \'{"a": "b"}\')', tagged.id)
            async with asyncio.timeout(1.5):
                assert await client.records.prune(DAY) == 1
        assert await remaining(house) == {keyed.id, tagged.id}
    await house.check_invariants()
    assert await client.records.prune(DAY) == 2
    await house.check_invariants()


PATIENT = ("SET lock_timeout TO '2s'", "SET lock_timeout TO '30s'")
HELD_UP = (
    "  v_roots := holdfast.lock_records(v_roots);\n",
    "  perform pg_advisory_xact_lock(42);\n  v_roots := holdfast.lock_records(v_roots);\n",
)
"""It has judged, and has locked nothing yet."""
CARELESS = ("  v_roots := holdfast.foremost(holdfast.prunable(v_roots, p_statuses, p_ages));\n", "")


@pytest.mark.parametrize(
    ("pieces", "stays"),
    [
        pytest.param((HELD_UP,), True, id="as it is"),
        pytest.param((HELD_UP, CARELESS), False, id="without the second look"),
    ],
)
async def test_what_is_retried_after_it_was_judged_and_before_it_is_locked_stays(
    house: House, monkeypatch: pytest.MonkeyPatch, pieces: tuple[tuple[str, str], ...], stays: bool
) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    run = await client.start(shop.flow, "waits")
    await run.terminate()
    await house.advance(2 * DAY)
    await rewritten("prune", PATIENT)(house.db, monkeypatch)
    await rewritten("prune_runs", *pieces)(house.db, monkeypatch)
    async with another(house) as (connection, _), connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(42)")
        pruning = asyncio.create_task(client.records.prune(DAY))
        await house.until("select exists (select from pg_stat_activity where wait_event_type = 'Lock')")
        again = await run.retry()
    assert (await pruning == 0) is stays
    assert (run.id in await remaining(house)) is stays
    # What goes on is found by the first id either way.
    assert (await run.newest()).id == again.id
    await house.check_invariants()


async def test_runs_end_and_are_retried_tagged_and_started_anew_while_they_are_pruned(house: House) -> None:
    shop = Shop(house)
    client = await house.client(shop.app)
    await house.worker(shop.app, cached_runs=0)
    stop = asyncio.Event()
    removed = 0
    made = set[UUID]()

    async def prune_on() -> None:
        nonlocal removed
        while not stop.is_set():
            gone = await client.records.prune(timedelta(0), keep_keys=timedelta(0))
            removed += gone

    async def busy(n: int) -> None:
        for turn in range(15):
            run = await client.start(shop.flow, "bad", key=f"key {n}")
            try:
                made.add(run.id)
                with pytest.raises(HoldfastError):
                    await run.result(timeout=SOON)
                again = await run.retry()
                made.add(again.id)
                await run.tag({"turn": str(turn)})
                with pytest.raises(HoldfastError):
                    await again.result(timeout=SOON)
            except RunNotFound:
                continue  # it has gone, as it may at any moment after its end

    pruning = [asyncio.create_task(prune_on()) for _ in range(2)]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(busy(n) for n in range(8)))
    finally:
        stop.set()
        await asyncio.gather(*pruning)
    await house.until("select count(*) = 0 from holdfast.task")
    await house.check_invariants()
    removed += await client.records.prune(timedelta(0), keep_keys=timedelta(0))
    # Each that was made, and the activities that were dispatched; and keys have been used anew.
    assert removed >= len(made) > 2 * 8
    assert await remaining(house) == set()
    for table in ("journal", "result", "inbox", "task"):
        assert await house.value(f"select count(*) from holdfast.{table}") == 0


async def test_a_worker_that_is_killed_while_it_prunes_leaves_each_run_whole_or_gone(house: House) -> None:
    client = await house.client(house.app())
    runs = sorted(row["run_id"] for row in await house.db.fetch(TREE, 3_000))
    await house.advance(2 * DAY)
    await house.db.execute(
        "insert into holdfast.cancel_request (run_id, at) values ($1, clock_timestamp())", runs[2_000]
    )
    async with another(house) as (connection, _), connection.transaction():
        # In the middle of a later step it comes to a row that somebody has locked.
        await connection.execute("select from holdfast.cancel_request for update")
        worker = await house.process("tests.apps.journeys", "--keep", "succeeded=1d")
        await house.until(
            "select exists (select from pg_stat_activity "
            "where application_name like 'holdfast retention%' and wait_event_type = 'Lock')"
        )
        assert 0 < len(await remaining(house)) < 3_001
        worker.send(signal.SIGKILL)
        await worker.kill()
        await house.check_invariants()
    await house.until(
        "select not exists (select from pg_stat_activity where application_name like 'holdfast retention%')"
    )
    await house.check_invariants()
    left = len(await remaining(house))
    assert left > 0
    assert await client.records.prune(DAY) == left
    assert await remaining(house) == set()
    assert await house.value("select count(*) from holdfast.journal") == 0
    await house.check_invariants()
