"""Runs are found by their tags, which can be changed; what their code sees of them does not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from holdfast import Effect, InvalidInput, RunNotFound, RunStatus, Signal, run_info
from holdfast.store.connect import connect
from holdfast.store.retention import drop_tags_index, make_tags_index, tags_are_indexed
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


async def test_they_are_set_and_removed_and_the_code_sees_those_of_the_start(house: House) -> None:
    app = house.app()

    @app.activity
    async def note(tags: dict[str, str]) -> None:
        pass

    @app.workflow
    async def flow() -> dict[str, str]:
        await note(dict(run_info().tags))
        await go.wait()
        return dict(run_info().tags)

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(flow, tags={"customer": "acme", "plan": "free"})
    bare = await client.start(flow)
    await house.parked(run.id, bare.id)
    assert await run.tag({"plan": "pro", "owner": "ada"}, remove=["customer", "nobody"]) == {
        "owner": "ada",
        "plan": "pro",
    }
    assert await bare.tag({"plan": "pro"}) == {"plan": "pro"}
    assert await bare.tag(remove="plan") == {}
    assert (await run.describe()).tags == {"owner": "ada", "plan": "pro"}
    assert [one.id for one in await client.list(tags={"plan": "pro"})] == [run.id]
    assert [one.id for one in await client.list(tags={"customer": "acme"})] == []
    # By replay: another answer would ask for the recorded step with another input.
    for one, tags in ((run, {"customer": "acme", "plan": "free"}), (bare, {})):
        await one.signal(go, "on")
        assert await one.result(timeout=SOON) == tags
    # A rewind has the tags of now, and its code those of then.
    again = await run.rewind("signal:go#1")
    assert (await again.describe()).tags == {"owner": "ada", "plan": "pro"}
    assert await run.tag(remove=["owner"]) == {"plan": "pro"}
    await run.signal(go, "on")
    assert await run.result(timeout=SOON) == {"customer": "acme", "plan": "free"}
    await house.check_invariants()


async def test_those_that_cannot_be_stored_are_refused(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None:
        pass

    client = await house.client(app)
    run = await client.start(flow)
    wrong: list[Mapping[str, Any]] = [{"a": 1}, {"a": "\0"}, {"\0": "a"}]
    for tags in wrong:
        with pytest.raises(InvalidInput, match="cannot be tagged"):
            await run.tag(cast("Mapping[str, str]", tags))
    with pytest.raises(InvalidInput, match="'a' is both set and removed"):
        await run.tag({"a": "b"}, remove=["a"])
    with pytest.raises(RunNotFound):
        await client.get("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90").tag({"a": "b"})


async def test_many_are_tagged_at_once(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow(number: int) -> None:
        pass

    client = await house.client(app)
    runs = await client.start_many([flow.call(n) for n in range(250)], tags={"batch": "1"})
    await runs[0].terminate()
    again = await runs[0].retry()
    tried = await client.runs(tags={"batch": "1"}).tag({"seen": "yes"}, dry_run=True)
    assert (len(tried.runs), tried.effects) == (250, {})
    done = await client.runs(tags={"batch": "1"}).tag({"seen": "yes"}, remove=["batch"], limit=1000)
    # The run that was retried is left out: its id means the new one, which has its tags.
    assert (len(done.runs), done.effects, done.more) == (250, {Effect.DONE: 250}, False)
    assert runs[0].id not in done.runs
    assert again.id in done.runs
    found = await client.list(tags={"seen": "yes"}, limit=1000)
    assert {one.id for one in found} == {again.id, *(run.id for run in runs[1:])}
    assert (await client.runs(tags={"seen": "yes"}).tag({"seen": "yes"})).effects == {Effect.NOTHING: 250}
    with pytest.raises(InvalidInput, match="these runs cannot be tagged"):
        await client.runs(name="flow").tag(cast("Any", {"a": 1}))


async def test_what_is_tagged_as_it_goes_on_has_its_tags_afterwards(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow(number: int) -> int:
        await go.wait()
        if number < 20:
            flow.continue_as_new(number + 1)
        return number

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow, 0)
    for number in range(20):
        await run.signal(go, "on")
        # Whichever of the runs has it, the one that goes on has it too.
        assert (await run.tag({f"tag {number}": "yes"}))[f"tag {number}"] == "yes"
    await house.until("select count(*) = 20 from holdfast.result")
    assert len((await run.describe()).tags) == 20
    await run.signal(go, "on")
    assert await run.result(timeout=SOON) == 20


async def test_families_are_found_by_tags_and_parent_with_and_without_an_index(house: House) -> None:
    app = house.app()

    @app.workflow
    async def child() -> None:
        await go.wait()

    @app.workflow
    async def parent() -> None:
        await child()

    client = await house.client(app)
    await house.worker(app)
    first, second = [await client.start(parent) for _ in range(2)]
    await house.until("select count(*) = 2 from holdfast.run where parent is not null")
    await client.runs(name="child").tag({"kid": "yes"})
    connection = await connect(house.dsn, application="tests")
    try:
        for _ in range(2):
            for run in (first, second):
                for family in ({"parent": run.id}, {"root": run.id}):
                    (found,) = await client.list(tags={"kid": "yes"}, **cast("Any", family))
                    assert (await client.describe(found.id)).parent == run.id
            await make_tags_index(Session(connection, Statements()))
    finally:
        await connection.close()


async def test_with_an_index_a_search_walks_it_and_finds_the_same(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow(number: int) -> None:
        pass

    client = await house.client(app)
    for number in range(5):
        await client.start_many([flow.call(n) for n in range(100)], tags={"batch": str(number)})
    first = (await client.list(tags={"batch": "3"}, limit=1)).items[0]
    await client.cancel(first.id)

    async def pages(**filters: Any) -> list[Any]:
        found: list[Any] = []
        after: str | None = None
        while True:
            page = await client.list(tags={"batch": "3"}, limit=30, after=after, **filters)
            found += [one.id for one in page]
            if (after := page.next) is None:
                return found

    searches: list[dict[str, Any]] = [
        {},
        {"status": "ready"},
        {"status": [RunStatus.READY, RunStatus.CANCELLED]},
        {"status": "cancelled"},
        {"name": "nobody"},
        {"kind": "workflow", "lane": "default"},
        {"kind": "job"},
    ]
    before = [await pages(**search) for search in searches]
    assert [len(found) for found in before] == [100, 99, 100, 1, 0, 100, 0]
    connection = await connect(house.dsn, application="tests")
    try:
        session = Session(connection, Statements())
        assert not await tags_are_indexed(session)
        for _ in range(2):
            await make_tags_index(session)
        assert await tags_are_indexed(session)
        assert [await pages(**search) for search in searches] == before
        await connection.execute("analyze holdfast.run; set enable_seqscan = off")
        plan = await connection.fetch(
            'explain select r.id from holdfast.run r where r.tags @> \'{"batch": "3"}\'::jsonb order by r.id desc'
        )
        assert "run_tags" in "\n".join(row[0] for row in plan)
        await drop_tags_index(session)
        assert not await tags_are_indexed(session)
    finally:
        await connection.close()
