"""A failed or cancelled run is tried again: what went well is kept, and whoever knew the old run knows the new one."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from holdfast import (
    App,
    GiveUp,
    InvalidInput,
    OperationRefused,
    Retry,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunStatus,
    RunTimedOut,
    Signal,
    activity_info,
    now,
    run_info,
    sleep,
)
from holdfast import uuid4 as run_uuid4
from tests.house import House
from tests.scenarios.soon import SOON

go = Signal[str]("go")
once = Retry(max_attempts=1)


class Declined(Exception):
    """Raised by activities of these tests."""


async def test_it_goes_on_from_the_last_good_step(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()
    keys: list[str] = []

    @app.activity
    async def reserve(run: UUID, number: UUID) -> str:
        calls["reserve"] += 1
        return f"{run}/{number}"

    @app.activity(retry=once)
    async def express() -> str:
        calls["express"] += 1
        raise Declined("no express today")

    @app.activity(retry=Retry(max_attempts=2, initial=timedelta(milliseconds=1)))
    async def charge(room: str, number: UUID) -> str:
        calls["charge"] += 1
        keys.append(activity_info().idempotency_key)
        if calls["charge"] <= 2:
            raise Declined("no money")
        return room

    @app.workflow
    async def book() -> list[str]:
        # What a run may have given out of itself: asked for again in the same words.
        room = await reserve(run_info().run_id, run_uuid4())
        try:
            await express()
        except Declined:
            await sleep(timedelta(milliseconds=1))
        began = str(now())
        return [await charge(room, run_uuid4()), began]

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(book, key="trip:1")
    with pytest.raises(RunFailed, match="no money"):
        await run.result(timeout=SOON)
    before = await house.db.fetch("select * from holdfast.journal where run_id = $1 order by seq", run.id)

    again = await run.retry()
    assert again.id != run.id
    room, began = await run.result(timeout=SOON)
    assert room.startswith(str(run.id))
    assert calls == {"reserve": 1, "express": 1, "charge": 3}
    # To the outside it is the same call; its attempts count anew.
    assert set(keys) == {f"{run.id}:charge#1"}
    assert await house.journal(again.id) == ["reserve#1", "express#1", "timer#1", "charge#1"]
    # Nothing that was recorded has changed, and what was kept is the same.
    assert await house.db.fetch("select * from holdfast.journal where run_id = $1 order by seq", run.id) == before
    kept = "select key, at, started_at, digest, output::text, error::text from holdfast.journal where run_id = $1"
    assert (await house.db.fetch(f"{kept} and seq <= 3 order by seq", again.id)) == (
        await house.db.fetch(f"{kept} and seq <= 3 order by seq", run.id)
    )
    assert datetime.fromisoformat(began) == await house.value(
        "select at from holdfast.journal where run_id = $1 and key = 'timer#1'", run.id
    )
    # Whoever has the old id means the new run, in any process; so does its key.
    for handle in (run, client.get(run.id, book), await client.start(book, key="trip:1")):
        assert await handle.status() is RunStatus.SUCCEEDED
        assert (await handle.result(timeout=SOON))[0] == room
        assert (await handle.newest()).id == again.id
    assert (await client.start(book, key="trip:1")).id == again.id
    assert await run.result(timeout=timedelta(0)) == [room, began]
    with pytest.raises(OperationRefused, match="succeeded"):
        await run.retry()
    await house.check_invariants()


async def test_who_waits_already_gets_the_end_of_what_follows_a_rewind_and_a_retry_of_a_retry(house: House) -> None:
    app = house.app()
    tries: list[int] = []

    @app.activity(retry=once)
    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise Declined(f"try {len(tries)}")
        return "done"

    @app.workflow
    async def flow() -> str:
        return await flaky()

    client = await house.client(app)
    await house.worker(app)
    first = await client.start(flow)
    runs = [first]
    for _ in range(3):
        with pytest.raises(RunFailed):
            await first.result(timeout=SOON)
        # By the first one's handle, whatever it has become.
        runs.append(await first.retry())
    assert {await run.result(timeout=SOON) for run in runs} == {"done"}
    assert await house.value("select count(distinct continued_from) from holdfast.run") == 3
    await house.check_invariants()


async def test_a_failure_of_the_code_itself_keeps_everything_for_mended_code(house: House) -> None:
    calls: Counter[str] = Counter()

    def version(number: int) -> App:
        app = house.app()

        @app.activity(name="step")
        async def step(word: str) -> str:
            calls[word] += 1
            return word

        @app.workflow(name="flow")
        async def flow() -> str:
            words = await asyncio.gather(step("a"), step("b"))
            if number == 1:
                raise ValueError("a slip of the pen")
            return "".join(words) + await step("c")

        return app

    old, new = version(1), version(2)
    client = await house.client(new)
    async with old.worker(skip_warm_up=True):
        run = await client.start_by_name("flow")
        with pytest.raises(RunFailed, match="a slip of the pen"):
            await run.result(timeout=SOON)
    await house.worker(new)
    await run.retry()
    assert await run.result(timeout=SOON) == "abc"
    assert calls == {"a": 1, "b": 1, "c": 1}
    await house.check_invariants()


async def test_of_many_at_once_only_those_that_failed_are_done_again(house: House) -> None:
    app = house.app()
    calls: Counter[int] = Counter()
    broken = {3, 7}

    @app.activity(retry=once)
    async def work(number: int) -> int:
        calls[number] += 1
        if number in broken:
            raise Declined(f"number {number}")
        return number

    @app.workflow
    async def flow() -> int:
        found = await asyncio.gather(*(work(number) for number in range(10)), return_exceptions=True)
        errors = [one for one in found if isinstance(one, Exception)]
        if errors:
            raise ExceptionGroup("some failed", errors)
        return sum(one for one in found if isinstance(one, int))

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    broken.clear()
    await run.retry()
    assert await run.result(timeout=SOON) == 45
    assert calls == {number: 2 if number in {3, 7} else 1 for number in range(10)}
    await house.check_invariants()


async def test_what_was_done_because_of_the_failure_is_done_again(house: House) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity(retry=once)
    async def pay() -> str:
        calls["pay"] += 1
        if calls["pay"] == 1:
            raise Declined("no money")
        return "paid"

    @app.activity
    async def tell(what: str) -> None:
        calls[what] += 1

    @app.workflow
    async def flow() -> str:
        try:
            paid = await pay()
        except Declined as error:
            await tell("failed")
            raise ValueError("cannot go on") from error
        await tell(paid)
        return paid

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    with pytest.raises(RunFailed, match="cannot go on"):
        await run.result(timeout=SOON)
    await run.retry()
    assert await run.result(timeout=SOON) == "paid"
    assert calls == {"pay": 2, "failed": 1, "paid": 1}
    assert await house.journal((await run.newest()).id) == ["pay#1", "tell#1"]
    await house.check_invariants()


@pytest.mark.parametrize("how", ["cancel", "timeout", "terminate"])
async def test_one_that_was_cancelled_or_timed_out_goes_on_where_it_was(house: House, how: str) -> None:
    app = house.app()
    calls: Counter[str] = Counter()

    @app.activity
    async def step(word: str) -> str:
        calls[word] += 1
        return word

    @app.workflow
    async def flow() -> str:
        first = await step("first")
        try:
            return first + await go.wait()
        finally:
            await step("clean up")

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow, timeout=timedelta(hours=1) if how == "timeout" else None)
    await house.until("select exists (select from holdfast.journal where run_id = $1)", run.id)
    await house.parked(run.id)
    match how:
        case "cancel":
            await run.cancel()
        case "timeout":
            await house.advance(timedelta(hours=2))
            await house.db.execute("select holdfast.hint('due default')")
        case _:
            await run.terminate()
    with pytest.raises(RunTimedOut if how == "timeout" else RunCancelled):
        await run.result(timeout=SOON)
    await run.retry()
    await run.signal(go, "!")
    assert await run.result(timeout=SOON) == "first!"
    assert calls["first"] == 1
    assert await house.journal((await run.newest()).id) == ["step#1", "signal:go#1", "step#2"]
    await house.check_invariants()


async def test_signals_that_came_after_the_failed_step_are_sent_to_the_new_run(house: House) -> None:
    app = house.app()
    tries: list[int] = []

    @app.activity(retry=once)
    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Declined("not yet")
        return "ok"

    @app.workflow
    async def flow() -> list[str]:
        seen = [await go.wait()]
        try:
            seen.append(await flaky())
        except Declined:
            seen.append(await go.wait())
            raise
        return [*seen, await go.wait(), await go.wait()]

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await run.signal(go, "a")
    await house.until("select exists (select from holdfast.journal where key = 'flaky#1')")
    await run.signal(go, "b")
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    await run.retry()
    await run.signal(go, "c")
    assert await run.result(timeout=SOON) == ["a", "ok", "b", "c"]
    await house.check_invariants()


async def test_a_job_begins_anew_with_its_idempotency_key(house: House) -> None:
    app = house.app()
    keys: list[str] = []

    @app.activity(retry=once, total_timeout=timedelta(hours=1))
    async def job() -> str:
        keys.append(activity_info().idempotency_key)
        if len(keys) == 1:
            raise GiveUp("never")
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(job)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    # Its total timeout begins anew too.
    await house.advance(timedelta(hours=2))
    await run.retry()
    assert await run.result(timeout=SOON) == "done"
    assert keys == [f"{run.id}:job#1"] * 2
    await house.check_invariants()


async def test_the_total_timeout_of_a_step_begins_with_the_retry(house: House) -> None:
    app = house.app()
    tries: list[int] = []

    @app.activity(retry=once, total_timeout=timedelta(hours=1))
    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Declined("not yet")
        return "ok"

    @app.workflow
    async def flow() -> str:
        return await flaky()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    await house.advance(timedelta(days=2))
    await run.retry()
    assert await run.result(timeout=SOON) == "ok"


async def test_of_two_who_retry_at_once_one_does(house: House) -> None:
    app = house.app()
    tries: list[int] = []

    @app.activity(retry=once)
    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Declined("not yet")
        await asyncio.Event().wait()
        return "never"

    @app.workflow
    async def flow() -> str:
        return await flaky()

    client, other = await house.client(app), await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    with pytest.raises(RunFailed):
        await run.result(timeout=SOON)
    answers = await asyncio.gather(*(one.get(run.id).retry() for one in [client, other] * 8), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(made) == 1
    assert all(isinstance(answer, OperationRefused) for answer in answers if answer not in made)
    assert await house.value("select count(*) from holdfast.run") == 2
    await house.check_invariants()


async def test_what_cannot_be_retried_is_refused(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> str:
        return await go.wait()

    client = await house.client(app)
    run = await client.start(flow)
    with pytest.raises(OperationRefused, match=f"run {run.id} has not ended"):
        await run.retry()
    with pytest.raises(InvalidInput, match="timeout"):
        await run.retry(timeout=timedelta(0))
    with pytest.raises(RunNotFound):
        await client.get(uuid4()).retry()
