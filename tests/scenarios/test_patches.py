"""W11: a patch under a waiting run: each run goes one way, whatever crashes and whoever goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Activity, App, RunHandle, Signal, patched
from holdfast.app.hosted import WorkerOptions
from holdfast.core.states import Flag
from tests.apps.ledger import Ledger
from tests.house import QUICK, House, eventually
from tests.scenarios.soon import SOON

go = Signal[str]("go")

LOCK = 471_100
WAITING = (
    "select pid from pg_locks where locktype = 'advisory' and objid = $1 and not granted"
    " and database = (select oid from pg_database where datname = current_database())"
)
"""Who waits for the lock in this test's database: other tests have theirs on the same server."""

Ship = Activity[[str], str]
Body = Callable[[Ship], Coroutine[Any, Any, list[str]]]


class Release:
    """One version of the code: an app with a workflow ``order``."""

    def __init__(self, house: House, shipped: list[str], body: Body, *, arrives: bool = True) -> None:
        self.app: App = house.app()

        @self.app.activity
        async def ship(how: str) -> str:
            shipped.append(how)
            if not arrives:
                await asyncio.Event().wait()
            return how

        @self.app.workflow
        async def order() -> list[str]:
            return await body(ship)

        self.order = order


async def old_code(ship: Ship) -> list[str]:
    return [await ship("by rail"), await go.wait(), await ship("home by rail")]


async def new_code(ship: Ship) -> list[str]:
    first = await ship("by air" if patched("air") else "by rail")
    heard = await go.wait()
    return [first, heard, await ship("home by air" if patched("air") else "home by rail")]


async def without_the_old_way(ship: Ship) -> list[str]:
    return [await ship("by air"), await go.wait(), await ship("home by air")]


async def decisions_wait(house: House) -> None:
    """From now on the row of a decision cannot be written while somebody holds the lock."""
    await house.db.execute(
        f"""
        create function public.wait() returns trigger language plpgsql as $$
        begin
          perform pg_advisory_xact_lock({LOCK});
          return new;
        end $$;
        create trigger wait before insert on holdfast.journal for each row when (new.kind = 11)
          execute function public.wait();
        """
    )
    await house.db.execute("select pg_advisory_lock($1)", LOCK)


async def until_a_decision_waits(house: House) -> None:
    await house.until(f"select exists ({WAITING})", LOCK)


async def parked_on(house: House, release: Release) -> RunHandle[list[str]]:
    """A run that waits for its signal, and whose worker has left."""
    client = await house.client(release.app)
    async with release.app.worker(**QUICK):
        run = await client.start(release.order)
        await house.parked(run.id)
    return run


async def test_old_runs_go_the_old_way_and_new_ones_the_new_one_also_after_the_old_one_is_gone(house: House) -> None:
    shipped: list[str] = []
    old = await parked_on(house, Release(house, shipped, old_code))
    new = await parked_on(house, Release(house, shipped, new_code))
    async with Release(house, shipped, new_code).app.worker(**QUICK):
        await old.signal(go, "now")
        assert await old.result(timeout=SOON) == ["by rail", "now", "home by rail"]
    async with Release(house, shipped, without_the_old_way).app.worker(**QUICK):
        await new.signal(go, "now")
        assert await new.result(timeout=SOON) == ["by air", "now", "home by air"]
    assert shipped == ["by rail", "by air", "home by rail", "home by air"]
    assert await house.journal(old.id) == ["ship#1", "signal:go#1", "ship#2"]
    assert await house.journal(new.id) == ["patch:air", "ship#1", "signal:go#1", "ship#2"]
    await house.check_invariants()


async def test_a_run_in_memory_gives_the_answer_that_a_replay_gives(house: House) -> None:
    shipped: list[str] = []
    release = Release(house, shipped, new_code)
    client = await house.client(release.app)
    for cached in (0, 100):
        options: WorkerOptions = {**QUICK, "cached_runs": cached}
        async with release.app.worker(**options):
            run = await client.start(release.order)
            await house.parked(run.id)
            await run.signal(go, "now")
            assert await run.result(timeout=SOON) == ["by air", "now", "home by air"]
    await house.check_invariants()


async def test_nothing_beyond_a_patch_begins_before_the_decision_is_durable(house: House) -> None:
    shipped: list[str] = []
    release = Release(house, shipped, new_code)
    client = await house.client(release.app)
    await decisions_wait(house)
    await house.worker(release.app)
    run = await client.start(release.order)
    await until_a_decision_waits(house)
    # The loop of the worker is this one: it has had every opportunity.
    await house.value("select pg_sleep(0.05)")
    assert shipped == []
    await house.db.execute("select pg_advisory_unlock($1)", LOCK)
    await house.parked(run.id)
    assert shipped == ["by air"]
    assert await house.journal(run.id) == ["patch:air", "ship#1"]
    await house.check_invariants()


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_worker_that_is_killed_before_it_knows_the_decision_durable_has_done_nothing_of_it(
    house: House, *, arrives: bool
) -> None:
    await decisions_wait(house)
    ledger = Ledger(house.place / "ledger")
    client = await house.client(house.app())
    run = await client.start_by_name("order")
    doomed = await house.process("tests.apps.patches", "--lease", "2s", env=ledger.env)
    await until_a_decision_waits(house)
    await doomed.kill()
    if not arrives:
        # What it has sent is lost with its connection; otherwise the server commits it for a client that is gone.
        await house.db.execute(WAITING.replace("pid", "pg_terminate_backend(pid)"), LOCK)
        await house.until(f"select not exists ({WAITING})", LOCK)
    await house.db.execute("select pg_advisory_unlock($1)", LOCK)
    await house.process("tests.apps.patches", "--lease", "2s", env=ledger.env)
    way = "by air" if arrives else "by rail"
    assert await run.result(timeout=SOON) == way
    # The one that died had gone by air, as far as it knew: that must not have happened beside what did.
    assert ledger.lines() == [way]
    assert ("patch:air" in await house.journal(run.id)) is arrives
    await house.check_invariants()


@pytest.mark.usefixtures("long_lines")
async def test_a_run_that_was_given_back_before_its_code_began_comes_to_the_patch_live(house: House) -> None:
    shipped: list[str] = []
    release = Release(house, shipped, new_code)
    busy, free = asyncio.Event(), asyncio.Event()

    @release.app.activity
    async def fills_the_slot() -> None:
        busy.set()
        await free.wait()

    client = await house.client(release.app)
    one_slot: WorkerOptions = {**QUICK, "parallelism_factor": 0.1}
    async with release.app.worker(**one_slot) as worker:
        await client.start(fills_the_slot)
        await busy.wait()
        run = await client.start(release.order)
        await house.held(run.id)
        worker.stop()
        await house.until("select bucket_id is null from holdfast.task where run_id = $1", run.id)
        free.set()
    task = await house.db.fetchrow("select hold, flags from holdfast.task where run_id = $1", run.id)
    assert task is not None
    assert (task["hold"], task["flags"] & Flag.ENTERED) == (1, 0)
    async with release.app.worker(**QUICK):
        await house.until("select count(*) = 2 from holdfast.journal where run_id = $1", run.id)
    assert await house.journal(run.id) == ["patch:air", "ship#1"]
    assert await house.value("select flags & 64 from holdfast.task where run_id = $1", run.id) == Flag.ENTERED
    await house.check_invariants()


async def test_older_code_does_not_go_on_where_the_new_way_was_taken(house: House) -> None:
    """As two versions are deployed in turn: the row of the patch is durable, and nothing of what lies behind it."""
    shipped: list[str] = []
    release = Release(house, shipped, new_code, arrives=False)
    client = await house.client(release.app)
    impatient: WorkerOptions = {**QUICK, "grace": timedelta(0)}
    async with release.app.worker(**impatient):
        run = await client.start(release.order)
        await eventually(lambda: shipped == ["by air"], "what lies on the new way has begun")
    assert await house.journal(run.id) == ["patch:air"]
    async with Release(house, shipped, old_code).app.worker(**QUICK):
        await house.until("select exists (select from holdfast.blockage where run_id = $1)", run.id)
    reason = await house.value("select reason from holdfast.blockage where run_id = $1", run.id)
    assert 'activity ship#1 with the input {"how":"by rail"}' in reason
    assert "patch:air, a new way of the code that begins with ship#1, recorded at" in reason
    async with Release(house, shipped, new_code).app.worker(**QUICK):
        await run.signal(go, "now")
        assert await run.result(timeout=SOON) == ["by air", "now", "home by air"]
    assert shipped == ["by air", "by air", "home by air"]
    await house.check_invariants()


async def test_a_decision_that_ends_the_run_is_in_its_journal(house: House) -> None:
    app = house.app()

    @app.workflow
    async def decides() -> bool:
        return patched("only")

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(decides)
    assert await run.result(timeout=SOON) is True
    assert await house.journal(run.id) == ["patch:only"]
    description = await run.describe()
    assert [(step.key, step.kind) for step in description.journal] == [("patch:only", "patch")]
    await house.check_invariants()
