"""J: how far attempts are, as their code reports it and clients watch it."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from holdfast import (
    App,
    ForbiddenInWorkflow,
    Progress,
    Retry,
    RunFailed,
    RunNotFound,
    activity_info,
    heartbeat,
    report_progress,
)
from holdfast.app.hosted import WorkerOptions
from holdfast.worker.group_commit import GroupCommit
from holdfast.worker.held import Unit
from tests.apps import copies
from tests.house import House, eventually, until
from tests.scenarios.soon import SOON

CALM: WorkerOptions = {"lease": timedelta(seconds=60), "poll": timedelta(seconds=30)}


def shown(progress: Progress | None) -> tuple[float | None, str | None, str, int] | None:
    return None if progress is None else (progress.fraction, progress.message, progress.key, progress.attempt)


async def test_a_client_sees_how_far_a_job_is_and_nothing_when_it_has_ended(house: House) -> None:
    app = house.app()
    go, end = asyncio.Event(), asyncio.Event()

    @app.activity
    async def read(pages: int) -> int:
        report_progress(0.0, "begins")
        await go.wait()
        report_progress(0.4, f"page 12 of {pages}")
        await end.wait()
        return pages

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(read, 30, after=timedelta(milliseconds=300))
    assert await run.progress() is None
    first = await run.next_progress()
    assert shown(first) == (0.0, "begins", "read#1", 1)
    go.set()
    second = await run.next_progress(first)
    assert shown(second) == (0.4, "page 12 of 30", "read#1", 1)
    assert await run.progress() == second
    assert (await run.describe()).progress == {"read#1": second}
    end.set()
    assert await run.next_progress(second) is None
    assert await run.result(timeout=SOON) == 30
    assert await run.progress() is None
    assert await run.next_progress() is None
    assert await house.value("select count(*) from holdfast.heartbeat") == 0
    await house.check_invariants()


@pytest.mark.parametrize("how", ["thread", "process"])
async def test_from_threads_and_from_processes(house: House, how: str) -> None:
    app = house.app()

    @app.activity
    def in_a_thread() -> str:
        report_progress(0.25, "a quarter")
        assert _released.wait(20)
        return "done"

    _released.clear()
    client = await house.client(app)
    activity: Any = in_a_thread
    if how == "process":
        activity = copies.reports
        copies.app.override(origin="the test", database_url=house.dsn)
        client = await house.client(copies.app)
        await house.worker(copies.app)
    else:
        await house.worker(app)
    run = await client.start(activity)
    progress = await run.next_progress()
    assert progress is not None
    assert (progress.fraction, progress.message) == (0.25, "a quarter")
    _released.set()
    assert await run.result(timeout=SOON) == "done"
    await house.check_invariants()


_released = threading.Event()


async def test_watching_gives_what_is_reported_until_the_end(house: House) -> None:
    app = house.app()
    seen: list[float | None] = []
    step = asyncio.Event()

    @app.activity
    async def count() -> None:
        for n in range(5):
            report_progress(n / 5)
            await step.wait()
            step.clear()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(count)
    async for progress in run.watch_progress():
        seen.append(progress.fraction)
        step.set()
    assert seen == [0.0, 0.2, 0.4, 0.6, 0.8]
    await run.result(timeout=SOON)


async def test_of_a_workflow_each_activity_that_is_at_work_has_its_own(house: House) -> None:
    app = house.app()
    end = asyncio.Event()

    @app.activity
    async def load(part: int) -> None:
        report_progress(part / 10, f"part {part}")
        await end.wait()

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(load(1), load(2))

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)

    async def both() -> Any:
        progress = (await run.describe()).progress
        return progress if len(progress) == 2 else None

    progress = await until(both, "both have reported")
    assert {key: one.message for key, one in progress.items()} == {"load#1": "part 1", "load#2": "part 2"}
    newest = await run.progress()
    assert newest in progress.values()
    end.set()
    await run.result(timeout=SOON)
    await house.check_invariants()


async def test_an_attempt_that_has_failed_is_not_under_way_any_more(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=2, initial=timedelta(hours=1), maximum=timedelta(hours=1), jitter=0))
    async def fails() -> str:
        if activity_info().attempt == 1:
            heartbeat("row 17")
            report_progress(0.9, "nearly")
            raise LookupError("no")
        return str(activity_info().details)

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(fails)
    await house.parked(run.id)
    assert await run.progress() is None
    # What was said for the next attempt is another matter.
    await house.advance(timedelta(hours=1))
    assert await run.result(timeout=SOON) == "row 17"
    await house.check_invariants()


async def test_after_a_crash_only_what_the_new_attempt_reports_is_shown_and_details_are_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = house.place / "released"
    monkeypatch.setenv("RELEASED", str(released))
    copies.app.override(origin="the test", database_url=house.dsn)
    client = await house.client(copies.app)
    first = await house.process("tests.apps.copies", "--lease", "1s", "--poll", "200ms")
    run = await client.start(copies.goes_on)
    progress = await run.next_progress()
    assert shown(progress) == (0.5, "begun with None", "goes_on#1", 1)
    await first.kill()
    await house.process("tests.apps.copies", "--lease", "1s", "--poll", "200ms")
    again = await run.next_progress(progress)
    assert shown(again) == (0.5, "begun with 7", "goes_on#1", 1)
    released.touch()
    assert await run.result(timeout=SOON) == 7
    await house.check_invariants()


# ---- what it costs


async def test_ten_thousand_reports_are_a_handful_of_writes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    app = house.app()
    beats: list[Unit] = []
    really_add = GroupCommit.add

    def add(self: GroupCommit, unit: Unit) -> None:
        if unit.beats and unit.beats[0].progress is not None:
            beats.append(unit)
        really_add(self, unit)

    monkeypatch.setattr(GroupCommit, "add", add)

    @app.activity
    async def chatters() -> float:
        began = time.monotonic()
        for n in range(10_000):
            report_progress(n / 10_000, f"row {n}")
            if n % 100 == 0:
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    client = await house.client(app)
    await house.worker(app, **CALM)
    took = await (await client.start(chatters)).result(timeout=SOON)
    # The first at once, then at most twice a second.
    assert 1 <= len(beats) <= 2 + 2 * took


async def test_a_job_that_reports_nothing_writes_nothing_of_it(house: House) -> None:
    app = house.app()

    @app.activity
    async def quiet() -> None:
        return None

    client = await house.client(app)
    await house.worker(app)
    await house.db.execute("drop table holdfast.heartbeat")
    runs = await client.start_many([quiet.call() for _ in range(20)])
    for run in runs:
        await run.result(timeout=SOON)


async def test_a_hundred_who_watch_cost_a_handful_of_statements(house: House) -> None:
    app = house.app()
    end = asyncio.Event()

    @app.activity
    async def waits(n: int) -> int:
        report_progress(0.5, str(n))
        await end.wait()
        return n

    client = await house.client(app)
    await house.worker(app, parallelism_factor=40)
    runs = await client.start_many([waits.call(n) for n in range(100)])

    async def watch(n: int) -> list[str | None]:
        return [progress.message async for progress in runs[n].watch_progress()]

    watching = [asyncio.ensure_future(watch(n)) for n in range(100)]
    watchers = client._context.watchers
    await house.until("select count(*) = 100 from holdfast.heartbeat where progress is not null")
    since, before = time.monotonic(), watchers.looks
    await eventually(lambda: watchers.looks >= before + 3, "it looks on")
    looks, took = watchers.looks - before, time.monotonic() - since
    assert looks <= 2 + 2 * took
    end.set()
    for run in runs:
        await run.result(timeout=SOON)
    assert await asyncio.gather(*watching) == [[str(n)] for n in range(100)]
    assert watchers._waits == {}


async def test_a_wait_that_is_cancelled_leaves_nothing_and_the_end_is_seen_without_hints(house: House) -> None:
    app = house.app()
    end = asyncio.Event()

    @app.activity
    async def silent() -> None:
        await end.wait()

    async with app.client(hints=False) as client:
        await house.worker(app)
        run = await client.start(silent)
        waiting = asyncio.ensure_future(run.next_progress())
        other = asyncio.ensure_future(run.next_progress())
        await eventually(lambda: client._context.watchers.looks, "it looks")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        end.set()
        assert await other is None
        assert client._context.watchers._waits == {}


# ---- codecs, mistakes, places where it does not belong


class Rot:
    """A codec that anybody can break, but not read."""

    def encode(self, data: bytes) -> bytes:
        return bytes(255 - byte for byte in data)

    decode = encode


async def test_with_a_codec_it_is_stored_sealed_and_who_lacks_it_sees_nothing(house: House) -> None:
    app = house.app(codec=Rot())
    end = asyncio.Event()

    @app.activity
    async def secret() -> None:
        report_progress(0.5, "the secret page")
        await end.wait()

    client, stranger = await house.client(app), await house.client(house.app())
    await house.worker(app)
    run = await client.start(secret)
    progress = await run.next_progress()
    assert progress is not None
    assert progress.message == "the secret page"
    assert "secret page" not in await house.value("select progress::text from holdfast.heartbeat")
    assert await stranger.get(run.id).progress() is None
    end.set()
    await run.result(timeout=SOON)


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ((1.5,), "progress is 1.5: use a number from 0 to 1"),
        ((-0.1,), "progress is -0.1: use a number from 0 to 1"),
        ((float("nan"),), "progress is nan"),
        (("half",), "progress is 'half': use a number from 0 to 1, or None"),
        ((True,), "progress is True"),
        ((0.5, 12), "the message of a progress is 12: use text"),
    ],
)
async def test_a_mistake_fails_the_attempt_for_good_and_says_why(
    house: House, arguments: tuple[Any, ...], mistake: str
) -> None:
    app = house.app()

    @app.activity
    async def wrong() -> None:
        cast("Any", report_progress)(*arguments)

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed) as caught:
        await (await client.start(wrong)).result(timeout=SOON)
    assert mistake in str(caught.value)
    assert caught.value.type_name.endswith("InvalidInput")


async def test_any_text_can_be_a_message(house: House) -> None:
    app = house.app()
    end = asyncio.Event()

    @app.activity
    async def says(text: str) -> None:
        report_progress(None, chr(0xD800) if text == "half" else text)
        await end.wait()

    client = await house.client(app)
    await house.worker(app)
    for text, kept in (("a\0b", "a\0b"), ("half", "?"), ("x" * 501, "x" * 499 + "…"), ("ä😀", "ä😀")):
        progress = await (await client.start(says, text)).next_progress()
        assert progress is not None
        assert (progress.fraction, progress.message) == (None, kept)
    end.set()


async def test_where_no_worker_runs_the_code_it_does_nothing_and_in_workflows_it_is_refused(house: House) -> None:
    assert report_progress(0.5, "alone")
    app = house.app()

    @app.workflow
    async def flow() -> None:
        report_progress(0.5)

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed, match="a workflow has set_state") as caught:
        await (await client.start(flow)).result(timeout=SOON)
    assert caught.value.type_name.endswith(ForbiddenInWorkflow.__name__)


async def test_of_a_run_that_nobody_knows(house: House) -> None:
    client = await house.client(App(house.dsn))
    run = client.get(UUID("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"))
    with pytest.raises(RunNotFound):
        await run.progress()
    with pytest.raises(RunNotFound):
        await run.next_progress()
