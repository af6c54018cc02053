"""Registering workflows and activities with an app."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from holdfast import App, DefinitionError, Retry
from holdfast.app.registry import place_of


def test_making_an_app_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SCHEMA", "Not-Plain")
    App("not a url")


async def test_sync_and_async_functions_become_activities() -> None:
    app = App()

    @app.activity
    async def fetch(url: str) -> int:
        return len(url)

    @app.activity(name="sum up", retry=Retry(max_attempts=2), timeout=timedelta(seconds=5), max_concurrency=2)
    def add(left: int, right: int) -> int:
        return left + right

    assert list(app.definitions) == ["fetch", "sum up"]
    assert (fetch.retry.max_attempts, add.retry.max_attempts) == (4, 2)
    assert (add.timeout, add.max_concurrency) == (timedelta(seconds=5), 2)
    assert [await fetch("abc"), await add(1, 2)] == [3, 3]


def test_two_definitions_cannot_have_one_name() -> None:
    app = App()

    @app.activity
    def charge() -> None: ...

    async def other() -> None: ...

    with pytest.raises(DefinitionError) as caught:
        app.workflow(name="charge")(other)
    assert str(caught.value) == (
        f"workflow 'charge' at {place_of(other)} has the name of activity 'charge' at {place_of(charge.fn)}; "
        "give one of them another with name="
    )
    assert place_of(charge.fn).startswith(f"{__file__}:")
    assert app.definitions["charge"] is charge


def test_a_workflow_may_be_async_or_not() -> None:
    app = App()

    @app.workflow
    def plain(order: int) -> int:
        return order

    @app.workflow(name="other")
    async def other(order: int) -> int:
        return order

    assert (plain.is_async, other.is_async) == (False, True)
    assert plain.fn(5) == 5


@pytest.mark.parametrize("lane", ["", "a b", 5, "x" * 201])
def test_a_lane_that_cannot_be_one_is_refused(lane: Any) -> None:
    with pytest.raises(DefinitionError, match=r"activity 'plain': lane is .*: use"):

        @App().activity(lane=lane)
        async def plain() -> None: ...


def test_a_transactional_activity_with_a_lane_is_read_committed() -> None:
    with pytest.raises(DefinitionError, match=r"under serializable they fail each other: leave lane= or"):

        @App().activity(lane="gpu", transactional=True, isolation_level="serializable")
        async def book(connection: asyncpg.Connection[asyncpg.Record]) -> None: ...


def test_an_option_that_does_not_exist_is_refused() -> None:
    untyped: Any = App().activity
    with pytest.raises(TypeError, match="retries"):
        untyped(retries=3)


def test_what_has_no_name_needs_one() -> None:
    app = App()
    with pytest.raises(DefinitionError, match=r"give it one with name="):
        app.activity(lambda: None)
    with pytest.raises(DefinitionError, match="is empty"):
        app.activity(name="")(test_what_has_no_name_needs_one)


def test_a_project_can_be_written_in_several_apps() -> None:
    orders, mails, whole = App(), App(), App()

    @orders.activity
    def charge() -> None: ...

    @mails.activity
    def send() -> None: ...

    whole.include(orders)
    whole.include(mails)
    assert dict(whole.definitions) == {"charge": charge, "send": send}
    with pytest.raises(DefinitionError, match="has the name of"):
        whole.include(orders)


def test_versions_of_one_workflow_are_registered_together_and_new_runs_are_of_the_highest() -> None:
    app, whole = App(), App()

    @app.workflow(name="order", version=9)
    async def before() -> None: ...

    @app.workflow(version=10)
    async def order() -> None: ...

    @app.workflow(name="order")
    async def first() -> None: ...

    assert dict(app.definitions) == {"order": order}
    assert dict(app.executables) == {"order@9": before, "order@10": order, "order": first}
    assert (order.name, order.version, order.task_name) == ("order", "10", "order@10")
    whole.include(app)
    assert dict(whole.executables) == dict(app.executables)


def test_two_versions_that_cannot_be_told_apart_are_refused() -> None:
    app = App()

    @app.workflow(version="01")
    async def order() -> None: ...

    with pytest.raises(
        DefinitionError, match=r"has the name of workflow 'order@01' .* or another version with version="
    ):
        app.workflow(version=1)(order.fn)
    with pytest.raises(DefinitionError, match="has the name of workflow 'order@01'"):
        app.activity(name="order")(print_nothing)


def print_nothing() -> None: ...


def test_a_name_with_a_version_in_it_is_refused() -> None:
    with pytest.raises(DefinitionError, match="contains '@', which separates the name of a workflow from its version"):
        App().activity(name="order@2")(print_nothing)
