"""W1, W5, W6, W14 for workflows that are not async: the same guarantees, and no thread for one that waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from holdfast import RunCancelled, RunStatus
from holdfast.testing import Env, OpenEnv
from tests.apps import sync_journeys as journeys
from tests.house import House, check_invariants
from tests.scenarios.soon import SOON


@pytest.fixture(params=[2000, 0], ids=["from memory", "evicted at once"])
async def env(holdfast_env: OpenEnv, request: pytest.FixtureRequest) -> AsyncIterator[Env]:
    async with holdfast_env(journeys.app, cached_runs=request.param) as env:
        yield env
        await env.settled()
        await check_invariants(env.database_url)


async def test_a_story_of_steps_a_rest_a_signal(env: Env) -> None:
    run = await env.start(journeys.journey, "Ada")
    await env.advance(days=10, hours=23)
    assert (await env.journal(run)).keys == ["process_id#1"]
    await env.advance(hours=1)
    await run.signal(journeys.go_on, "home")
    name, _, beside, home = await env.result(run)
    assert (name.split()[0], beside, home) == ("Ada", "beside", "home")
    journal = await env.journal(run)
    assert journal.keys[:2] == ["process_id#1", "timer#1"]
    assert sorted(journal.keys[2:4]) == ["note#1", "process_id#2"]
    assert journal.keys[4:] == ["signal:go-on#1"]
    await env.replay(run)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_is_lost_at_each_of_its_steps(env: Env, when: str) -> None:
    for key in ("process_id#1", "timer#1", "note#1", "signal:go-on#1", "end"):
        env.crash_at(key, when="before" if when == "before" else "after")
    run = await env.start(journeys.journey, "Ada")
    await env.advance(days=11)
    await run.signal(journeys.go_on, "home")
    assert (await env.result(run))[2:] == ["beside", "home"]
    assert sorted((await env.journal(run)).keys) == [
        "note#1",
        "process_id#1",
        "process_id#2",
        "signal:go-on#1",
        "timer#1",
    ]


async def test_a_thousand_that_rest_are_parked_and_no_thread(env: Env) -> None:
    before = await env.result(await env.start(journeys.threads))
    await env.start_many([journeys.resting.call() for _ in range(1000)])
    await env.settled()
    assert await env.result(await env.start(journeys.threads)) == before
    page = await env.list(status=RunStatus.WAITING, limit=1000)
    assert len(page) == 1000
    await env.advance(days=1)
    page = await env.list(status=RunStatus.SUCCEEDED, name="resting", limit=1000)
    assert len(page) == 1000


async def test_cancelled_while_it_rests_its_clean_up_code_runs(env: Env) -> None:
    run = await env.start(journeys.cleaning)
    await env.settled()
    await run.cancel()
    with pytest.raises(RunCancelled):
        await env.result(run)
    assert (await env.journal(run)).keys == ["cancel#1", "note#1"]


async def test_killed_processes_pass_it_on(house: House) -> None:
    with journeys.app.overridden(origin="the test", database_url=house.dsn, auto_setup=True):
        client = await house.client(journeys.app)
    first = await house.process("tests.apps.sync_journeys")
    run = await client.start(journeys.journey, "Ada")
    await house.parked(run.id)
    await first.kill()
    second = await house.process("tests.apps.sync_journeys")
    await second.name()
    await house.advance(timedelta(days=11))
    await house.until("select waits_inbox and bucket_id is null from holdfast.task where run_id = $1", run.id)
    await run.signal(journeys.go_on, "home")
    seen = await run.result(timeout=SOON)
    assert seen == [f"Ada {first.pid}", str(second.pid), "beside", "home"]
    await house.check_invariants()
