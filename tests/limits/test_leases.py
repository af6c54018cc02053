"""A limit that is far away costs next to nothing; one that comes near is exact: permits that workers lease ahead."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

from holdfast import App, Limit
from tests.apps.ledger import Ledger
from tests.apps.limited import GATE, wide
from tests.apps.limited import app as limited
from tests.house import House, eventually
from tests.limits.watching import watched
from tests.scenarios.soon import SOON


async def test_jobs_below_a_limit_that_is_far_away_are_claimed_by_lease(house: House) -> None:
    app = house.app()

    @app.activity(concurrency=[Limit(2000), Limit(1000, name="shared")])
    async def serve(number: int) -> int:
        return number

    client = await house.client(app)
    await house.worker(app)
    await house.until("select count(*) = 2 from holdfast.permit_block where task = 'serve'")
    runs = await client.start_many([serve.call(n) for n in range(100)])
    assert [await run.result(timeout=SOON) for run in runs] == list(range(100))
    assert await house.value("select count(*) from holdfast.result") == 100
    assert await house.value("select bool_and(taken between 1 and most / 2) from holdfast.limit_key") is True
    await house.check_invariants()


async def test_what_one_worker_has_leased_and_does_not_use_others_get_when_the_limit_is_reached(house: House) -> None:
    here, there = house.app(), house.app()
    opened = asyncio.Event()
    running: Counter[str] = Counter()

    def serving(app: App, name: str) -> None:
        @app.activity(name=name, concurrency=Limit(200, name="both"))
        async def serve() -> None:
            running[name] += 1
            try:
                await opened.wait()
            finally:
                running[name] -= 1

    serving(here, "here")
    serving(there, "there")
    client = await house.client(here)
    await house.worker(here)
    await house.until("select exists (select from holdfast.permit_block where task = 'here' and size > 10)")
    # Another one that can take more than is left to be leased.
    await house.worker(there, parallelism_factor=60.0)
    runs = [await client.start_by_name("there", {}) for _ in range(210)]
    await eventually(lambda: running["there"] == 200, "all permits are with those who need them")
    await house.until("select count(*) = 10 from holdfast.permit_wait")
    assert await house.value("select count(*) from holdfast.permit_block where task = 'here'") == 0
    assert await house.value("select taken from holdfast.limit_key") == 200
    await house.check_invariants()
    opened.set()
    await house.ended(*[run.id for run in runs])
    await house.check_invariants()


async def test_a_paused_worker_gives_back_what_it_has_leased(house: House) -> None:
    app = house.app()

    @app.activity(concurrency=1000)
    async def serve() -> None: ...

    client = await house.client(app)
    await house.worker(app)
    await house.until("select exists (select from holdfast.permit_block)")
    (worker,) = await client.workers.list()
    await client.workers.pause(worker.name)
    await house.until("select not exists (select from holdfast.permit_block)")
    assert await house.value("select sum(taken) from holdfast.limit_key") == 0
    await client.workers.resume(worker.name)
    await (await client.start(serve)).result(timeout=SOON)
    await house.check_invariants()


async def test_a_worker_that_is_not_sure_what_it_holds_claims_one_permit_for_each_run(house: House) -> None:
    app = house.app()

    @app.activity(concurrency=1000)
    async def serve(number: int) -> int:
        return number

    client = await house.client(app)
    worker = await house.worker(app)
    await house.until("select exists (select from holdfast.permit_block)")
    assert worker._worker is not None
    tenure = worker._worker._tenure
    assert tenure is not None
    assert tenure._claimer is not None
    tenure._claimer.doubt()
    await house.until("select not exists (select from holdfast.permit_block)")
    runs = [await client.start(serve, n) for n in range(5)]
    assert [await run.result(timeout=SOON) for run in runs] == list(range(5))
    assert await house.value("select not exists (select from holdfast.permit_block)") is True
    await house.check_invariants()


async def test_what_a_killed_worker_had_leased_comes_back_with_its_runs(house: House, tmp_path: Path) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    limited.override(origin="the test", database_url=house.dsn)
    client = await house.client(limited)
    lease = ("--lease", "1s", "--poll", "200ms")
    env = {**ledger.env, GATE: str(gate)}
    victim = await house.process("tests.apps.limited", *lease, env=env)
    await house.until("select exists (select from holdfast.permit_block where task = 'wide')")
    runs = await client.start_many([wide.call(n) for n in range(8)])
    await eventually(lambda: len(ledger.lines()) >= 4, "as many as it has slots for have begun")
    await house.check_invariants()
    assert await house.value("select count(*) from holdfast.permit") == 0
    await victim.kill()
    before = await house.value("select taken from holdfast.limit_key where name = 'wide'")
    assert before > 0
    async with watched(house, "wide") as seen:
        other = await house.process("tests.apps.limited", *lease, env=env)
        gate.touch()
        await house.ended(*[run.id for run in runs])
    assert seen.together <= before
    await house.check_invariants()
    other.send(signal.SIGTERM)
    assert await other.exit() == 0
    await house.until("select not exists (select from holdfast.permit_block)")
    await house.check_invariants()
