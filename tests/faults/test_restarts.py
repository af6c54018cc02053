"""R4: the server is restarted in each way that there is, and connections are ended while they are at work."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.apps.journeys import app as journeys
from tests.apps.journeys import lasts
from tests.apps.ledger import Ledger
from tests.apps.punctual import app as punctual
from tests.apps.punctual import job as ring
from tests.faults.load import Load
from tests.faults.machine import Machine, open_machine

AGAIN = timedelta(seconds=8)
"""What workers may take until they work again, on a busy machine; promised are five seconds on an idle one."""


@pytest.fixture
async def machine(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    bin_dir = request.config.getoption("--postgres")
    async with open_machine(tmp_path, bin_dir=None if bin_dir is None else Path(bin_dir)) as machine:
        yield machine


async def test_the_server_is_restarted_under_load(machine: Machine, ledger: Ledger) -> None:
    house = machine.house
    journeys.override(origin="the test", database_url=house.dsn)
    load = Load(house, await house.client(journeys), ledger)
    chance = random.Random(1)
    # One whose lease outlives a restart, and one whose lease may be over by then.
    names = [await (await load.worker(None, "--lease", lease)).name() for lease in ("30s", "2s")]
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, None):
        await load.add(12, jobs=6)
        await load.goes_on(chance)
        # Starts and signals that are under way while it ends are neither lost nor doubled.
        under_way = asyncio.gather(load.add(6), load.signal(4))
        if number is None:
            assert await machine.crash()
        else:
            await machine.restart(number)
        back = await house.value("select clock_timestamp()")
        await under_way
        after = await load.client.start_many([lasts.call(0.0) for _ in range(5)])
        await house.ended(*[run.id for run in after])
        again = await house.value(
            "select min(at) - $2::timestamptz from holdfast.result where run_id = any ($1::uuid[])",
            [run.id for run in after],
            back,
        )
        assert again < AGAIN
        # Both of them: each has its connections again.
        await house.until(
            "select count(distinct application_name) >= 2 from pg_stat_activity "
            "where application_name like 'holdfast claims %'",
            patience=AGAIN.total_seconds(),
        )
        await house.check_invariants()
    await load.ends_well()
    assert await house.value("select state from holdfast.worker where name = $1", names[0]) == "active"


STRIKE = """
create function strike(p_who text) returns int language plpgsql as $$
declare
  v_struck int;
begin
  for i in 1..600 loop
    perform pg_stat_clear_snapshot();
    select count(pg_terminate_backend(a.pid)) into v_struck
      from pg_stat_activity a
     where a.datname = current_database()
       and a.application_name like p_who
       and (a.state = 'active' or i = 600);
    exit when v_struck > 0;
    perform pg_sleep(0.0005);
  end loop;
  return v_struck;
end $$
"""
"""Ends the connections with that name, if it can at a moment at which they are at work."""


async def test_connections_are_ended_one_by_one_while_they_are_at_work(load: Load) -> None:
    await load.house.db.execute(STRIKE)
    for _ in range(2):
        await load.worker(None, "--lease", "3s")
    chance = random.Random(1)
    for who in ("claims", "flushes", "control", "heartbeat", "client") * 2:
        await load.add(3, jobs=2)
        under_way = asyncio.gather(load.add(2), load.signal(4))
        assert await load.house.value("select strike($1)", f"holdfast {who}%")
        await under_way
        await load.goes_on(chance, most=6)
    await load.ends_well()
    await load.called_once()
    assert await load.house.value("select array_agg(state) from holdfast.worker") == ["active", "active"]


async def test_all_connections_are_ended_at_once_again_and_again(load: Load) -> None:
    await load.house.db.execute(STRIKE)
    for _ in range(2):
        await load.worker(None, "--lease", "3s")
    chance = random.Random(1)
    for _ in range(6):
        await load.add(4, jobs=2)
        under_way = asyncio.gather(load.add(2), load.signal(3))
        # Whoever is at work at this moment, and then all the others too.
        await load.house.value("select strike('holdfast %')")
        await load.house.db.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name like 'holdfast %'"
        )
        await under_way
        await load.goes_on(chance, most=6)
    await load.ends_well()
    await load.called_once()
    assert await load.house.value("select array_agg(state) from holdfast.worker") == ["active", "active"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_the_server_is_restarted_while_a_worker_holds_what_is_not_due_yet(
    machine: Machine, number: signal.Signals
) -> None:
    house = machine.house
    punctual.override(origin="the test", database_url=house.dsn)
    client = await house.client(punctual)
    process = await house.process("tests.apps.punctual", "--lease", "30s", "--poll", "200ms")
    await process.name()
    runs = await client.start_many([ring.call(n) for n in range(100)], after=timedelta(seconds=8))
    await house.held(*[run.id for run in runs])
    due = await house.value("select min(due_at) from holdfast.task")
    await machine.restart(number)
    began = [await run.result(timeout=timedelta(seconds=60)) for run in runs]
    assert min(began) >= due.timestamp()
    assert await house.value("select count(*) from holdfast.result where status = 1") == len(runs)
    await house.check_invariants()
