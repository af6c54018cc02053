"""R5: the network between a worker and Postgres is cut, slow, or silently gone."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.apps.journeys import app as journeys
from tests.apps.journeys import lasting, lasts
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.house import House, eventually


@pytest.mark.parametrize("seed", [1, 2])
async def test_connections_that_are_cut_again_and_again(load: Load, far: House, proxy: Proxy, seed: int) -> None:
    chance = random.Random(seed)
    worker = await load.worker(far, "--lease", "30s")
    await load.add(30, jobs=10)
    for cut in range(12):
        await load.goes_on(chance)
        # Now and then it takes a while until one can connect again.
        proxy.cut(refuse=cut % 6 == 0)
        await load.signal(2)
        if cut % 6 == 0:
            await eventually(lambda: not proxy.connections, "nobody is connected")
            proxy.heal()
    await load.ends_well()
    await load.called_once()
    assert await load.house.value("select count(*) from holdfast.worker") == 1
    assert await load.house.value("select pid from holdfast.worker") == worker.pid


async def test_a_slow_network_changes_nothing(load: Load, far: House, proxy: Proxy) -> None:
    chance = random.Random(1)
    await load.worker(far, "--lease", "3s")
    await load.worker(far, "--lease", "3s")
    proxy.delay = lambda: chance.uniform(0.0, 0.12)
    await load.add(20, jobs=10)
    await load.goes_on(chance)
    await load.ends_well()
    await load.called_once()
    assert await load.house.value("select count(*) from holdfast.worker where state = 'active'") == 2


@pytest.mark.parametrize("part", ["flush", "claim", "heartbeat", "recover"])
async def test_a_connection_that_is_half_open_is_given_up_within_the_lease(
    load: Load, far: House, proxy: Proxy, part: str
) -> None:
    worker = await load.worker(far, "--lease", "3s")
    await load.add(10, jobs=5)
    await load.goes_on(random.Random(1))
    await eventually(lambda: proxy.forget(f"holdfast.{part}("), f"the connection for {part} is half-open")
    await load.signal(10)
    await load.add(10)
    await load.ends_well()
    await load.called_once()
    # The limit is shorter than the lease: so it is the same worker still.
    assert await load.house.value("select array_agg(pid) from holdfast.worker") == [worker.pid]


async def test_an_idle_worker_whose_connection_is_half_open_takes_the_runs_of_a_dead_one(
    load: Load, far: House, proxy: Proxy
) -> None:
    # It serves another lane and holds nothing: there is nothing else that this connection would be used for.
    await load.worker(far, "--lease", "3s", "--lane", "elsewhere")
    dying = await load.worker(None, "--lease", "2s")
    runs = await load.client.start_many([lasts.call(60.0) for _ in range(3)])
    await eventually(lambda: len(load.ledger.lines()) == 3, "all are under way")
    await eventually(lambda: proxy.forget("holdfast.recover("), "the connection for recovery is half-open")
    await dying.kill()
    await load.house.until("select count(*) = $1 from holdfast.task where bucket_id is null", len(runs))
    await load.house.check_invariants()


async def test_a_claim_that_arrives_after_it_was_given_up_leaves_no_run_behind(
    load: Load, far: House, proxy: Proxy
) -> None:
    await load.worker(far, "--lease", "2s", "--poll", "2s", "--no-hints")

    async def arrive() -> None:
        """When the worker has looked on another connection, found nothing, and rests; then there is something."""
        claims = "select exists (select from pg_stat_activity where application_name like 'holdfast claims %' and "
        await load.house.until(
            claims + "datname = current_database() and query like '%holdfast.claim(%' and state = 'idle')"
        )
        async with journeys.client(hints=False) as quiet:
            await quiet.start_many([lasts.call(0.0)] * 3)

    await eventually(lambda: proxy.said, "it claims")
    proxy.delay_until_given_up("holdfast.claim(", arrive)
    await eventually(lambda: proxy.arrived_late, "the claim arrives")
    await load.house.until("select count(*) = 3 from holdfast.result")
    await load.house.check_invariants()


async def test_a_worker_that_is_told_to_stop_while_the_network_is_gone_ends_all_the_same(
    load: Load, far: House, proxy: Proxy
) -> None:
    worker = await load.worker(far, "--lease", "4s", "--grace", "500ms")
    runs = await load.client.start_many([lasting.call(60.0) for _ in range(3)])
    await eventually(lambda: len(load.ledger.lines()) == 3, "all are under way")
    proxy.swallow()
    worker.send(signal.SIGTERM)
    assert await worker.exit() == 0
    assert "Traceback" not in far.log()
    await load.worker(None, "--lease", "2s")
    await eventually(lambda: len(load.ledger.lines()) == 6, "all are taken by another")
    assert len(runs) == 3
    await load.house.check_invariants()


@pytest.mark.parametrize("fault", ["cut", "swallow"])
async def test_a_worker_that_cannot_register_again_can_be_told_to_stop(
    load: Load, far: House, proxy: Proxy, fault: str
) -> None:
    worker = await load.worker(far, "--lease", "1s")
    if fault == "cut":
        proxy.cut(refuse=True)
    else:
        proxy.swallow()
    await eventually(lambda: "going on as a new worker" in far.log(), "its lease is over")
    worker.send(signal.SIGTERM)
    assert await worker.exit() == 0
    assert "Traceback" not in far.log()


async def test_a_worker_that_is_cut_off_for_longer_than_its_lease_comes_back_under_a_new_name(
    load: Load, far: House, proxy: Proxy
) -> None:
    lost = await load.worker(far, "--lease", "2s")
    name = await lost.name()
    await load.add(15, jobs=5)
    await load.goes_on(random.Random(1), most=30)
    proxy.swallow()
    peer = await load.worker(None, "--lease", "2s")
    await load.house.until("select state = 'lost' from holdfast.worker where name = $1", name)
    await load.ends_well()
    before = await load.house.db.fetch("select * from holdfast.journal order by run_id, seq")
    assert await load.house.value("select count(*) from holdfast.worker where pid = $1", lost.pid) == 1

    proxy.heal()
    await load.house.until(
        "select count(*) = 1 from holdfast.worker where pid = $1 and state = 'active' and name <> $2",
        lost.pid,
        name,
        patience=8,
    )
    assert await load.house.db.fetch("select * from holdfast.journal order by run_id, seq") == before
    # And it works: there is nobody else now.
    await peer.kill()
    await load.add(5, jobs=5)
    await load.ends_well()
    # Its new lease counts from the registration, and not from when it first tried to: so it is kept.
    await load.house.until(
        "select bool_and(state = 'active' and lease_until > started_at + 2 * lease) "
        "from holdfast.worker where pid = $1 and name <> $2",
        lost.pid,
        name,
    )
    assert "stopped itself" in far.log()


async def test_a_client_that_is_cut_off_starts_and_hears_of_results_when_the_network_is_back(
    load: Load, far: House, proxy: Proxy
) -> None:
    await load.worker(None, "--lease", "30s")
    journeys.override(origin="the test", database_url=far.dsn)
    distant = await far.client(journeys)
    waited = await distant.start(lasts, 0.3)

    async def started() -> str:
        return await (await distant.start(lasts, 0.01)).result()

    results = [asyncio.create_task(waited.result())]
    await eventually(lambda: proxy.connections >= 2, "it listens")
    proxy.cut(refuse=True)
    results += [asyncio.create_task(started()) for _ in range(5)]
    await load.house.ended(waited.id)
    proxy.heal()
    assert await asyncio.gather(*results) == ["done"] * 6
    await load.house.check_invariants()


async def test_a_client_whose_connections_are_half_open_starts_and_hears_of_results_all_the_same(
    load: Load, far: House, proxy: Proxy
) -> None:
    await load.worker(None, "--lease", "30s")
    journeys.override(origin="the test", database_url=far.dsn)
    distant = await far.client(journeys)
    first = await distant.start(lasts, 1.0)
    waiting = asyncio.create_task(first.result())
    await eventually(lambda: proxy.connections >= 2, "it listens")
    proxy.swallow()
    proxy.heal()
    # Its connections look sound and never answer; each use of one is given up after a while, and another is opened.
    async with asyncio.timeout(15):
        second = await distant.start(lasts, 0.0)
        assert set(await asyncio.gather(waiting, second.result())) == {"done"}
    await load.house.check_invariants()


@pytest.mark.parametrize("recovered", [False, True], ids=["by nobody else", "by a peer"])
async def test_what_a_worker_held_that_was_cut_off_is_not_suspected(
    load: Load, far: House, proxy: Proxy, *, recovered: bool
) -> None:
    worker = await load.worker(far, "--lease", "1s")
    await load.client.start_many([lasting.call(60.0) for _ in range(20)])
    calls = 20
    for outage in range(1 if recovered else 2):
        await called(load, calls)
        proxy.cut(refuse=True)
        if recovered:
            peer = await load.worker(None, "--lease", "1s")
            # To others it is as if it had died.
            await load.house.until(
                "select count(*) = 20 from holdfast.task where crashes > 0 and bucket_id is not null"
            )
            await heard(load, proxy)
            peer.send(signal.SIGTERM)
            peer.send(signal.SIGTERM)
            await peer.exit()
            calls += 40
        else:
            await fenced(far, outage + 1)
            await heard(load, proxy)
            calls += 20
    await called(load, calls)
    assert await load.house.value("select array_agg(distinct lane) from holdfast.task") == ["default"]
    assert worker.is_running
    await load.house.check_invariants()


async def called(load: Load, calls: int) -> None:
    await eventually(lambda: len(load.ledger.lines()) >= calls, f"{calls} activities are under way")


async def fenced(far: House, times: int) -> None:
    await eventually(lambda: far.log().count("as a new worker") >= times, "its lease is over")


async def heard(load: Load, proxy: Proxy) -> None:
    """The network is back: so it can say that it lives, and no crash is counted."""
    proxy.heal()
    await load.house.until("select count(*) = 20 from holdfast.task where crashes = 0")


async def test_what_a_worker_held_that_was_frozen_is_counted_as_a_crash(load: Load) -> None:
    worker = await load.worker(None, "--lease", "1s")
    name = await worker.name()
    await load.client.start_many([lasting.call(60.0) for _ in range(5)])
    await eventually(lambda: len(load.ledger.lines()) == 5, "all are under way")
    worker.send(signal.SIGSTOP)
    peer = await load.worker(None, "--lease", "30s")
    await load.house.until("select count(*) = 5 from holdfast.task where crashes = 1 and bucket_id is not null")
    worker.send(signal.SIGCONT)
    # Nobody can tell why: one of its runs may have kept all of its threads from running.
    await load.house.until(
        "select exists (select from holdfast.worker where pid = $1 and name <> $2 and ended_at is null)",
        worker.pid,
        name,
    )
    assert await load.house.value("select array_agg(distinct crashes) from holdfast.task") == [1]
    assert peer.is_running
