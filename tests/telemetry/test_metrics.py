"""Metrics for Prometheus: counted from events, read of the database when somebody asks, served over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from datetime import timedelta
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from holdfast import App, ConfigurationError, Retry, RunFailed, Signal
from holdfast.app.hosted import WorkerOptions
from holdfast.store.gauges import read_gauges
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from holdfast.telemetry.metrics import Metrics
from tests.house import ROOT, House, eventually, until

NOW = timedelta(0)


def samples(text: str) -> dict[str, float]:
    """Each sample by its name and labels."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


async def scraped(port: int | None) -> dict[str, float]:
    def fetch() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return samples(await asyncio.to_thread(fetch))


async def test_what_happens_is_counted(house: House) -> None:
    app = house.app()
    broken: list[int] = []

    @app.activity(retry=Retry(max_attempts=2, initial=timedelta(0)))
    async def charge() -> int:
        if not broken:
            broken.append(1)
            raise LookupError("not yet")
        return 1

    @app.workflow
    async def order() -> int:
        return await charge() + await charge()

    @app.workflow
    async def fail() -> None:
        raise ValueError("no")

    async with app.metrics(port=0) as metrics:
        client = await house.client(app)
        await house.worker(app)
        assert await (await client.start(order)).result() == 2
        with pytest.raises(RunFailed):
            await (await client.start(fail, priority="high")).result()
        await client.start(order, key="k", after=timedelta(days=1))
        await client.start(order, key="k", after=timedelta(days=1))

        async def look() -> bool:
            found = await scraped(metrics.port)
            line = 'lane="default",name="fail",priority="high",status="failed"'
            return found.get(f"holdfast_runs_finished_total{{{line}}}") == 1

        await until(look, "the end is counted")
        found = await scraped(metrics.port)
    assert found['holdfast_runs_started_total{lane="default",name="order",priority="medium"}'] == 2
    assert found['holdfast_runs_claimed_total{lane="default",name="order",priority="medium"}'] == 1
    assert found['holdfast_runs_finished_total{lane="default",name="order",priority="medium",status="succeeded"}'] == 1
    assert found['holdfast_start_latency_seconds_count{lane="default",priority="high"}'] == 1
    assert found['holdfast_activity_seconds_count{name="charge",status="succeeded"}'] == 2
    assert found['holdfast_activity_seconds_count{name="charge",status="failed"}'] == 1
    assert found['holdfast_activity_retries_total{name="charge"}'] == 1
    assert found["holdfast_flush_seconds_count"] >= 3
    assert found["holdfast_flush_units_sum"] >= 3
    assert found["holdfast_sweeps_total"] >= 1
    assert found["holdfast_database_up"] == 1


async def test_the_gauges_are_read_of_the_database_in_one_statement(house: House) -> None:
    app = house.app()
    never = Signal[str]("never")

    @app.workflow
    async def wait() -> str:
        return await never.wait()

    client = await house.client(app)
    for lane, count in (("gpu", 3), ("cpu", 2)):
        await client.start_many([wait.call() for _ in range(count)], lane=lane, priority="low")
    await client.start_many([wait.call() for _ in range(4)], lane="cpu", after=timedelta(days=1))
    worker = await house.worker(app, lane="served")
    served = await client.start(wait, lane="served")
    await house.parked(served.id)
    assert worker.worker is not None
    await house.db.execute("update holdfast.task set due_at = due_at - interval '1 minute' where lane = 'gpu'")
    await house.db.execute("update holdfast.task set flags = flags | 2 where lane = 'gpu'")
    await house.db.execute("begin")
    await house.db.execute("select 1 from holdfast.run")
    async with app.metrics(port=0, every=NOW) as metrics:
        found = await scraped(metrics.port)
    await house.db.execute("commit")
    assert found['holdfast_due_runs{lane="gpu",priority="low"}'] == 3
    assert 60 <= found['holdfast_due_age_seconds{lane="gpu",priority="low"}'] < 120
    assert found['holdfast_due_runs{lane="cpu",priority="low"}'] == 2
    assert found['holdfast_due_runs{lane="cpu",priority="medium"}'] == 0
    assert found['holdfast_parked_runs{lane="cpu",priority="medium"}'] == 4
    assert found['holdfast_parked_runs{lane="served",priority="medium"}'] == 1
    assert found['holdfast_blocked_runs{name="wait"}'] == 3
    assert "holdfast_xmin_holder_age_seconds" in found
    assert "holdfast_xmin_holder_age_transactions" in found


async def test_the_age_of_who_holds_the_horizon(house: House) -> None:
    other = Session(house.db, Statements())
    before = await read_gauges(other)
    assert before.horizon_held < timedelta(seconds=60)
    app = house.app()
    async with app.metrics(port=0, every=NOW) as metrics, house.db.transaction(isolation="repeatable_read"):
        await house.db.execute("select 1 from holdfast.run")

        async def look() -> bool:
            return (await scraped(metrics.port))["holdfast_xmin_holder_age_seconds"] > 0.05

        await until(look, "it is held since a while")


async def test_a_line_is_counted_up_to_a_limit_and_the_statement_walks_no_more(house: House) -> None:
    await house.db.execute(
        "insert into holdfast.task (run_id, name, lane, priority, due_at)"
        " select gen_random_uuid(), 'x', 'full', 3, case when n <= 3000 then holdfast.now() else 'infinity' end"
        " from generate_series(1, 6000) n"
    )
    (line,) = (await read_gauges(Session(house.db, Statements()), most=1000)).lines
    assert (line.due, line.parked) == (1000, 1000)


async def test_nothing_is_asked_while_nobody_looks_and_once_in_a_while_otherwise(house: House) -> None:
    app = house.app()

    async def readings() -> int:
        return int(
            await house.value(
                "select count(*) from pg_stat_activity where application_name = 'holdfast metrics'"
                " and datname = current_database()"
            )
        )

    async with app.metrics(port=0, every=timedelta(hours=1)) as metrics:
        assert await readings() == 0
        assert 'holdfast_due_runs{lane="x",priority="medium"}' not in await scraped(metrics.port)
        assert await readings() == 1
        await house.db.execute(
            "insert into holdfast.task (run_id, name, lane, priority, due_at)"
            " values (gen_random_uuid(), 'x', 'x', 3, holdfast.now())"
        )
        # The reading is good for an hour.
        assert 'holdfast_due_runs{lane="x",priority="medium"}' not in await scraped(metrics.port)
    await house.until(
        "select count(*) = 0 from pg_stat_activity where application_name = 'holdfast metrics'"
        " and datname = current_database()"
    )


async def test_a_registry_of_the_program_itself_may_be_read_on_the_loop(house: House) -> None:
    app = house.app()
    registry = CollectorRegistry()
    async with app.metrics(registry=registry, every=NOW) as metrics:
        assert (metrics.registry, metrics.port) == (registry, None)

        async def look() -> bool:
            # Cannot wait for a reading, so it gives the last one.
            return samples(generate_latest(registry).decode())["holdfast_database_up"] == 1

        await until(look, "a reading was made")
    assert generate_latest(registry) == b""
    async with app.metrics(registry=registry):
        assert b"holdfast_sweeps_total" in generate_latest(registry)


async def test_a_database_that_is_away_is_told_and_not_waited_for(house: House) -> None:
    app = App("postgresql://nobody@127.0.0.1:1/nothing")
    async with app.metrics(port=0, every=NOW) as metrics:
        found = await scraped(metrics.port)
    assert found["holdfast_database_up"] == 0
    assert found["holdfast_sweeps_total"] == 0


async def test_nobody_listens_any_more_after_it(house: House) -> None:
    app = house.app()
    worker = app.worker()
    async with app.metrics():
        assert worker._surroundings.herald.flushed
    assert not worker._surroundings.herald.flushed
    assert not app._listeners._heard or not any(app._listeners._heard.values())


async def test_a_port_that_is_taken_or_none_is_said(house: House) -> None:
    app = house.app()
    async with app.metrics(port=0) as first:
        assert first.port is not None
        with pytest.raises(ConfigurationError, match="choose another port"):
            async with app.metrics(port=first.port):
                pass
        if first.port < 65_000:
            async with app.metrics(port=first.port, ports=20, registry=CollectorRegistry()) as second:
                assert second.port is not None
                assert first.port < second.port < first.port + 20
    with pytest.raises(ConfigurationError, match="port: 0 to"):
        async with app.metrics(port=70_000):
            pass
    with pytest.raises(ConfigurationError, match="every: zero or more"):
        async with app.metrics(every=timedelta(seconds=-1)):
            pass


async def test_the_worker_command_serves_them_until_it_is_told_to_stop(house: House) -> None:
    process = await house.process("tests.apps.headed_jobs", "--metrics-port", "0", "--lease", "2s")
    await process.name()
    port = int((await eventually(lambda: re.search(r"metrics at http://127.0.0.1:(\d+)/", house.log()), "it says"))[1])
    app = house.app()
    client = await house.client(app)
    run = await client.start_by_name("square", {"number": 7})
    await house.ended(run.id)

    async def renewed() -> bool:
        found = await scraped(port)
        line = 'lane="default",name="square",priority="medium",status="succeeded"'
        return found["holdfast_lease_renewals_total"] >= 1 and found[f"holdfast_runs_finished_total{{{line}}}"] == 1

    await until(renewed, "its lease was renewed")
    process.send(signal.SIGTERM)
    assert await process.exit() == 0
    with pytest.raises(OSError, match="refused"):
        await scraped(port)


async def test_several_processes_take_a_port_each(house: House) -> None:
    log, port = house.place / "fleet.log", free_port()

    def served() -> set[str]:
        return set(re.findall(r"metrics at http://127.0.0.1:(\d+)/", log.read_text(encoding="utf-8")))

    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast", "worker", "--app", "tests.apps.headed_jobs:app"),
            *("--skip-warm-up", "--processes", "2"),
            env={**os.environ, "HOLDFAST_DATABASE_URL": house.dsn, "HOLDFAST_WORKER_METRICS_PORT": str(port)},
            stdout=file,
            stderr=file,
        )
    try:
        await eventually(lambda: len(served()) == 2, "both say where")
        assert served() == {str(port), str(port + 1)}
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


def free_port() -> int:
    """A port of which the next one is free as well."""
    for port in range(20_000 + os.getpid() % 20_000, 60_000, 2):
        try:
            for one in (port, port + 1):
                with socket.create_server(("127.0.0.1", one)):
                    pass
        except OSError:
            continue
        return port
    raise AssertionError("there are no ports")


async def test_an_idle_worker_with_metrics_asks_no_more_than_one_without(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None: ...

    options: WorkerOptions = {"lease": timedelta(hours=1), "poll": timedelta(seconds=60)}
    async with app.metrics(port=0):
        await house.worker(app, **options)
        await house.until("select count(*) = 1 from holdfast.worker")
        asking = "select count(*) from pg_stat_activity where application_name = 'holdfast metrics' and datname = $1"
        assert await house.value(asking, await house.value("select current_database()")) == 0


def test_every_metric_is_in_the_guide() -> None:
    page = (ROOT / "docs" / "guide" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(holdfast_\w+)` \|", page, re.MULTILINE))
    registry = CollectorRegistry()
    Metrics(registry)
    counted = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    gauges = {one for one in listed if one not in counted}
    assert counted <= listed
    assert gauges == {
        "holdfast_database_up",
        "holdfast_due_runs",
        "holdfast_due_age_seconds",
        "holdfast_parked_runs",
        "holdfast_blocked_runs",
        "holdfast_xmin_holder_age_seconds",
        "holdfast_xmin_holder_age_transactions",
    }
