"""Time stands still, and passes when a test says so: everything that is due follows, in its order."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import App, InvalidInput, RunFailed, RunStatus, RunTimedOut, sleep
from holdfast.testing import Env, OpenEnv
from tests.testing import shop
from tests.testing.conftest import NOON

A_DAY = timedelta(days=1)


async def test_eleven_days_pass_in_less_than_a_second(env: Env) -> None:
    run = await env.start(shop.every_day, 11)
    began = time.perf_counter()
    assert await env.advance(days=11) == NOON + 11 * A_DAY
    assert await run.result() == [NOON + day * A_DAY for day in range(1, 12)]
    assert time.perf_counter() - began < 1


async def test_time_stands_still_until_it_is_moved(env: Env) -> None:
    assert env.now() == NOON
    run = await env.start(shop.buy, 1)
    await env.settled()
    assert (env.now(), await run.status()) == (NOON, RunStatus.WAITING)
    assert {entry.at for entry in await env.journal(run)} == {NOON}
    assert (await run.describe()).created_at == NOON


async def test_what_becomes_due_on_the_way_is_executed_at_its_own_time(env: Env) -> None:
    run = await env.start(shop.every_day, 3)
    assert await env.advance(days=2, hours=12) == NOON + timedelta(days=2, hours=12)
    assert (await env.journal(run)).keys == ["timer#1", "in_a_thread#1", "timer#2", "in_a_thread#2"]
    assert await env.result(run) == [NOON + A_DAY, NOON + 2 * A_DAY, NOON + 3 * A_DAY]
    assert env.now() == NOON + 3 * A_DAY


async def test_runs_that_wait_for_different_moments_go_on_in_the_order_of_these(env: Env) -> None:
    for hours in (3, 1, 2):
        await env.start(shop.in_a_thread, hours, after=timedelta(hours=hours))
    await env.advance(hours=2, minutes=59)
    assert shop.done == ["thread 1", "thread 2"]
    await env.advance(minutes=1)
    assert shop.done == ["thread 1", "thread 2", "thread 3"]


async def test_back_offs_follow(env: Env) -> None:
    fake = env.fake(shop.charge, raising=ConnectionError("the bank is away"))
    run = await env.start(shop.buy, 1)
    await env.advance(minutes=9, seconds=59)
    assert len(fake.calls) == 1
    await env.advance(seconds=1)
    assert len(fake.calls) == 2
    with pytest.raises(RunFailed, match="the bank is away"):
        await env.result(run)
    assert (len(fake.calls), env.now()) == (3, NOON + timedelta(minutes=20))


async def test_the_back_off_of_a_job_follows(env: Env) -> None:
    def away_at_first(order: int, *, tip: int = 0) -> str:
        if len(fake.calls) < 3:
            raise ConnectionError("the bank is away")
        return "paid"

    fake = env.fake(shop.charge, side_effect=away_at_first)
    job = await env.start(shop.charge.call(1))
    assert await env.result(job) == "paid"
    assert env.now() == NOON + timedelta(minutes=20)


async def test_what_waits_in_memory_follows_too_and_not_before(env: Env) -> None:
    run = await env.start(shop.soon)
    await env.advance(milliseconds(199))
    assert await run.status() is RunStatus.RUNNING
    await env.advance(milliseconds(1))
    assert await run.result() == NOON + milliseconds(200)


def milliseconds(count: int) -> timedelta:
    return timedelta(milliseconds=count)


async def test_the_timeout_of_a_wait_follows(env: Env) -> None:
    run = await env.start(shop.wait_for_approval, 1, timedelta(hours=2))
    assert await env.result(run) == "nobody cared until 14:00"


async def test_the_timeout_of_a_run_follows_begun_or_not(env: Env) -> None:
    begun = await env.start(shop.wait_for_approval.call(1), timeout=timedelta(hours=1))
    later = await env.start(shop.buy, 1, after=timedelta(days=1), timeout=timedelta(hours=2))
    for run, hours in ((begun, 1), (later, 2)):
        with pytest.raises(RunTimedOut):
            await env.result(run)
        assert env.now() == NOON + timedelta(hours=hours)


async def test_a_signal_at_a_moment_is_seen_at_that_moment(env: Env) -> None:
    run = await env.start(shop.wait_for_approval.call(1))
    await env.advance(hours=5)
    await run.signal(shop.approve, value=True)
    await env.settled()
    assert await run.result() == "paid 1"
    assert (await env.journal(run))["signal:approve#1"].at == NOON + timedelta(hours=5)


async def test_an_activity_that_hangs_runs_into_its_timeout_when_time_passes(env: Env) -> None:
    fake = env.fake(shop.ship, hangs=True)
    run = await env.start(shop.buy, 1)
    await env.advance(days=3, minutes=4)
    assert await run.status() is RunStatus.RUNNING
    with pytest.raises(RunFailed, match="took longer than 300 s"):
        await env.result(run)
    # 5 minutes, 1 minute of back-off, 5 minutes.
    assert (len(fake.calls), env.now()) == (2, NOON + timedelta(days=3, minutes=11))


async def test_a_timeout_around_an_activity_that_hangs_passes_when_time_does(env: Env) -> None:
    env.fake(shop.charge, hangs=True)
    run = await env.start(shop.within_an_hour, 1)
    assert await env.result(run) == "gave up at 13:00"
    assert shop.done == ["refund 1"]


async def test_what_time_does_not_bring_is_told(env: Env) -> None:
    run = await env.start(shop.wait_for_approval.call(1))
    with pytest.raises(AssertionError, match=rf"run {run.id} does not end by itself, .* waits for signal 'approve'"):
        await env.result(run)
    endless = await env.start(shop.for_ever)
    with pytest.raises(AssertionError, match="does not end by itself"):
        await env.result(endless, within=timedelta(hours=1))
    assert env.now() == NOON + timedelta(hours=1)
    await run.cancel()
    await endless.cancel()


async def test_what_does_not_come_to_rest_is_told(dsn: str, holdfast_env: OpenEnv) -> None:
    async with holdfast_env(shop.app, patience=timedelta(milliseconds=300)) as env:
        waits = Gate()
        env.fake(shop.charge, side_effect=waits)
        run = await env.start(shop.buy, 1)
        with pytest.raises(AssertionError, match=rf"at work: charge#1 of run {run.id} \(buy\)"):
            await env.settled()
        waits.opened.set()
        await env.advance(days=3)
        assert await run.result() == "free, shipped 1"


class Gate:
    """A side effect that waits until the test says so."""

    def __init__(self) -> None:
        import asyncio

        self.opened = asyncio.Event()

    async def __call__(self, order: int, *, tip: int = 0) -> str:
        await self.opened.wait()
        return "free"


async def test_time_does_not_go_back(env: Env, holdfast_env: OpenEnv) -> None:
    with pytest.raises(InvalidInput, match="time does not go back, by 1 day"):
        await env.advance(days=-1)
    for wrong in (datetime(2026, 1, 1), datetime(1999, 1, 1, tzinfo=UTC)):  # noqa: DTZ001
        with pytest.raises(InvalidInput, match="use a time with a time zone, not before the year 2000"):
            async with holdfast_env(shop.app, at=wrong):
                pass


async def test_each_lane_that_is_named_is_served(holdfast_env: OpenEnv) -> None:
    async with holdfast_env(shop.app, lanes=["default", "mail"]) as env:
        served = await env.start(shop.in_a_thread, 1, lane="mail")
        left = await env.start(shop.in_a_thread, 2, lane="other")
        await env.settled()
        assert await served.result() == 1
        assert await left.status() is RunStatus.READY


async def test_code_under_test_that_opens_the_app_opens_the_database_of_the_test(env: Env) -> None:
    job = await env.start(shop.which_database)
    inner = env.get(await env.result(job), shop.in_a_thread)
    await env.settled()
    assert await inner.result() == 1


async def test_another_environment_of_the_database_goes_on_where_the_last_one_ended(holdfast_env: OpenEnv) -> None:
    async with holdfast_env(shop.app, at=NOON) as env:
        run = await env.start(shop.buy, 1)
        await env.advance(days=1)
    async with holdfast_env(shop.app) as env:
        assert env.now() == NOON + A_DAY
        assert await env.result(env.get(run.id, shop.buy)) == "paid 1, shipped 1"
        assert env.now() == NOON + 3 * A_DAY
    assert shop.app.settings().database_url.origin != "holdfast.testing"


async def test_another_schema_is_made(dsn: str) -> None:
    from holdfast import App
    from holdfast.testing import open_env

    app = App(schema="orders")
    app.include(shop.app)
    async with open_env(app, dsn, at=NOON) as env:
        assert await env.result(await env.start(shop.until_noon, NOON + A_DAY)) == NOON + A_DAY


async def test_the_lane_of_an_activity_is_served(holdfast_env: OpenEnv) -> None:
    app = App()

    @app.activity(lane="gpu")
    async def render() -> str:
        return "done"

    @app.workflow
    async def film() -> str:
        await sleep(timedelta(days=3))
        return await render()

    async with holdfast_env(app) as env:
        assert await env.result(await env.start(film)) == "done"


async def test_a_fake_takes_the_place_of_a_dispatched_activity(holdfast_env: OpenEnv) -> None:
    app = App()

    @app.activity(lane="gpu")
    async def render(frame: int) -> str:
        raise AssertionError

    @app.workflow
    async def film() -> str:
        return await render(7)

    async with holdfast_env(app) as env:
        fake = env.fake(render, returning="faked")
        run = await env.start(film)
        assert await env.result(run) == "faked"
        (call,) = fake.calls
        assert (call.run_id, call.key, call.arguments) == (run.id, "render#1", {"frame": 7})
