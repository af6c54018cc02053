"""What tests of users are written with: each type is the one written here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import assert_type

from holdfast import App, RunHandle
from holdfast.testing import CrashPoint, Env, Fake, FakeCall, Journal, OpenEnv

app = App()


@app.activity
async def charge(order: int, *, tip: int = 0) -> str:
    return f"{order} {tip}"


@app.activity
def refund(order: int) -> None: ...


@app.activity
def weigh(orders: list[int]) -> list[float]:
    return [order * 1.5 for order in orders]


@app.workflow
async def buy(order: int) -> str:
    return await charge(order)


async def env(holdfast_env: OpenEnv) -> AsyncIterator[Env]:
    async with holdfast_env(app, lanes=["default", "mail"], lease=timedelta(seconds=5)) as env:
        yield env


async def slowly(order: int, *, tip: int = 0) -> str:
    return ""


def quickly(order: int, *, tip: int = 0) -> str:
    return ""


async def test_everything(env: Env) -> None:
    run = await env.start(buy, 5)
    assert_type(run, RunHandle[str])
    assert_type(await env.result(run), str)
    assert_type(await env.advance(timedelta(days=1), hours=2), datetime)
    assert_type(env.now(), datetime)
    assert_type(env.crash_at("charge#1", when="after", run=run), CrashPoint)
    fake = env.fake(charge, returning="paid")
    assert_type(fake.calls, list[FakeCall])
    env.fake(charge, raising=ValueError("no"))
    env.fake(charge, raising=ValueError)
    env.fake(charge, side_effect=slowly)
    env.fake(charge, side_effect=quickly)
    env.fake(charge, hangs=True)
    nothing: Fake[..., None] = env.fake(refund)
    assert_type(nothing.calls, list[FakeCall])
    env.fake(weigh, returning=[1.5, 2])
    env.fake(weigh, side_effect=lambda orders: [order * 2.0 for order in orders])
    assert_type(await env.journal(run), Journal)
    await env.replay(run)
    await env.replay(await env.journal(run.id))
