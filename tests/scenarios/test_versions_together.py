"""Versions, patches and checks of runs that have children, state and signals."""

from __future__ import annotations

from typing import Any

from holdfast import App, Signal, patched, set_state
from tests.house import QUICK, House
from tests.scenarios.soon import SOON

go = Signal[str]("go")


def release(house: House | None, *, taxed: bool = False) -> App:
    app = App() if house is None else house.app()

    @app.activity
    async def step(word: str) -> str:
        assert house is not None, "an activity was called by a check"
        return word

    @app.workflow(name="part", version=1)
    async def old_part(word: str) -> str:
        return f"old {await step(word)}"

    @app.workflow(name="part", version=2)
    async def part(word: str) -> str:
        return f"new {await step(word)}"

    @app.workflow(version=1)
    async def whole(word: str) -> str:
        set_state("at", "the child")
        first = await part("changed" if taxed else word)
        set_state("at", "the wait")
        way = "by air" if patched("air") else "by rail"
        return f"{first} {way} {await go.wait()}"

    return app


async def test_a_child_begins_with_the_highest_version_and_its_parent_is_checked_like_any_run(house: House) -> None:
    app = release(house)
    client = await house.client(app)
    async with app.worker(**QUICK):
        run: Any = await client.start_by_name("whole", {"word": "a"})
        await house.until("select exists (select from holdfast.journal where key = 'patch:air')")
        await house.parked(run.id)
        export = await run.export()
        assert [entry.kind.name for entry in export.journal].count("PATCH") == 1
        assert release(None).check([export]).ok
        (broken,) = release(None, taxed=True).check([export]).breaks
        assert (broken.fault, "part#1" in broken.reason) == ("blocks", True)
        sample = await client.sample(10, ended=True)
        assert sorted((one.name, one.version) for one in sample.runs) == [("part", "2"), ("whole", "1")]
        assert release(None).check(sample.runs).ok
        await run.signal(go, "now")
        assert await run.result(timeout=SOON) == "new a by air now"
    assert release(None).check([await run.export()]).ok
    await house.check_invariants()
