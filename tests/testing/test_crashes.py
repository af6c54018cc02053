"""A worker is lost at the moment that a test names: what it had not recorded is done again, what it had is not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from holdfast import InvalidInput
from holdfast.testing import Env, OpenEnv
from tests.house import check_invariants
from tests.testing import shop
from tests.testing.conftest import NOON


async def lost(env: Env) -> int:
    """How many workers have lost their lease."""
    connection = await asyncpg.connect(env.database_url)
    try:
        return int(
            await connection.fetchval(
                "select count(*) from holdfast.worker where state <> 'left' and lease_until < clock_timestamp()"
            )
        )
    finally:
        await connection.close()


async def test_before_an_outcome_is_recorded_the_activity_is_called_again(env: Env) -> None:
    crash = env.crash_at("charge#1")
    run = await env.start(shop.buy, 1)
    assert await env.result(run) == "paid 1, shipped 1"
    assert crash.happened
    assert await lost(env) == 1
    assert shop.done == ["charge 1", "charge 1", "ship 1"]
    assert (await env.journal(run)).keys == ["charge#1", "timer#1", "ship#1"]


async def test_after_it_is_recorded_the_activity_is_not(env: Env) -> None:
    env.crash_at("charge#1", when="after")
    run = await env.start(shop.buy, 1)
    assert await env.result(run) == "paid 1, shipped 1"
    assert (shop.done, await lost(env)) == (["charge 1", "ship 1"], 1)


async def test_several_one_after_the_other(env: Env) -> None:
    for key in ("charge#1", "timer#1", "ship#1", "end"):
        env.crash_at(key)
        env.crash_at(key, when="after")
    run = await env.start(shop.buy, 1)
    assert await env.result(run) == "paid 1, shipped 1"
    assert await lost(env) == 8
    assert sorted(shop.done) == ["charge 1"] * 2 + ["ship 1"] * 2
    assert (await env.journal(run)).keys == ["charge#1", "timer#1", "ship#1"]
    # No time has passed for it: the run is recovered at once.
    assert env.now() == NOON + timedelta(days=3)


async def test_when_a_signal_is_about_to_be_recorded(env: Env) -> None:
    env.crash_at("signal:approve#1")
    run = await env.start(shop.wait_for_approval.call(1))
    await env.settled()
    await run.signal(shop.approve, value=True)
    assert await env.result(run) == "paid 1"
    assert (await env.journal(run)).keys == ["signal:approve#1", "charge#1"]


async def test_a_failed_attempt_that_was_not_recorded_does_not_count(env: Env) -> None:
    fake = env.fake(shop.charge, raising=ConnectionError("away"))
    env.crash_at("charge#1@1")
    run = await env.start(shop.buy, 1)
    await env.settled()
    assert [call.attempt for call in fake.calls] == [1, 1]
    assert (await env.journal(run)).keys == ["charge#1@1"]
    await run.cancel()


async def test_a_job(env: Env) -> None:
    env.crash_at("in_a_thread#1")
    env.crash_at("in_a_thread#1", when="after")
    job = await env.start(shop.in_a_thread, 5)
    assert await env.result(job) == 5
    assert shop.done == ["thread 5", "thread 5"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_transactional_activity_has_its_effects_once(env: Env, when: str) -> None:
    env.fake(shop.crunch, returning=5)
    env.crash_at("book#1", when="before" if when == "before" else "after")
    run = await env.start(shop.account, 7)
    assert await env.result(run) == "booked 7 5"
    connection = await asyncpg.connect(env.database_url)
    assert await connection.fetchval("select count(*) from booked") == 1
    await connection.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_result_of_a_child_reaches_its_parent(env: Env, when: str) -> None:
    for key in ("buy#1", "end", "end"):  # both children may end in one commit
        env.crash_at(key, when="before" if when == "before" else "after")
    run = await env.start(shop.buy_two, 1, 2)
    assert await env.result(run) == ["paid 1, shipped 1", "paid 2, shipped 2"]
    assert env.now() == NOON + timedelta(days=3)


async def test_of_one_run_only_but_its_neighbours_lose_what_was_in_memory(env: Env) -> None:
    first, second = await env.start_many([shop.buy.call(1), shop.buy.call(2)])
    crash = env.crash_at("ship#1", run=second)
    assert [await env.result(first), await env.result(second)] == ["paid 1, shipped 1", "paid 2, shipped 2"]
    assert crash.happened
    assert shop.done.count("ship 2") == 2
    assert await lost(env) == 1


async def test_nothing_that_the_lost_worker_still_wants_to_write_is_accepted(env: Env) -> None:
    """Two outcomes are on their way; with the first the worker is lost, so the second is not recorded either."""
    returned = asyncio.Event()

    async def charged(order: int, *, tip: int = 0) -> str:
        if order == 2 and len(fake.calls) <= 2:
            try:
                await returned.wait()
            except asyncio.CancelledError:
                return "too late"
        return f"paid {order} at call {len(fake.calls)}"

    fake = env.fake(shop.charge, side_effect=charged)
    env.crash_at("charge#1")
    run = await env.start(shop.side_by_side, [1, 2])
    paid = await env.result(run)
    assert "too late" not in paid
    assert [call.key for call in fake.calls] == ["charge#1", "charge#2", "charge#1", "charge#2"]


async def test_one_that_does_not_happen_fails_the_test(holdfast_env: OpenEnv) -> None:
    async def missed(error: type[Exception] | None) -> None:
        async with holdfast_env(shop.app) as env:
            env.crash_at("ship#2")
            await env.result(await env.start(shop.buy, 1))
            await check_invariants(env.database_url)
            if error is not None:
                raise error

    with pytest.raises(AssertionError, match=r"no worker was lost at 'ship#2': nothing was recorded there"):
        await missed(None)
    with pytest.raises(ZeroDivisionError):
        await missed(ZeroDivisionError)


async def test_what_is_no_key_is_refused(env: Env) -> None:
    with pytest.raises(InvalidInput, match="'charge' is not the key of an outcome"):
        env.crash_at("charge")
    with pytest.raises(InvalidInput, match="use 'before' or 'after'"):
        env.crash_at("charge#1", when="during")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
