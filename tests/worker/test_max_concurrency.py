"""`max_concurrency=`: how many calls of one activity run at once in a worker, async or in threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta

import pytest

from holdfast import App
from tests.house import House, eventually

SOON = timedelta(seconds=20)


class Turnstile:
    """Counts who is inside, and lets nobody out before it is opened."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.open = asyncio.Event()

    async def stay(self, name: str) -> None:
        self.inside[name] += 1
        self.most[name] = max(self.most[name], self.inside[name])
        await self.open.wait()
        await asyncio.sleep(0)
        self.inside[name] -= 1


def app_of(house: House, turnstile: Turnstile) -> App:
    app = house.app()

    @app.activity(max_concurrency=2)
    async def few() -> None:
        await turnstile.stay("few")

    @app.activity
    async def many() -> None:
        await turnstile.stay("many")

    @app.workflow
    async def flow(count: int) -> None:
        await asyncio.gather(*[few() for _ in range(count)], *[many() for _ in range(count)])

    return app


async def test_async_calls_beyond_the_limit_wait_and_keep_no_place_from_others(house: House) -> None:
    turnstile = Turnstile()
    app = app_of(house, turnstile)
    client = await house.client(app)
    await house.worker(app, max_activities=6)
    run = await client.start_by_name("flow", {"count": 4})
    await eventually(lambda: turnstile.inside == {"few": 2, "many": 4}, "the limit holds, and the rest is full")
    turnstile.open.set()
    await run.result(timeout=SOON)
    assert turnstile.most["few"] == 2
    await house.check_invariants()


async def test_jobs_count_as_well_and_each_gets_its_turn(house: House) -> None:
    turnstile = Turnstile()
    app = app_of(house, turnstile)
    client = await house.client(app)
    await house.worker(app, parallelism_factor=5)
    jobs = [await client.start_by_name("few") for _ in range(10)]
    await eventually(lambda: turnstile.inside["few"] == 2, "two of ten")
    other = await client.start_by_name("many")
    await eventually(lambda: turnstile.inside["many"] == 1, "another activity is not held up")
    turnstile.open.set()
    for run in (*jobs, other):
        await run.result(timeout=SOON)
    assert turnstile.most["few"] == 2


async def test_one_that_is_cancelled_in_line_gives_its_turn_to_the_next(house: House) -> None:
    turnstile = Turnstile()
    app = app_of(house, turnstile)
    client = await house.client(app)
    await house.worker(app, parallelism_factor=5)
    first = [await client.start_by_name("few") for _ in range(2)]
    await eventually(lambda: turnstile.inside["few"] == 2, "both places are taken")
    waiting = [await client.start_by_name("few") for _ in range(3)]
    await house.held(*[run.id for run in waiting])
    for run in (waiting[0], first[0]):
        await run.cancel()
    await house.ended(waiting[0].id, first[0].id)
    turnstile.open.set()
    for run in (first[1], *waiting[1:]):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_what_waits_for_its_activity_is_dispatched_when_more_wait_than_may_run(house: House) -> None:
    turnstile = Turnstile()
    app = app_of(house, turnstile)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start_by_name("flow", {"count": 10})
    dispatched = "select count(*) from holdfast.run where parent = $1 and name = 'few'"
    await house.until(f"select ({dispatched}) = 6", run.id)
    turnstile.open.set()
    await run.result(timeout=SOON)
    assert turnstile.most["few"] == 2
    await house.check_invariants()


async def test_a_sync_activity_has_its_limit_among_the_threads(house: House) -> None:
    app = house.app()
    lock, gate = threading.Lock(), threading.Event()
    inside, most = 0, 0

    @app.activity(max_concurrency=3)
    def grind() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.wait(20)
        with lock:
            inside -= 1

    client = await house.client(app)
    await house.worker(app, max_threads=8, parallelism_factor=4)
    runs = [await client.start(grind) for _ in range(9)]
    await eventually(lambda: inside == 3, "three at once")
    gate.set()
    for run in runs:
        await run.result(timeout=SOON)
    assert most == 3


async def test_without_it_a_sync_activity_has_the_threads_of_the_worker_four_for_each_processor(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    app = house.app()

    @app.activity
    def grind() -> None: ...

    assert app.worker().settings.max_threads == 12
    assert grind.max_concurrency is None
