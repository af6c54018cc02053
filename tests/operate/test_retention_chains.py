"""Runs that were continued by others: their records go from the front, and the first id means what goes on.

Whole chains that have ended go too; nothing that still leads to an open run is lost, whoever has its id or its key.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast import RunNotFound, RunStatus, Signal
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")
DAY = timedelta(days=1)


class Account:
    """A workflow that goes on as a new one at each signal, until it is told to close."""

    def __init__(self, house: House) -> None:
        self.app = house.app()

        @self.app.activity
        async def book(word: str) -> str:
            return word

        @self.app.workflow
        async def account(words: list[str]) -> list[str]:
            word = await go.wait()
            if word == "fail":
                raise ValueError(word)
            if word != "close":
                account.continue_as_new([*words, await book(word)])
            return words

        self.account = account


async def chain(house: House) -> list[UUID]:
    """The runs that there are, in the order in which each took the place of the one before."""
    rows = await house.db.fetch(
        "with recursive chain as ("
        "  select r.id, 0 as n from holdfast.run r"
        "   where not exists (select from holdfast.run b where b.id = r.continued_from)"
        "  union all"
        "  select r.id, c.n + 1 from chain c join holdfast.run r on r.continued_from = c.id"
        ") select id from chain order by n"
    )
    return [row["id"] for row in rows]


async def test_those_before_an_open_run_go_and_the_first_id_and_the_key_mean_it(house: House) -> None:
    books = Account(house)
    client = await house.client(books.app)
    await house.worker(books.app)
    first = await client.start(books.account, list[str](), key="acme", tags={"customer": "acme"})
    waiting = asyncio.create_task(first.result(timeout=SOON))
    for n, word in enumerate(("a", "b", "c"), start=1):
        await first.signal(go, word)
        await house.until("select count(*) = $1 from holdfast.result", n)
    a, b, c, d = await chain(house)
    assert a == first.id
    await house.parked(d)
    await house.advance(10 * DAY)
    assert await client.records.prune(DAY, dry_run=True) == 3
    assert await client.records.prune(DAY) == 3
    await house.check_invariants()
    assert await chain(house) == [d]
    # Whoever has the first id finds what it has become.
    assert await first.status() is RunStatus.WAITING
    assert (await first.newest()).id == d
    assert (await first.describe()).id == d
    assert "waits for signal 'go'" in str(await first.why())
    assert await client.get(a, books.account).tag({"seen": "yes"}) == {"customer": "acme", "seen": "yes"}
    again = await client.start(books.account, list[str](), key="acme")
    assert (again.id, again.existing) == (d, True)
    for gone in (b, c):
        with pytest.raises(RunNotFound):
            await client.get(gone).status()
    # By the statement that knows no digests of inputs, too: the input of what it has become is another one.
    await house.db.execute("update holdfast.start_key set digest = null")
    key = await house.value("select holdfast.start('account', '{\"words\": []}', key => 'acme')")
    assert key == d
    await first.pause()
    await first.resume()
    await first.signal(go, "close")
    assert await waiting == ["a", "b", "c"]
    assert await client.get(a, books.account).result(timeout=SOON) == ["a", "b", "c"]
    await house.check_invariants()
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY) == 1
    assert await house.value("select until is not null from holdfast.start_key")
    with pytest.raises(RunNotFound):
        await first.result(timeout=SOON)
    await house.check_invariants()


async def test_link_by_link_while_it_goes_on(house: House) -> None:
    books = Account(house)
    client = await house.client(books.app)
    await house.worker(books.app)
    first = await client.start(books.account, list[str](), key="acme")
    waiting = asyncio.create_task(first.result(timeout=SOON))
    words: list[str] = []
    for n in range(5):
        await first.signal(go, str(n))
        words.append(str(n))
        await house.until("select count(*) = 1 from holdfast.result where status = 4")
        await house.advance(2 * DAY)
        assert await client.records.prune(DAY, status="continued") == 1
        (newest,) = await chain(house)
        assert await house.value("select continued_from from holdfast.run") == first.id
        assert await house.value("select run_id from holdfast.start_key") == newest
        await house.check_invariants()
    # Also of one that is cancelled by its first id, whose record has gone long ago.
    assert await first.cancel() == "requested"
    with pytest.raises(Exception, match="was cancelled"):
        await waiting
    again = await first.retry()
    assert (await first.newest()).id == again.id
    await first.signal(go, "close")
    assert await first.result(timeout=SOON) == words
    await house.check_invariants()


async def test_what_takes_the_place_of_a_run_that_stays_stays_too(house: House) -> None:
    books = Account(house)
    client = await house.client(books.app)
    await house.worker(books.app)
    run = await client.start(books.account, list[str]())
    await run.signal(go, "fail")
    await house.until("select count(*) = 1 from holdfast.result")
    again = await run.rewind("signal:go#1")
    await run.signal(go, "on")
    await house.until("select count(*) = 2 from holdfast.result")
    assert len(await chain(house)) == 3
    await house.advance(10 * DAY)
    # The rewind has continued as new and is old enough by itself: but the failed run before it leads to what is open.
    assert await client.records.prune(DAY) == 0
    assert (await run.newest()).id not in {run.id, again.id}
    await run.signal(go, "close")
    await run.result(timeout=SOON)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY) == 3
    await house.check_invariants()


async def test_a_schedule_waits_for_what_its_run_has_become(house: House) -> None:
    books = Account(house)
    client = await house.client(books.app)
    await house.worker(books.app)
    await client.schedules.create("monthly", books.account.call([]), "on the 1st at 00:00")
    run = await client.schedules.trigger("monthly")
    await run.signal(go, "on")
    await house.until("select count(*) = 1 from holdfast.result")
    _, newest = await chain(house)
    await house.parked(newest)
    # As it stands when the run of a tick goes on for longer than its records are kept.
    await house.db.execute("update holdfast.schedule set running = array[$1::uuid], last_run = $1", run.id)
    await house.advance(10 * DAY)
    assert await client.records.prune(DAY) == 1
    assert await house.value("select running from holdfast.schedule") == [newest]
    assert await house.value("select last_run from holdfast.schedule") == newest
    await house.check_invariants()
    await run.signal(go, "close")
    await house.ended(newest)
    await house.advance(10 * DAY)
    assert await client.records.prune(DAY) == 1
    assert await house.value("select running = '{}' and last_run is null from holdfast.schedule")
    await house.check_invariants()


async def test_children_that_were_continued_and_retried_go_with_their_tree(house: House) -> None:
    app = house.app()

    @app.workflow
    async def child(word: str) -> str:
        answer = await go.wait()
        if answer == "on":
            child.continue_as_new(word + "!")
        return word

    @app.workflow
    async def parent() -> str:
        try:
            return await child("a")
        except Exception as error:
            return type(error).__name__

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(parent)
    await house.until("select count(*) = 1 from holdfast.run where parent is not null")
    await house.until("select count(*) = 2 from holdfast.task where waits_for is not null")
    kid = await house.value("select id from holdfast.run where parent is not null")
    await client.get(kid).signal(go, "on")
    await house.until("select count(*) = 1 from holdfast.result")
    await client.get(kid).terminate()
    assert await run.result(timeout=SOON) == "ChildCancelled"
    retried = await client.get(kid).retry()
    await house.parked(retried.id)
    await house.advance(2 * DAY)
    assert await client.records.prune(DAY, dry_run=True) == 3
    assert await client.records.prune(DAY) == 3
    # The retry of the child is nobody's child, and its first id means it still.
    assert await chain(house) == [retried.id]
    await client.get(kid).signal(go, "stop")
    assert await client.get(kid).result(timeout=SOON) == "a!"
    await house.check_invariants()
