"""W17: a run that goes on as a new one keeps its journal short, its id, its letters, and its parent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from holdfast import Client, RunCancelled, RunStatus, RunTimedOut
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.worker.letterbox import Letterbox
from tests.apps.family import (
    app,
    continues_badly,
    continues_with_a_child,
    continues_with_children,
    counts,
    counts_child,
    gathers,
    go,
    waits,
)
from tests.house import House, until
from tests.scenarios.soon import SOON

NOTHING: list[int] = []


@pytest.fixture
async def client(house: House) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def test_a_thousand_times_keeps_every_journal_short(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(counts, 0, 1_000, tags={"customer": "acme"}, key="once")
    assert await run.result(timeout=SOON * 3) == 1_000
    assert await house.value("select count(*) from holdfast.run") == 1_001
    assert await house.value('select count(*) from holdfast.run where tags = \'{"customer": "acme"}\'') == 1_001
    assert await house.value("select max(n) from (select count(*) as n from holdfast.journal group by run_id) j") == 1
    assert await house.value("select count(*) from holdfast.result where status = 4") == 1_000
    # Whoever asks for the first one means the last.
    assert await client.get(run.id, counts).result(timeout=SOON) == 1_000
    assert await (await client.start(counts, 0, 1_000, key="once")).result(timeout=SOON) == 1_000
    assert await house.value("select count(*) from holdfast.run") == 1_001
    await house.check_invariants()


async def test_signals_that_were_not_waited_for_go_along_in_their_order(house: House, client: Client) -> None:
    run = await client.start(gathers, NOTHING, 20)
    for number in range(8):
        assert await run.signal(go, number, key=f"signal {number}")
    await house.worker(app, cached_runs=0)
    for number in range(8, 20):
        # To the old id, at any moment of its change.
        assert await run.signal(go, number)
    assert await run.result(timeout=SOON) == list(range(20))
    assert await house.value("select count(*) from holdfast.run where continued_from is not null") == 20
    assert not await house.value("select count(*) from holdfast.inbox where not seen")
    await house.check_invariants()


@pytest.mark.parametrize("letter", ["a signal", "a signal with a key", "a cancel"])
async def test_what_is_being_journaled_as_it_goes_on_goes_along(
    house: House, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    """The code has not heard of it, and in the inbox it is no more."""
    app = house.app()
    at_work, sent, taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.activity
    async def works() -> None:
        at_work.set()
        await asyncio.Event().wait()

    @app.workflow
    async def hears(heard: list[int]) -> list[int]:
        # Beside it something is under way, so that it stays in memory while letters come.
        working = asyncio.create_task(works())
        heard = [*heard, await go.wait()]
        if len(heard) < 3:
            hears.continue_as_new(heard)
        working.cancel()
        return heard

    flush_it, take_them = work.flush, Letterbox.take

    async def flush(session: Session, identity: work.Identity, writes: Sequence[Any], **options: Any) -> work.Flushed:
        if not sent.is_set() and any(list(one.seen) == [1] for one in writes):
            # The first is on its way to the journal: another one is sent, and taken from the inbox.
            sent.set()
            if letter == "a cancel":
                await run.cancel()
            else:
                await run.signal(go, 2, key="two" if letter == "a signal with a key" else None)
            await asyncio.wait_for(taken.wait(), SOON.total_seconds())
        return await flush_it(session, identity, writes, **options)

    def take(letterbox: Letterbox, letters: Sequence[work.Letter]) -> list[tuple[work.Letter, str]]:
        new = take_them(letterbox, letters)
        if any(one.number == 2 for one, _ in new):
            taken.set()
        return new

    monkeypatch.setattr(work, "flush", flush)
    monkeypatch.setattr(Letterbox, "take", take)
    client = await house.client(app)
    await house.worker(app)
    run = await client.start(hears, NOTHING)
    await asyncio.wait_for(at_work.wait(), SOON.total_seconds())
    await run.signal(go, 1)
    if letter == "a cancel":
        with pytest.raises(RunCancelled):
            await run.result(timeout=SOON)
    else:
        await house.until("select count(*) = 2 from holdfast.result where status = 4")
        await run.signal(go, 3)
        assert await run.result(timeout=SOON) == [1, 2, 3]
    assert sent.is_set()
    await house.check_invariants()


async def test_what_comes_while_it_waits_for_its_children_goes_along(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(continues_with_a_child, 0)
    child = await house.until("select id from holdfast.run where parent = $1", run.id)
    await house.parked(run.id, child)
    await run.signal(go, 7)
    await house.until("select count(*) = 1 from holdfast.journal where run_id = $1 and kind = 4", run.id)
    await client.signal(child, go, 1)
    assert await run.result(timeout=SOON) == 7
    await house.check_invariants()


async def test_what_was_sent_with_a_key_is_not_taken_twice_while_nobody_has_seen_it(
    house: House, client: Client
) -> None:
    run = await client.start(gathers, NOTHING, 2)
    await run.signal(go, 1)
    await run.signal(go, 2, key="two")
    async with app.worker(skip_warm_up=True):
        assert await run.result(timeout=SOON) == [1, 2]
    other = await client.start(gathers, NOTHING, 3)
    await other.signal(go, 1)
    await house.worker(app)
    await house.until("select count(*) = 1 from holdfast.run where continued_from = $1", other.id)
    newest = await house.value("select holdfast.newest($1)", other.id)
    await house.parked(newest)
    assert await other.signal(go, 2, key="two")
    assert await other.signal(go, 3)
    assert await other.result(timeout=SOON) == [1, 2, 3]
    await house.check_invariants()


async def test_a_signal_with_a_key_is_seen_once_by_all_that_a_run_becomes(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(gathers, NOTHING, 4)
    for number in range(3):
        assert await run.signal(go, number, key=f"signal {number}")
        await house.until("select count(*) = $1 from holdfast.run where continued_from is not null", number + 1)
        for before in range(number + 1):
            # Whoever has lost the answer sends it again.
            assert not await run.signal(go, 100, key=f"signal {before}")
    newest = await house.value("select holdfast.newest($1)", run.id)
    assert not await client.signal(newest, go, 100, key="signal 0")
    # A fork is a run of its own.
    fork = await client.get(newest).fork()
    assert await client.signal(fork.id, go, 200, key="signal 0")
    assert await run.signal(go, 3)
    assert await run.result(timeout=SOON) == [0, 1, 2, 3]
    await house.check_invariants()


async def test_a_cancel_finds_the_newest(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(gathers, NOTHING, 5)
    for number in range(3):
        await run.signal(go, number)
    await house.until("select count(*) = 3 from holdfast.run where continued_from is not null")
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_the_timeout_is_that_of_all_of_them_together(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(gathers, NOTHING, 5, timeout=timedelta(seconds=1))
    deadline = await house.value("select deadline from holdfast.task where run_id = $1", run.id)
    await run.signal(go, 1)
    newest = await house.until("select run_id from holdfast.task where run_id <> $1", run.id)
    assert await house.value("select deadline from holdfast.task where run_id = $1", newest) == deadline
    with pytest.raises(RunTimedOut):
        await run.result(timeout=SOON)
    await house.check_invariants()


async def test_a_child_that_continues_tells_its_parent_at_its_final_end(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(counts_child, 50)
    first = UUID((await run.result(timeout=SOON)).removeprefix("50 of "))
    assert await house.journal(run.id) == ["counts#1>", "counts#1"]
    assert await house.value("select count(*) from holdfast.run where parent = $1", run.id) == 51
    assert await client.get(first, counts).result(timeout=SOON) == 50
    assert await client.get(first).status() is RunStatus.SUCCEEDED
    await house.check_invariants()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("with a wrong argument", "takes 1 positional argument"),
        ("in another task", "in a task that the workflow has made"),
        ("as another one", "cannot go on as one of 'counts'"),
    ],
)
async def test_a_mistake_is_told_and_the_run_goes_on(house: House, client: Client, how: str, words: str) -> None:
    await house.worker(app)
    run = await client.start(continues_badly, how)
    assert words in await run.result(timeout=SOON)
    assert await house.value("select count(*) from holdfast.run") == 1


async def test_its_children_go_by_their_policies(house: House, client: Client) -> None:
    await house.worker(app)
    run = await client.start(continues_with_children, 1)
    cancel, abandon, wait = await until(lambda: children(house, run.id), "three children")
    await house.parked(run.id, wait)
    assert await client.get(cancel).status() is RunStatus.WAITING
    assert await run.status() is RunStatus.WAITING
    await client.signal(wait, go, 1)
    assert await run.result(timeout=SOON) == "done"
    with pytest.raises(RunCancelled):
        await client.get(cancel).result(timeout=SOON)
    await client.signal(abandon, go, 2)
    assert await client.get(abandon, waits).result(timeout=SOON) == 2
    await house.check_invariants()


async def children(house: House, run: UUID) -> list[UUID] | None:
    rows = await house.db.fetch("select id from holdfast.run where parent = $1 order by id", run)
    return [row["id"] for row in rows] if len(rows) == 3 else None
