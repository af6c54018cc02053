"""J: what a job is started with: its policy of retries, its time, what travels with it; and its attempts, kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from holdfast import InvalidInput, Retry, RunFailed, RunStatus, RunTimedOut, activity_info
from holdfast.core.failure import Failure
from tests.house import House
from tests.scenarios.soon import SOON

NOW = timedelta(0)


class Busy(Exception):
    """The other side has no time."""


async def test_a_job_is_tried_again_as_its_start_says_and_not_as_its_activity_does(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=1))
    async def call(fails: int) -> int:
        attempt = activity_info().attempt
        if attempt <= fails:
            raise Busy(f"attempt {attempt}")
        return attempt

    client = await house.client(app)
    await house.worker(app)
    often = Retry(max_attempts=4, initial=NOW)
    assert await (await client.start(call, 3, retry=often)).result(timeout=SOON) == 4
    with pytest.raises(RunFailed, match="attempt 1"):
        await (await client.start(call, 3)).result(timeout=SOON)
    with pytest.raises(RunFailed, match="attempt 4"):
        await (await client.start(call, 9, retry=often)).result(timeout=SOON)
    for run in await client.start_many([call.call(n) for n in range(3)], retry=often):
        assert await run.result(timeout=SOON) <= 3
    await house.check_invariants()


async def test_its_policy_knows_exceptions_by_their_classes(house: House) -> None:
    app = house.app()

    @app.activity
    async def call(kind: str) -> int:
        if activity_info().attempt == 1:
            raise Busy("later") if kind == "busy" else LookupError("never")
        return activity_info().attempt

    client = await house.client(app)
    await house.worker(app)
    for policy in (Retry(initial=NOW, retry_on=(Busy,)), Retry(initial=NOW, give_up_on=(LookupError,))):
        assert await (await client.start(call, "busy", retry=policy)).result(timeout=SOON) == 2
        with pytest.raises(RunFailed, match="never"):
            await (await client.start(call, "lookup", retry=policy)).result(timeout=SOON)


async def test_its_policy_goes_with_headers_and_is_kept_when_it_is_retried(house: House) -> None:
    app = house.app()
    seen: list[tuple[int, str]] = []

    @app.activity(retry=Retry(max_attempts=1))
    async def call() -> str:
        info = activity_info()
        seen.append((info.attempt, info.headers["tenant"]))
        if len(seen) < 4:
            raise Busy(str(len(seen)))
        return "done"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(call, retry=Retry(max_attempts=2, initial=NOW), headers={"tenant": "acme"})
    with pytest.raises(RunFailed, match="2"):
        await run.result(timeout=SOON)
    again = await run.retry()
    assert await again.result(timeout=SOON) == "done"
    assert seen == [(1, "acme"), (2, "acme"), (1, "acme"), (2, "acme")]
    await house.check_invariants()


async def test_by_name_what_is_to_be_tried_again_is_a_job(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=1))
    async def call(fails: int) -> int:
        if activity_info().attempt <= fails:
            raise Busy("no")
        return activity_info().attempt

    stranger = await house.client(house.app())
    await house.worker(app)
    run = await stranger.start_by_name("call", {"fails": 2}, retry=Retry(max_attempts=3, initial=NOW))
    assert await run.result(timeout=SOON) == 3
    job = await stranger.start_by_name("call", {"fails": 0}, job=True)
    assert await job.result(timeout=SOON) == 1
    listed = await stranger.list(kind="job")
    assert {one.id for one in listed} == {run.id, job.id}
    assert len(await stranger.list(kind="workflow")) == 0
    with pytest.raises(InvalidInput, match="kind is 'task': use one of workflow, job, message, driven"):
        await stranger.list(kind=cast("Any", "task"))


async def test_a_workflow_has_no_policy_and_a_policy_is_a_retry(house: House) -> None:
    app = house.app()

    @app.workflow
    async def flow() -> None: ...

    @app.activity
    async def job() -> None: ...

    client = await house.client(app)
    with pytest.raises(InvalidInput, match="cannot be started with retry="):
        await client.start(flow, retry=Retry())
    with pytest.raises(InvalidInput, match="cannot be started with retry="):
        await client.start_many([job.call(), flow.call()], retry=Retry())
    with pytest.raises(InvalidInput, match="retry is 3: use a Retry"):
        await client.start(job, retry=cast("Any", 3))
    assert await house.value("select count(*) from holdfast.run") == 0


async def test_all_attempts_are_kept_with_their_errors(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=3, initial=NOW))
    async def call(fails: int) -> int:
        attempt = activity_info().attempt
        if attempt <= fails:
            raise Busy(f"attempt {attempt}")
        return attempt

    client = await house.client(app)
    await house.worker(app)
    failed = await client.start(call, 3)
    with pytest.raises(RunFailed):
        await failed.result(timeout=SOON)
    attempts = await failed.attempts()
    assert [(one.key, one.number) for one in attempts] == [("call#1", 1), ("call#1", 2), ("call#1", 3)]
    assert [one.failure.message for one in attempts if isinstance(one.failure, Failure)] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]
    assert [one.next_at is None for one in attempts] == [False, False, True]
    assert "Busy" in (cast("Failure", attempts[0].failure).traceback or "")
    assert (await failed.describe()).attempts == attempts
    # One that succeeds in the end has what went before.
    fine = await client.start(call, 2)
    assert await fine.result(timeout=SOON) == 3
    assert [one.number for one in await fine.attempts()] == [1, 2]
    # And one that has failed at its first, that one.
    broken = await client.start(call, 9, retry=Retry(max_attempts=1))
    with pytest.raises(RunFailed):
        await broken.result(timeout=SOON)
    assert [one.number for one in await broken.attempts()] == [1]


async def test_a_timeout_of_the_whole_job_is_no_attempt(house: House) -> None:
    app = house.app()

    @app.activity
    async def call() -> None:
        raise Busy("no")

    client = await house.client(app)
    run = await client.start(call, timeout=timedelta(milliseconds=1))
    await house.until("select deadline < clock_timestamp() from holdfast.task")
    await house.worker(app)
    with pytest.raises(RunTimedOut):
        await run.result(timeout=SOON)
    assert await run.attempts() == ()


async def test_every_option_of_a_start_goes_with_a_job(house: House) -> None:
    app = house.app()

    @app.activity
    async def job(n: int) -> int:
        return n

    client = await house.client(app)
    run = await client.start(
        job,
        7,
        key="seven",
        lane="mail",
        priority="high",
        after=timedelta(hours=1),
        tags={"customer": "acme"},
        timeout=timedelta(hours=2),
        retry=Retry(max_attempts=2),
        headers={"tenant": "acme"},
    )
    described = await run.describe()
    assert (described.lane, described.priority, described.status) == ("mail", "high", RunStatus.SCHEDULED)
    assert described.tags == {"customer": "acme"}
    assert described.due_at is not None
    assert described.deadline is not None
    assert described.due_at - described.created_at == timedelta(hours=1)
    assert described.deadline - described.created_at == timedelta(hours=2)
    assert [one.id for one in await client.list(tags={"customer": "acme"}, lane="mail", kind="job")] == [run.id]
    await house.worker(app, lane="mail")
    await house.advance(timedelta(hours=1))
    assert await run.result(timeout=SOON) == 7
    await house.check_invariants()
