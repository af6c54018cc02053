"""Fakes stand in for activities: with their types, their retries and their journal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, DefinitionError, InvalidInput, RunFailed, UnknownName, Unstorable
from holdfast.testing import Env, FakeCall
from tests.testing import shop


async def test_a_value(env: Env) -> None:
    fake = env.fake(shop.charge, returning="free of charge")
    run = await env.start(shop.buy, 7)
    assert await env.result(run) == "free of charge, shipped 7"
    assert fake.calls == [FakeCall(arguments={"order": 7}, run_id=run.id, key="charge#1", attempt=1)]
    assert shop.done == ["ship 7"]


async def test_nothing_where_the_activity_gives_nothing(env: Env) -> None:
    env.fake(shop.charge, hangs=True)
    fake = env.fake(shop.refund)
    assert (await env.result(await env.start(shop.within_an_hour, 1))).startswith("gave up")
    assert (len(fake.calls), shop.done) == (1, [])


async def test_an_error_is_retried_as_the_activity_says(env: Env) -> None:
    fake = env.fake(shop.charge, raising=ConnectionError("away"))
    with pytest.raises(RunFailed) as caught:
        await env.result(await env.start(shop.buy, 1))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert [call.attempt for call in fake.calls] == [1, 2, 3]
    declined = env.fake(shop.charge, raising=shop.Declined)
    with pytest.raises(RunFailed, match="Declined"):
        await env.result(await env.start(shop.buy, 1))
    assert len(declined.calls) == 1


async def test_a_function_async_or_not(env: Env) -> None:
    async def slowly(order: int, *, tip: int = 0) -> str:
        return f"async {order}"

    env.fake(shop.charge, side_effect=slowly)
    thread = env.fake(shop.in_a_thread, side_effect=lambda order: order * 2)
    assert await env.result(await env.start(shop.buy, 1)) == "async 1, shipped 1"
    assert await env.result(await env.start(shop.in_a_thread, 4)) == 8
    assert [call.key for call in thread.calls] == ["in_a_thread#1"]


async def test_it_holds_for_calls_with_options_and_for_jobs(env: Env) -> None:
    fake = env.fake(shop.charge, returning="free")
    assert await env.result(await env.start(shop.charge_with_a_tip, 2)) == "free"
    assert await env.result(await env.start(shop.charge.call(3, tip=1))) == "free"
    assert [(call.key, call.arguments) for call in fake.calls] == [
        ("charge:special#1", {"order": 2, "tip": 5}),
        ("charge#1", {"order": 3, "tip": 1}),
    ]


async def test_it_needs_none_of_what_the_code_would_have_needed(env: Env) -> None:
    """No process, no transaction; and what hangs is not heard of either."""
    crunch, book = env.fake(shop.crunch, returning=5), env.fake(shop.book, returning="booked")
    assert await env.result(await env.start(shop.account, 7)) == "booked 5"
    assert [call.arguments for call in (*book.calls, *crunch.calls)] == [{"order": 7}, {"order": 7}]
    assert await env.result(await env.start(shop.book, 8)) == "booked"
    env.fake(shop.listen, hangs=True)
    began = env.now()
    with pytest.raises(RunFailed, match="took longer than 120 s"):
        await env.result(await env.start(shop.listen, 1))
    assert env.now() - began == timedelta(minutes=2)


async def test_a_later_one_replaces_it(env: Env) -> None:
    first = env.fake(shop.in_a_thread, returning=1)
    assert await env.result(await env.start(shop.in_a_thread, 5)) == 1
    second = env.fake(shop.in_a_thread, returning=2)
    assert await env.result(await env.start(shop.in_a_thread, 5)) == 2
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_it_is_gone_with_its_environment(env: Env) -> None:
    assert await env.result(await env.start(shop.in_a_thread, 5)) == 5
    assert shop.done == ["thread 5"]


async def test_what_could_not_be_is_refused(env: Env) -> None:
    fake: Any = env.fake  # as untyped code calls it
    with pytest.raises(Unstorable, match="the result of activity 'in_a_thread'"):
        fake(shop.in_a_thread, returning="five")
    with pytest.raises(Unstorable, match="the result of activity 'charge'"):
        fake(shop.charge)
    with pytest.raises(DefinitionError, match=r"the side_effect for activity 'charge' cannot be called .*'tip'"):
        fake(shop.charge, side_effect=without_tip)
    with pytest.raises(DefinitionError, match="cannot be called as the activity is"):
        fake(shop.charge, side_effect=other_names)
    with pytest.raises(InvalidInput, match="cannot raise 'no'"):
        fake(shop.charge, raising="no")
    with pytest.raises(InvalidInput, match="cannot raise <class 'KeyboardInterrupt'>"):
        fake(shop.charge, raising=KeyboardInterrupt)
    with pytest.raises(InvalidInput, match="takes one of"):
        fake(shop.charge, raising=ValueError, hangs=True)

    app = App()

    @app.activity
    async def elsewhere() -> None: ...

    with pytest.raises(
        UnknownName, match=r"no activity is registered under the name 'elsewhere'; registered: .*charge"
    ):
        env.fake(elsewhere)


def without_tip(order: int) -> str:
    return "paid"


async def other_names(number: int, *, tip: int = 0) -> str:
    return "paid"


async def test_a_side_effect_that_fails_is_a_failure_of_the_activity(env: Env) -> None:
    env.fake(shop.ship, side_effect=lambda order: f"{1 // 0}")
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        await env.result(await env.start(shop.buy, 1))
