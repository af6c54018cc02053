"""W18 for each library: effects, outcome and fence are one commit, whatever is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg import capabilities

from holdfast import App, Retry, RunCancelled, RunFailed, activity_info
from holdfast.app.hosted import WorkerOptions
from holdfast.core.isolation import IsolationLevel
from tests.faults.proxy import Proxy
from tests.house import QUICK, House
from tests.integrations.ways import ENDED, ONCE, TABLES, WAYS, Refused, Way

pytestmark = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)

SOON = timedelta(seconds=20)
QUICKLY = Retry(initial=timedelta(milliseconds=10), max_attempts=20)


HOLD_UP = "select pg_advisory_lock(7)"
LET_GO = "select pg_advisory_unlock(7)"
HELD_UP = "select pg_advisory_xact_lock(7)::text"
WAITS = """
select count(*) = 1 from pg_locks
 where locktype = 'advisory' and classid = 0 and objid = 7 and not granted
   and database = (select oid from pg_database where datname = current_database())
"""


async def app_of(
    house: House, way: Way, *, retry: Retry = ONCE, level: IsolationLevel | None = None, library: Any = None
) -> App:
    await house.db.execute(TABLES)
    app = house.app()
    way.make(app, way.library(house.dsn) if library is None else library, retry, level)

    @app.workflow
    async def flow(name: str, value: str | None = None) -> str:
        activity: Any = app.definitions[name]
        return str(await (activity() if value is None else activity(value)))

    @app.workflow
    async def crowd() -> list[int]:
        adds: Any = app.definitions["adds"]
        return list(await asyncio.gather(*[adds() for _ in range(4)]))

    return app


async def run(house: House, app: App, name: str, *args: str) -> Any:
    client = await house.client(app)
    definition: Any = app.definitions[name]
    started = await client.start(definition.call(*args))
    return await started.result(timeout=SOON)


async def notes(house: House) -> list[str]:
    return [row["text"] for row in await house.db.fetch("select text from note order by id")]


@pytest.mark.parametrize("level", [None, "repeatable read", "serializable"])
async def test_effects_and_outcome_are_one_commit(house: House, way: Way, level: IsolationLevel | None) -> None:
    app = await app_of(house, way, level=level)
    await house.worker(app)
    assert await run(house, app, "flow", "write", "step") == "step"
    assert await run(house, app, "write", "job") == "job"
    assert await notes(house) == ["step", "job"]
    assert await house.value(
        "select j.xmin::text = n.xmin::text from holdfast.journal j, note n where j.key = 'write#1' and n.text = 'step'"
    )
    assert await house.value(
        "select r.xmin::text = n.xmin::text from holdfast.result r join holdfast.run on id = run_id and kind = 2, "
        "note n where n.text = 'job'"
    )
    await house.check_invariants()


async def test_what_raises_leaves_no_effect(house: House, way: Way) -> None:
    app = await app_of(house, way)
    await house.worker(app)
    for call in (("flow", "refuse", "x"), ("refuse", "x")):
        with pytest.raises(RunFailed, match="Refused"):
            await run(house, app, *call)
    assert await notes(house) == []
    assert await run(house, app, "write", "after") == "after"
    await house.check_invariants()


async def test_who_commits_with_the_means_of_the_library_is_told_so(house: House, way: Way) -> None:
    app = await app_of(house, way)
    await house.worker(app)
    with pytest.raises(RunFailed, match=way.commits_words):
        await run(house, app, "commits")
    if way.name != "asyncpg":
        # Refused before it has happened.
        assert await notes(house) == []
    assert await run(house, app, "write", "after") == "after"
    await house.check_invariants()


async def test_who_rolls_back_with_the_means_of_the_library_is_told_so(house: House, way: Way) -> None:
    app = await app_of(house, way, retry=QUICKLY if way.rolls_back_words == ENDED else ONCE)
    await house.worker(app)
    with pytest.raises(RunFailed, match=way.rolls_back_words):
        await run(house, app, "rolls_back")
    # Neither what was before it nor what came after.
    assert await notes(house) == []
    assert await run(house, app, "write", "after") == "after"
    await house.check_invariants()


def add(app: App, body: Callable[[Any], Any], at_once: Callable[[Any], Any], **options: Any) -> Any:
    """Registers one more activity of the same library: the first function where that is async, else the second."""
    write: Any = app.definitions["write"]
    fn = body if write.is_async else at_once
    return app.activity(name="added", transactional=write.transactional.library, **options)(fn)


async def test_an_error_that_was_passed_over_commits_nothing_and_is_explained(house: House, way: Way) -> None:
    app = await app_of(house, way)
    says: Any = app.definitions["says"].fn

    async def passes_over(connection: Any) -> None:
        with pytest.raises(Exception, match="division by zero"):
            await says(connection, "select 1 / 0")

    def passes_over_at_once(connection: Any) -> None:
        with pytest.raises(Exception, match="division by zero"):
            says(connection, "select 1 / 0")

    add(app, passes_over, passes_over_at_once, retry=ONCE)
    await house.worker(app)
    with pytest.raises(
        RunFailed, match="has passed over an error of a statement, after which Postgres commits nothing"
    ):
        await run(house, app, "added")
    assert await notes(house) == []
    assert await run(house, app, "write", "after") == "after"


async def test_what_it_starts_is_there_with_its_outcome_or_not_at_all(house: House, way: Way) -> None:
    app = await app_of(house, way)
    write: Any = app.definitions["write"]

    async def starts(connection: Any) -> str:
        async with app.client() as client:
            child = await client.start(write.call("child"), connection=connection)
        if activity_info().attempt == 1:
            raise Refused
        return str(child.id)

    def starts_at_once(connection: Any) -> str:
        with app.blocking_client() as client:
            child = client.start(write.call("child"), connection=connection)
        if activity_info().attempt == 1:
            raise Refused
        return str(child.id)

    add(app, starts, starts_at_once, retry=QUICKLY)
    await house.worker(app)
    client = await house.client(app)
    started = await run(house, app, "flow", "added")
    assert await client.get(started, write).result(timeout=SOON) == "child"
    assert await notes(house) == ["child"]
    assert await house.value("select count(*) from holdfast.run") == 2
    assert await house.value(
        "select r.xmin::text = j.xmin::text from holdfast.run r, holdfast.journal j "
        "where r.name = 'write' and j.key = 'added#1'"
    )
    await house.check_invariants()


async def test_a_cancel_rolls_back_what_is_under_way(house: House, way: Way) -> None:
    app = await app_of(house, way)
    await house.worker(app, max_transactions=1)
    client = await house.client(app)
    flow: Any = app.definitions["flow"]
    await house.db.execute(HOLD_UP)
    cancelled = await client.start(flow.call("says", HELD_UP))
    await house.until(WAITS)
    await cancelled.cancel()
    with pytest.raises(RunCancelled):
        await cancelled.result(timeout=SOON)
    await house.db.execute(LET_GO)
    assert await run(house, app, "write", "after") == "after"
    assert await notes(house) == ["after"]
    await house.check_invariants()


@pytest.mark.parametrize("word", ["commit", "rollback"])
async def test_who_says_it_in_sql_is_found_out(house: House, way: Way, word: str) -> None:
    app = await app_of(house, way, retry=QUICKLY)
    await house.worker(app)
    with pytest.raises(RunFailed, match="has ended its transaction by itself") as failed:
        await run(house, app, "says", word)
    assert failed.value.type_name == "holdfast.core.errors:TransactionEnded"
    assert len(await notes(house)) <= 1
    assert await run(house, app, "write", "after") == "after"
    await house.check_invariants()


async def test_a_serialization_failure_is_an_attempt_by_the_policy(house: House, way: Way) -> None:
    app = await app_of(house, way, retry=QUICKLY)
    await house.worker(app)
    assert await run(house, app, "crowd") != [1, 1, 1, 1]
    assert await house.value("select amount from account") == 4
    failed = "select count(*) from holdfast.journal where kind = 2 and error::text like '%could not serialize%'"
    assert await house.value(failed)
    await house.check_invariants()


async def test_a_connection_that_is_lost_in_the_middle_is_a_failed_attempt(house: House, way: Way) -> None:
    app = await app_of(house, way, retry=QUICKLY)
    await house.worker(app)
    await house.db.execute(
        "create function once() returns text language plpgsql as $$ begin "
        "  if nextval('times') = 1 then perform pg_terminate_backend(pg_backend_pid()); end if; return 'now'; end $$; "
        "create sequence times"
    )
    assert await run(house, app, "flow", "says", "select once()") == "now"
    assert await notes(house) == ["says"]
    assert await house.journal(await house.value("select id from holdfast.run")) == ["says#1@1", "says#1"]
    await house.check_invariants()


async def test_answers_to_commits_that_are_lost(house: House, way: Way) -> None:
    async with Proxy(house.dsn) as proxy:
        app = await app_of(house, way, retry=QUICKLY, library=way.library(proxy.dsn))
        client = await house.client(app)
        app.override(origin="the test", database_url=proxy.dsn)
        loss = proxy.lose("COMMIT", lambda place, _rows: place % 2 == 0)
        write: Any = app.definitions["write"]
        flow: Any = app.definitions["flow"]
        runs = [await client.start(flow.call("write", f"step {n}")) for n in range(4)]
        runs += [await client.start(write.call(f"job {n}")) for n in range(4)]
        options: WorkerOptions = {**QUICK, "lease": timedelta(seconds=30)}
        async with app.worker(**options):
            for one in runs:
                await one.result(timeout=SOON)
        assert loss.lost >= 3
        assert len(await notes(house)) == len(set(await notes(house))) == 8
        assert not await house.value("select count(*) from holdfast.journal where kind = 2")
        await house.check_invariants()


async def test_an_effect_that_comes_after_the_take_over_is_not_committed(house: House, way: Way) -> None:
    app = await app_of(house, way)
    await house.worker(app)
    client = await house.client(app)
    flow: Any = app.definitions["flow"]
    await house.db.execute(HOLD_UP)
    late = await client.start(flow.call("says", HELD_UP))
    await house.until(WAITS)
    # As recovery does it, but for the connections, which it would end.
    await house.db.execute("update holdfast.fence set epoch = epoch + 1")
    await house.db.execute(LET_GO)
    await late.result(timeout=SOON)
    # Done by who took over, and by nobody else; and the refusal is no failed attempt.
    assert await notes(house) == ["says"]
    assert await house.journal(late.id) == ["says#1"]
    assert await house.value("select hold from holdfast.journal") > 1
    await house.check_invariants()


async def test_a_connection_that_is_half_open_keeps_nobody_waiting(
    house: House, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way.cancels_with_libpq and not capabilities.has_cancel_safe():
        pytest.skip("an older libpq keeps the whole process while it cancels, and with it the proxy")
    monkeypatch.setattr("holdfast.worker.atomic._MARGIN", 0.2)
    monkeypatch.setattr("holdfast.worker.atomic._ROLLBACK", 0.5)
    async with Proxy(house.dsn) as proxy:
        app = await app_of(house, way, library=way.library(proxy.dsn))
        app.definitions["says"].timeout = timedelta(seconds=2)  # type: ignore[attr-defined]
        client = await house.client(app)
        app.override(origin="the test", database_url=proxy.dsn)
        says: Any = app.definitions["says"]
        write: Any = app.definitions["write"]
        await house.db.execute(HOLD_UP)
        options: WorkerOptions = {**QUICK, "lease": timedelta(seconds=30), "max_transactions": 1}
        async with app.worker(**options):
            stuck = await client.start(says.call(HELD_UP))
            await house.until(WAITS)
            assert proxy.forget("pg_advisory_xact_lock(7)") == 1
            with pytest.raises(RunFailed, match=r"took longer than 2 s"):
                await stuck.result(timeout=SOON)
            await house.db.execute(LET_GO)
            # There is one connection, and it is had again.
            assert await (await client.start(write.call("after"))).result(timeout=timedelta(seconds=10)) == "after"
        assert await notes(house) == ["after"]


async def test_one_that_takes_too_long_is_rolled_back_and_lets_go_of_its_locks(house: House, way: Way) -> None:
    app = await app_of(house, way)
    app.definitions["says"].timeout = timedelta(seconds=0.3)  # type: ignore[attr-defined]
    await house.worker(app)
    await house.db.execute(
        "create function slow() returns text language plpgsql as $$ begin "
        "  update account set amount = 1; perform pg_sleep(30); return 'late'; end $$"
    )
    with pytest.raises(RunFailed, match=r"took longer than 0\.3 s"):
        await run(house, app, "says", "select slow()")
    # Long before it would have returned by itself.
    await house.db.execute("set lock_timeout = '5s'; update account set amount = 2")
    assert await notes(house) == []
    assert await run(house, app, "write", "after") == "after"
