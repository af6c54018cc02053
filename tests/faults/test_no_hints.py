"""R11: notifications are lost, refused or switched off; everything is found by polling."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from holdfast.client import Client
from tests.apps.journeys import app as journeys
from tests.faults.load import SOON, Load
from tests.faults.proxy import Deafness, Proxy
from tests.house import House

LISTENERS = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"


async def all_is_found(load: Load) -> None:
    """What is due, what comes for runs, what has ended."""
    chance = random.Random(1)
    for _ in range(3):
        await load.add(8, jobs=4)
        await load.goes_on(chance)
        await load.signal(6)
    await load.ends_well()
    await load.called_once()
    assert not await load.house.value(LISTENERS)


@pytest.fixture
async def distant(far: House) -> Client:
    journeys.override(origin="the test", database_url=far.dsn)
    return await far.client(journeys)


async def test_what_is_started_while_nobody_listens_is_found_as_soon_as_somebody_does(house: House) -> None:
    app = house.app()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    client = await house.client(app)
    # Without a hint it would look again after a minute.
    await house.worker(app, poll=timedelta(minutes=1), lease=timedelta(minutes=3))
    assert await (await client.start(double, 1)).result(timeout=SOON) == 2
    async with house.db.transaction():
        # It is gone when this returns, so that the notice of the commit finds nobody.
        assert await house.value(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = current_database() and application_name like 'holdfast control %'"
        )
        run = await client.start(double, 2, connection=house.db)
    assert await run.result(timeout=SOON) == 4


@pytest.mark.parametrize("deaf", ["refused", "lost"])
async def test_a_pooler_that_carries_no_notifications(
    far: House, proxy: Proxy, distant: Client, load: Load, deaf: Deafness
) -> None:
    proxy.deaf = deaf
    through = Load(load.house, distant, load.ledger)
    for _ in range(2):
        await through.worker(far, "--lease", "3s")
    await all_is_found(through)
    if deaf == "refused":
        # It is said once for each worker, and nothing is broken by it.
        assert far.log().count("everything is found by polling") == 2
        assert "failed" not in far.log()


async def test_a_pooler_in_transaction_mode(far: House, proxy: Proxy, load: Load) -> None:
    proxy.pools = True
    journeys.override(origin="the test", database_url=far.dsn)
    async with journeys.client() as client:
        pooled = Load(load.house, client, load.ledger)
        for _ in range(2):
            await pooled.worker(far, "--lease", "3s")
        await all_is_found(pooled)
    assert "failed" not in far.log()


async def test_hints_are_switched_off_everywhere(house: House, load: Load) -> None:
    journeys.override(origin="the test", database_url=house.dsn)
    async with journeys.client(hints=False) as deaf:
        quiet = Load(house, deaf, load.ledger)
        for _ in range(2):
            await quiet.worker(None, "--lease", "3s", "--no-hints")
        await all_is_found(quiet)


async def test_a_dead_worker_is_recovered_from_without_notifications(far: House, proxy: Proxy, load: Load) -> None:
    proxy.deaf = "refused"
    dying = await load.worker(far, "--lease", "2s")
    await load.add(8, jobs=4)
    await load.goes_on(random.Random(2))
    await load.worker(far, "--lease", "2s")
    await dying.kill()
    await load.ends_well()
