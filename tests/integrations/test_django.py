"""What is Django's own in transactional activities: hooks at the commit, inner blocks, several databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from holdfast import App, Client, RunFailed
from holdfast.integrations.django import Django
from tests.house import House
from tests.integrations.ways import ONCE, TABLES, django_models, set_up_django

SOON = timedelta(seconds=20)


class Refused(Exception):
    """What an activity raises."""


@pytest.fixture
async def app(house: House) -> App:
    await house.db.execute(TABLES)
    set_up_django(house.dsn)
    return house.app()


async def run(client: Client, activity: Any, *args: Any) -> Any:
    return await (await client.start(activity.call(*args))).result(timeout=SOON)


async def test_hooks_are_called_after_the_commit_and_only_then(house: House, app: App) -> None:
    transaction: Any = import_module("django.db.transaction")
    called: list[tuple[str, int, int]] = []

    @app.activity(transactional=Django(), retry=ONCE)
    def book(connection: Any, text: str) -> int:
        note = django_models()["note"]
        note.objects.create(text=text)
        transaction.on_commit(lambda: called.append((text, threading.get_ident(), note.objects.count())))
        if text == "refused":
            raise Refused
        return threading.get_ident()

    @app.activity(transactional=Django(), retry=ONCE)
    def raises_after_it(connection: Any) -> str:
        django_models()["note"].objects.create(text="third")

        def hook() -> None:
            raise Refused

        transaction.on_commit(hook)
        return "committed"

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed, match="Refused"):
        await run(client, book, "refused")
    thread = await run(client, book, "kept")
    assert called == [("kept", thread, 1)]
    # It was committed by then, and so it is recorded.
    assert await run(client, raises_after_it) == "committed"
    assert await house.value("select count(*) from note") == 2
    await house.check_invariants()


async def test_an_inner_block_undoes_its_part(house: House, app: App) -> None:
    db: Any = import_module("django.db")
    transaction: Any = import_module("django.db.transaction")

    @app.activity(transactional=Django(), retry=ONCE)
    def book(connection: Any, *, savepoint: bool) -> str:
        note = django_models()["note"]
        note.objects.create(text="outer")
        try:
            with transaction.atomic(savepoint=savepoint):
                note.objects.create(text="inner")
                raise Refused
        except Refused:
            return str(connection is db.connections["default"])

    client = await house.client(app)
    await house.worker(app)
    assert await (await client.start(book.call(savepoint=True))).result(timeout=SOON) == "True"
    with pytest.raises(RunFailed, match="passed over, or set_rollback"):
        await (await client.start(book.call(savepoint=False))).result(timeout=SOON)
    assert [row["text"] for row in await house.db.fetch("select text from note")] == ["outer"]


async def test_the_database_has_the_name_that_is_said(house: House, app: App) -> None:
    connections: Any = import_module("django.db").connections
    databases = connections.databases
    databases["shop"] = dict(databases["default"])
    databases["default"] = {**databases["default"], "NAME": "elsewhere"}

    @app.activity(transactional=Django(using="shop"), retry=ONCE)
    def book(connection: Any) -> str:
        django_models()["note"].objects.using("shop").create(text="shop")
        return str(connection.alias)

    @app.activity(transactional=Django(using="nowhere"), retry=ONCE)
    def lost(connection: Any) -> None:
        raise AssertionError

    client = await house.client(app)
    try:
        async with app.worker(skip_warm_up=True):
            assert await run(client, book) == "shop"
            with pytest.raises(RunFailed, match="nowhere"):
                await run(client, lost)
    finally:
        del databases["shop"]
    assert await house.value("select text from note") == "shop"
