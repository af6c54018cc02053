"""Schedules in the environment of a test: they rest, unless a test wants them."""

from __future__ import annotations

from datetime import datetime, timedelta

from holdfast import App
from holdfast.testing import OpenEnv
from tests.testing.conftest import NOON

app = App()
ran: list[int] = []


@app.schedule("0 18 * * mon-fri", tz="Europe/Paris")
@app.workflow
async def close_the_books() -> str:
    return "closed"


async def test_they_start_runs_while_time_passes(holdfast_env: OpenEnv) -> None:
    # The first of March 2026 is a Sunday; until the 29th Paris is one hour ahead of UTC, after it two.
    async with holdfast_env(app, at=NOON, schedules=True) as env:
        await env.advance(days=7)
        page = await env.list(name="close_the_books")
        assert [one.created_at for one in reversed(page.items)] == [
            datetime(2026, 3, day, 17, tzinfo=NOON.tzinfo) for day in range(2, 7)
        ]
        await env.advance(timedelta(weeks=4))
        newest = (await env.list(limit=1)).items[0]
        assert newest.created_at == datetime(2026, 4, 3, 16, tzinfo=NOON.tzinfo)
        assert {one.status for one in await env.list()} == {"succeeded"}


async def test_one_that_a_client_makes(holdfast_env: OpenEnv) -> None:
    async with holdfast_env(app, at=NOON, schedules=True) as env:
        await env.schedules.pause("close_the_books")
        await env.schedules.create("hourly", close_the_books.call(), every=timedelta(hours=1))
        await env.advance(hours=5)
        assert len(await env.list()) == 5


async def test_they_rest_otherwise(holdfast_env: OpenEnv) -> None:
    async with holdfast_env(app, at=NOON) as env:
        await env.advance(weeks=4)
        assert len(await env.list()) == 0
