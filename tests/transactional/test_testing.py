"""The testing kit and transactional activities: fakes take their place, and workers crash at their commits."""

from __future__ import annotations

import asyncpg
import pytest

from holdfast import App, Connection
from holdfast.testing import open_env
from holdfast.testing.crash import When

app = App()


@app.activity(transactional=True)
async def write(connection: Connection, text: str) -> str:
    await connection.execute("insert into note values ($1)", text)
    return text


@app.workflow
async def writes() -> list[str]:
    return [await write("first"), await write("second")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("key", ["write#1", "write#2"])
async def test_a_worker_that_crashes_at_the_commit_has_done_it_once(
    dsn: str, db: asyncpg.Connection[asyncpg.Record], key: str, when: When
) -> None:
    await db.execute("create table note (text text)")
    async with open_env(app, database_url=dsn) as env:
        env.crash_at(key, when=when)
        run = await env.start(writes)
        assert await run.result() == ["first", "second"]
        job = await env.start(write, "job")
        env.crash_at("write#1", when=when, run=job)
        assert await job.result() == "job"
    assert [row["text"] for row in await db.fetch("select * from note order by text")] == ["first", "job", "second"]


async def test_a_fake_needs_no_connection(dsn: str) -> None:
    async with open_env(app, database_url=dsn) as env:
        fake = env.fake(write, side_effect=lambda text: text.upper())
        run = await env.start(writes)
        assert await run.result() == ["FIRST", "SECOND"]
    assert [call.arguments for call in fake.calls] == [{"text": "first"}, {"text": "second"}]
