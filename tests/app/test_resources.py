"""Resources: opened once per worker, in order, and closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import App, DefinitionError, HoldfastError
from tests.house import House


class Connection:
    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True


async def test_activities_use_what_their_worker_has_opened(house: House) -> None:
    app, story = house.app(), list[str]()

    @app.lifespan
    async def database() -> AsyncIterator[Connection]:
        story.append("database opened")
        connection = Connection("main")
        yield connection
        connection.open = False
        story.append("database closed")

    @app.lifespan
    @asynccontextmanager
    async def cache() -> AsyncGenerator[str]:
        story.append(f"cache opened on {database.value.name}")
        yield "warm"
        story.append(f"cache closed, database open: {database.value.open}")

    @app.activity
    async def on_the_loop() -> str:
        return f"{database.value.name} {cache.value}"

    @app.activity
    def in_a_thread() -> str:
        return f"{database.value.name} {cache.value}"

    @app.workflow
    async def both() -> list[str]:
        return list(await asyncio.gather(on_the_loop(), in_a_thread()))

    client = await house.client(app)
    async with app.worker(skip_warm_up=True):
        run = await client.start(both)
        assert await run.result() == ["main warm", "main warm"]
    assert story == [
        "database opened",
        "cache opened on main",
        "cache closed, database open: True",
        "database closed",
    ]


async def test_workers_in_one_process_each_have_their_own(house: House) -> None:
    app, opened = house.app(), list[object]()

    @app.lifespan
    async def token() -> AsyncIterator[object]:
        opened.append(object())
        yield opened[-1]

    @app.activity
    async def index() -> int:
        return opened.index(token.value)

    client = await house.client(app)
    async with app.worker(lane="first", skip_warm_up=True), app.worker(lane="second", skip_warm_up=True):
        runs = [await client.start(index, lane=lane) for lane in ("first", "second", "first")]
        assert [await run.result() for run in runs] == [0, 1, 0]


async def test_outside_of_a_worker_there_is_nothing_to_use() -> None:
    app = App()

    @app.lifespan
    async def database() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(HoldfastError, match="the resource 'database' is not open here"):
        _ = database.value


async def test_a_resource_that_does_not_open_ends_the_worker_with_its_error(house: House) -> None:
    app, story = house.app(), list[str]()

    @app.lifespan
    async def first() -> AsyncIterator[None]:
        story.append("opened")
        try:
            yield
        finally:
            story.append("closed")

    @app.lifespan
    async def second() -> AsyncIterator[None]:
        if story:
            raise ConnectionError("the cache is away")
        yield

    @app.activity
    def idle() -> None: ...

    with pytest.raises(ConnectionError, match="the cache is away"):
        await app.worker().run()
    assert story == ["opened", "closed"]
    assert [first.name, second.name] == ["first", "second"]
    assert await house.value("select count(*) from holdfast.worker where state = 'active'") == 0


def test_what_does_not_open_and_close_is_refused() -> None:
    lifespan: Any = App().lifespan

    async def returns() -> int:
        return 1

    def needs(url: str) -> None: ...

    with pytest.raises(DefinitionError, match="'returns' has to open and close"):
        lifespan(returns)
    with pytest.raises(DefinitionError, match="'needs' is called without arguments, and it needs url"):
        lifespan(needs)
