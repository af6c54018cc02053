"""R4: the server is restarted in each way that there is, and connections are ended while they are at work."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import DatabaseError
from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings
from holdfast.store.connect import connect
from tests.apps.journeys import app as journeys
from tests.apps.journeys import lasts
from tests.apps.ledger import Ledger
from tests.faults.load import Load
from tests.house import House, eventually, until

AGAIN = timedelta(seconds=8)
"""What workers may take until they work again, on a busy machine; promised are five seconds on an idle one."""


class Machine:
    """A server that can be ended and comes back by itself, and the house on it."""

    def __init__(self, postgres: EmbeddedPostgres, place: Path, house: House) -> None:
        self._place = place
        self.postgres = postgres
        self.house = house

    @property
    def postmaster(self) -> int:
        """The process id of the server."""
        return int((self._place / "data/postgres/cluster/postmaster.pid").read_text().split("\n", 1)[0])

    async def restart(self, number: signal.Signals) -> None:
        """Ends the server so, and returns when another one takes connections."""
        os.kill(self.postmaster, number)
        await self._back()

    async def crash(self) -> None:
        """Kills the process that writes for a worker: the server ends all others too, and recovers."""
        backend = await self.house.value(
            "select pid from pg_stat_activity where application_name like 'holdfast flushes %' limit 1"
        )
        os.kill(backend, signal.SIGKILL)
        await self._back()

    async def _back(self) -> None:
        # As long as the old one is there, this connection is.
        await eventually(self.house.db.is_closed, "the server has gone")

        async def look() -> Any:
            try:
                return await connect(self.house.dsn, application="tests")
            except DatabaseError:
                return None

        self.house.db = await until(look, "the server is back")


@pytest.fixture
async def machine(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    memory = Path("/dev/shm")  # noqa: S108 - made by mkdtemp
    place = Path(tempfile.mkdtemp(prefix="holdfast-", dir=memory if memory.is_dir() else None)).resolve()
    place.chmod(0o711)
    bin_dir = request.config.getoption("--postgres")
    postgres = EmbeddedPostgres(
        EmbeddedSettings(
            data_dir=place / "data",
            bin_dir=None if bin_dir is None else Path(bin_dir),
            durability="test",
            temporary=True,
            # What was said to be committed is in the hands of the kernel: the server may be killed, not the machine.
            options={"synchronous_commit": "on"},
        )
    )
    await asyncio.to_thread(postgres.start)
    try:
        db = await connect(postgres.dsn, application="tests")
        async with House(postgres.dsn, db, tmp_path) as house:
            yield Machine(postgres, place, house)
        await house.db.close()
    finally:
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(place, ignore_errors=True)


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
        await (machine.crash() if number is None else machine.restart(number))
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
