"""Journals are read, and replayed against the code at hand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from holdfast import App, InvalidInput, NonDeterminismError, RunNotFound, UnknownName, sleep
from holdfast.testing import Env, Journal, open_env
from tests.testing import shop


async def test_a_journal_is_read_line_by_line(env: Env) -> None:
    run = await env.start(shop.buy, 1)
    await env.result(run)
    journal = await env.journal(run)
    assert str(journal).splitlines() == [
        f'buy {run.id} {{"order":1}}',
        '   1  charge#1  2026-03-01 12:00:00  "paid 1"',
        "   2  timer#1   2026-03-04 12:00:00",
        '   3  ship#1    2026-03-04 12:00:00  "shipped 1"',
    ]
    assert (len(journal), [entry.key for entry in journal]) == (3, journal.keys)
    assert journal["ship#1"].output == '"shipped 1"'
    with pytest.raises(KeyError, match=r"'ship#2' is not in the journal; it holds charge#1, timer#1, ship#1"):
        journal["ship#2"]
    assert (await env.journal(str(run.id))).keys == (await env.journal(run.id)).keys


async def test_an_error_in_a_journal(env: Env) -> None:
    env.fake(shop.charge, raising=shop.Declined("no money"))
    run = await env.start(shop.buy, 1)
    await env.settled()
    assert str(await env.journal(run)).endswith("Declined: no money")


async def test_the_code_that_wrote_it_fits(env: Env) -> None:
    run = await env.start(shop.buy, 1)
    await env.settled()
    await env.replay(run)
    await env.result(run)
    await env.replay(run)
    await env.replay(await env.journal(run.id))
    assert shop.done == ["charge 1", "ship 1"]


def changed(kind: str) -> App:
    """The shop after a deploy."""
    app = App()

    @app.activity
    async def charge(order: int, *, tip: int = 0) -> str:
        raise AssertionError("a replay calls nothing")

    @app.activity
    async def ship(order: int) -> str:
        raise AssertionError("a replay calls nothing")

    @app.workflow
    async def buy(order: int) -> str:
        if kind == "another input":
            await charge(order + 1)
        if kind == "a longer rest":
            await charge(order)
            await sleep(timedelta(days=4))
        if kind == "it fails":
            await charge(order)
            raise ValueError("no")
        if kind == "a step is missing":
            await sleep(timedelta(days=3))
        if kind == "a step is added":
            await ship(order)
            await charge(order)
            await sleep(timedelta(days=3))
        return "done"

    return app


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("another input", r'activity charge#1 with the input \{"order":2\}, the journal holds charge#1'),
        ("a longer rest", r"timer#1 to fire at 2026-03-05.*the journal holds timer#1"),
        ("a step is missing", r"the journal holds charge#1"),
    ],
)
async def test_code_that_does_not_fit_is_told_with_both_sides(env: Env, dsn: str, kind: str, words: str) -> None:
    run = await env.start(shop.buy, 1)
    await env.settled()
    waiting = await env.journal(run)
    await env.advance(days=3)
    journal = await env.journal(run)
    async with open_env(changed(kind), dsn) as other:
        with pytest.raises(NonDeterminismError, match=words):
            await other.replay(journal)
        if kind != "a longer rest":
            with pytest.raises(NonDeterminismError, match=words):
                await other.replay(waiting)


async def test_a_step_of_another_name_may_be_added(env: Env, dsn: str) -> None:
    run = await env.start(shop.buy, 1)
    await env.settled()
    journal = await env.journal(run)
    async with open_env(changed("a step is added"), dsn) as other:
        with pytest.raises(NonDeterminismError, match="charge#1"):
            # It waits for what is not in the journal, before it has asked for what is.
            await other.replay(journal)


async def test_an_exported_file_is_replayed(env: Env, dsn: str, tmp_path: Path) -> None:
    run = await env.start(shop.buy, 1)
    await env.settled()
    file = tmp_path / "run.json"
    file.write_text((await env.journal(run)).run.to_json(), encoding="utf-8")
    await env.replay(file)
    assert Journal.read(file).keys == ["charge#1"]
    async with open_env(changed("another input"), dsn) as other:
        with pytest.raises(NonDeterminismError, match=r'charge#1 with the input \{"order":2\}'):
            await other.replay(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidInput, match="not an exported run"):
        await env.replay(file)


async def test_code_with_which_it_would_fail_is_told(env: Env, dsn: str) -> None:
    run = await env.start(shop.buy, 1)
    await env.settled()
    async with open_env(changed("it fails"), dsn) as other:
        with pytest.raises(AssertionError, match="the code would end the run as failed"):
            await other.replay(await env.journal(run))


async def test_what_cannot_be_replayed(env: Env, dsn: str) -> None:
    job = await env.start(shop.in_a_thread, 1)
    with pytest.raises(InvalidInput, match="is one of an activity: only workflows are replayed"):
        await env.replay(job)
    with pytest.raises(RunNotFound):
        await env.replay(UUID(int=5))
    run = await env.start(shop.buy, 1)
    await env.settled()
    journal = await env.journal(run)
    app = App()

    @app.workflow
    async def other_flow() -> None: ...

    async with open_env(app, dsn) as other:
        with pytest.raises(UnknownName, match="no workflow is registered under the name 'buy'; registered: other_flow"):
            await other.replay(journal)
