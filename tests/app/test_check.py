"""A check replays what was recorded against the code at hand, and tells what would break; W11."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, RunExport, Signal, patched, sleep
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending
from tests.house import QUICK, House
from tests.scenarios.soon import SOON

go = Signal[str]("go")

Body = Callable[[Any], Awaitable[Any]]


def release(body: Body, *, house: House | None = None, **options: Any) -> App:
    app = App() if house is None else house.app()

    @app.activity
    async def step(word: str) -> str:
        assert house is not None, "an activity was called by a check"
        return word

    @app.activity
    async def other(word: str) -> str:
        raise AssertionError("an activity was called by a check")

    async def order() -> Any:
        return await body(app.definitions)

    app.workflow(**options)(order)
    return app


async def as_recorded(steps: Any) -> str:
    first: str = await steps["step"]("first")
    await go.wait()
    await sleep(timedelta(days=1))
    return first


@pytest.fixture
async def recorded(house: House) -> list[RunExport]:
    """Runs of ``as_recorded``: one that nobody has begun, one at its signal, one at its timer, one that has ended."""
    app = release(as_recorded, house=house)
    client = await house.client(app)
    async with app.worker(**QUICK):
        runs = [await client.start_by_name("order") for _ in range(3)]
        await house.parked(*[run.id for run in runs])
        for run in runs[1:]:
            await run.signal(go, "now")
        await house.until("select count(*) = 2 from holdfast.journal where kind = 4")
        await house.parked(*[run.id for run in runs])
        await runs[2].wake()
        await runs[2].result(timeout=SOON)
    fresh = await client.start_by_name("order")
    return [await client.export(run.id) for run in (fresh, *runs)]


def verdicts(app: App, runs: list[RunExport], **options: Any) -> list[str | None]:
    faults = {one.run_id: one.fault for one in app.check(runs, **options).breaks}
    return [faults.get(run.run_id) for run in runs]


async def test_the_code_that_was_executed_fits(recorded: list[RunExport]) -> None:
    report = release(as_recorded).check(recorded)
    assert report.ok
    (checked,) = report.workflows
    assert (checked.name, checked.version, checked.replayed, checked.breaks) == ("order", None, 4, [])
    assert [len(run.journal) for run in recorded] == [0, 1, 2, 3]
    assert [run.result and run.result.ending for run in recorded] == [None, None, None, Ending.SUCCEEDED]


async def longer(steps: Any) -> str:
    first: str = await steps["step"]("first")
    await go.wait()
    await sleep(timedelta(days=1))
    more: str = await steps["other"]("more")
    return first + more


async def with_other_input(steps: Any) -> str:
    return str(await steps["step"]("changed"))


async def without_the_step(steps: Any) -> str:
    return await go.wait()


async def with_a_step_before(steps: Any) -> str:
    await steps["other"]("before")
    return await as_recorded(steps)


async def with_a_step_instead(steps: Any) -> str:
    await steps["other"]("instead")
    return await go.wait()


async def that_breaks(steps: Any) -> str:
    first = await steps["step"]("first")
    return str(first.missing)


async def that_waits_for_nothing(steps: Any) -> None:
    await steps["step"]("first")
    await go.wait()
    await asyncio.Event().wait()


async def that_opens_a_file(steps: Any) -> str:
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


async def with_a_patch(steps: Any) -> str:
    if patched("other"):
        return str(await steps["other"]("new"))
    return await as_recorded(steps)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (longer, [None, None, None, None]),
        (with_other_input, [None, "blocks", "blocks", "blocks"]),
        (without_the_step, [None, "left over", "blocks", "blocks"]),
        (with_a_step_before, [None, "left over", "left over", "left over"]),
        (with_a_step_instead, [None, "left over", "left over", "left over"]),
        (that_breaks, [None, "fails", "fails", "blocks"]),
        (that_waits_for_nothing, [None, None, "stuck", "left over"]),
        (that_opens_a_file, ["fails", "blocks", "blocks", "blocks"]),
        (with_a_patch, [None, None, None, None]),
    ],
)
async def test_what_would_break_is_told_for_each_stage_of_a_run(
    recorded: list[RunExport], body: Body, expected: list[str | None]
) -> None:
    assert verdicts(release(body), recorded) == expected


async def test_a_reason_names_both_sides(recorded: list[RunExport]) -> None:
    breaks = {
        body.__name__: release(body).check(recorded[1:2]).breaks[0].reason
        for body in (with_other_input, with_a_step_instead, that_breaks)
    }
    assert breaks["with_other_input"].startswith(
        'NonDeterminismError: the code asks for activity step#1 with the input {"word":"changed"}, the journal holds'
    )
    assert breaks["with_a_step_instead"].startswith(
        "NonDeterminismError: the code asks for other#1, the journal holds step#1, the outcome of an activity"
    )
    assert breaks["that_breaks"].startswith("the code would end the run as failed: builtins:AttributeError: 'str'")


async def test_a_step_that_is_known_to_be_added_leaves_nothing_over(recorded: list[RunExport]) -> None:
    assert verdicts(release(with_a_step_before), recorded, added=["other"]) == [None] * 4


async def test_versions_are_checked_each_against_its_own_code(recorded: list[RunExport]) -> None:
    pinned = [RunExport.from_json(run.to_json().replace('"version": null', '"version": "1"')) for run in recorded]
    assert verdicts(release(as_recorded, version=1), pinned) == [None] * 4
    both = release(as_recorded, version=1)
    both.workflow(name="order", version=2)(release(with_other_input).definitions["order"].fn)
    assert verdicts(both, pinned) == [None] * 4
    # Runs that have begun without a version go on with the lowest, as a worker would have it.
    assert verdicts(both, recorded) == [None] * 4
    report = release(as_recorded, version=2).check(pinned)
    assert [one.fault for one in report.breaks] == ["no code"] * 4
    assert "not its version 1: the run would wait for a worker that carries it" in report.breaks[0].reason


async def test_runs_of_others_are_counted_and_not_replayed(recorded: list[RunExport]) -> None:
    report = App().check(recorded)
    assert report.ok
    assert (report.replayed, report.unknown) == (0, {"order": 4})


async def test_files_are_as_good_as_the_database(recorded: list[RunExport]) -> None:
    again = [RunExport.from_json(run.to_json()) for run in recorded]
    assert again == recorded
    assert verdicts(release(with_other_input), again) == [None, "blocks", "blocks", "blocks"]


async def test_a_check_works_inside_and_outside_of_a_task(recorded: list[RunExport]) -> None:
    app = release(as_recorded)
    assert app.check(recorded).ok
    assert (await asyncio.to_thread(app.check, recorded)).ok


async def test_a_sample_is_spread_over_the_workflows_and_their_versions(house: House) -> None:
    app = house.app()

    async def order(number: int) -> None:
        await go.wait()

    for name, version in (("order", 1), ("pay", None), ("ship", 1)):
        app.workflow(name=name, version=version)(order)
    client = await house.client(app)
    async with app.worker(**QUICK):
        calls = [app.definitions["order"].call(n) for n in range(30)]
        runs = await client.start_many(calls)
        runs += await client.start_many([app.definitions["pay"].call(1), app.definitions["ship"].call(1)])
        await house.parked(*[run.id for run in runs])
    fresh = await client.start_many(calls[:5])
    sample = await client.sample(6)
    assert sample.counts == {"order": 5, "order@1": 30, "pay": 1, "ship@1": 1}
    taken = [(run.name, run.version) for run in sample.runs]
    assert len(taken) == 6
    assert set(taken) == {("order", "1"), ("order", None), ("pay", None), ("ship", "1")}
    assert [run.run_id for run in (await client.sample(6)).runs] == [run.run_id for run in sample.runs]
    assert {run.name for run in (await client.sample(10, names=["pay", "ship"])).runs} == {"pay", "ship"}
    assert fresh[0].id not in {run.run_id for run in (await client.sample(3, names=["pay"])).runs}


async def test_ended_runs_are_sampled_where_that_is_asked_for(house: House) -> None:
    app = release(as_recorded, house=house)

    @app.workflow
    async def quick() -> str:
        return str(await app.definitions["step"].fn("x"))

    client = await house.client(app)
    async with app.worker(**QUICK):
        ended = await client.start_many([quick.call() for _ in range(10)])
        waiting = await client.start_by_name("order")
        await house.ended(*[run.id for run in ended])
        await house.parked(waiting.id)
    assert [run.name for run in (await client.sample(4)).runs] == ["order"]
    both = await client.sample(4, ended=True)
    assert sorted(run.name for run in both.runs) == ["order", "quick", "quick", "quick"]
    assert both.counts == {"order": 1, "quick": 10}
    only = await client.sample(4, open=False, ended=True)
    assert [run.name for run in only.runs] == ["quick"] * 4
    assert only.runs[0].journal == ()
    assert only.runs[0].result is not None


async def contents(house: House) -> dict[str, str | None]:
    """Each table, down to the places of its rows and who wrote and locked them. Transactions elsewhere do not count."""
    tables = await house.db.fetch("select tablename as name from pg_tables where schemaname = 'holdfast'")
    rows = "select md5(string_agg(concat(t.ctid, t.xmin, t.xmax, t), ' ' order by t.ctid)) from holdfast.{} t"
    return {table["name"]: await house.value(rows.format(table["name"])) for table in tables}


async def test_nothing_is_written_and_the_whole_journal_is_there(house: House, recorded: list[RunExport]) -> None:
    before = await contents(house)
    assert before["journal"]
    release(with_other_input).check(recorded)
    assert await contents(house) == before
    kinds = [entry.kind for entry in recorded[3].journal]
    assert kinds == [EntryKind.ACTIVITY, EntryKind.SIGNAL, EntryKind.TIMER]
