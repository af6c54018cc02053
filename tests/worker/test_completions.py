"""Activities that are completed from outside by a token, while their run holds no slot."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from holdfast import (
    ActivityTimedOut,
    CompletionRefused,
    GiveUp,
    InvalidInput,
    Retry,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunNotFound,
    Signal,
    activity_info,
    complete_later,
)
from holdfast.client import Client
from holdfast.core.token import Token
from holdfast.store.connect import connect
from tests.apps import desk
from tests.apps.desk import Refused, app
from tests.apps.ledger import Ledger
from tests.house import House, eventually

SOON = timedelta(seconds=20)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    for name, value in ledger.env.items():
        monkeypatch.setenv(name, value)
    return ledger


@pytest.fixture
async def client(house: House, ledger: Ledger) -> Client:
    app.override(origin="the test", database_url=house.dsn)
    return await house.client(app)


async def token(ledger: Ledger, number: int = 1) -> str:
    """What the activity has given away at its n-th attempt."""

    def look() -> str | None:
        asked = [line for line in ledger.lines() if line.startswith("asked")]
        return asked[number - 1].split()[-1] if len(asked) >= number else None

    return str(await eventually(look, f"attempt {number} has given its token away"))


async def handed(house: House, run: UUID, attempt: int = 1) -> None:
    """Waits until the run is parked because an attempt of it was handed over."""
    await house.until(
        "select exists (select from holdfast.journal where run_id = $1 and kind = 12 and attempts = $2) "
        "and (select bucket_id is null from holdfast.task where run_id = $1)",
        run,
        attempt,
    )


# ---- it is completed


@pytest.mark.parametrize("how", ["loop", "thread", "process"])
async def test_a_value_from_outside_is_the_result_and_the_run_waits_as_a_row(
    house: House, client: Client, ledger: Ledger, how: str
) -> None:
    await house.worker(app)
    run = await client.start(desk.asks_by, how)
    given = await token(ledger)
    await handed(house, run.id)
    (waits,) = (await run.describe()).waits_for
    assert waits == f"the completion of {desk.ASKING[how].name}#1 from outside"
    assert f"waits for the completion of {desk.ASKING[how].name}#1 from outside since" in str(await run.why())
    await client.complete(given, True)
    assert await run.result(timeout=SOON) is True
    (step,) = (await run.describe()).journal
    assert (step.key, step.kind, step.attempts, step.output) == (f"{desk.ASKING[how].name}#1", "activity", 1, True)
    await house.check_invariants()


async def test_of_a_job_too(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.ask, "?")
    given = await token(ledger)
    await handed(house, run.id)
    assert "waits for the completion of ask#1 from outside since" in str(await run.why())
    await client.complete(given, False, desk.ask)
    assert await run.result(timeout=SOON) is False
    await house.check_invariants()


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_it_may_come_before_the_code_has_ended(house: House, kind: str) -> None:
    app = house.app()
    release = asyncio.Event()
    tokens: list[str] = []

    @app.activity
    async def slow() -> int:
        tokens.append(activity_info().token)
        await release.wait()
        complete_later()

    @app.workflow
    async def flow() -> int:
        return await slow()

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow if kind == "workflow" else slow)
    await eventually(lambda: tokens, "it has begun")
    await client.complete(tokens[0], 17)
    if kind == "workflow":
        await house.until("select exists (select from holdfast.journal where run_id = $1 and kind = 13)", run.id)
    release.set()
    assert await run.result(timeout=SOON) == 17
    assert len(tokens) == 1
    await house.check_invariants()


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_it_is_not_asked_again_after_a_crash(house: House, client: Client, ledger: Ledger, kind: str) -> None:
    first = await house.process("tests.apps.desk", "--lease", "1s", env=ledger.env)
    run = await client.start(desk.asks if kind == "workflow" else desk.ask, "?")
    given = await token(ledger)
    await handed(house, run.id)
    await first.kill()
    await client.complete(given, True)
    await house.process("tests.apps.desk", "--lease", "2s", env=ledger.env)
    assert await run.result(timeout=SOON) in ("yes", True)
    assert len(ledger.lines()) == 1
    await house.check_invariants()


async def test_several_at_once_beside_a_signal_and_a_timer(house: House) -> None:
    app = house.app()
    go = Signal[int]("go")
    tokens: dict[str, str] = {}

    @app.activity
    async def ask(n: int) -> int:
        tokens[activity_info().key] = activity_info().token
        complete_later()

    @app.workflow
    async def flow() -> list[int]:
        return list(await asyncio.gather(ask(1), go.wait(), ask(2), ask.options(key="x#y@z")(3)))

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(flow)
    await eventually(lambda: len(tokens) == 3, "all are asked")
    await house.parked(run.id)
    await client.complete(tokens["ask#2"], 20)
    await run.signal(go, 7)
    await client.complete(tokens["ask:x#y@z#1"], 30)
    await client.complete(tokens["ask#1"], 10)
    assert await run.result(timeout=SOON) == [10, 7, 20, 30]
    await house.check_invariants()


# ---- it fails


async def test_a_failure_from_outside_is_tried_again_and_each_attempt_has_a_token(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app)
    run = await client.start(desk.asks, "?")
    first = await token(ledger)
    await client.fail(first, "not there")
    second = await token(ledger, 2)
    assert second != first
    await handed(house, run.id, 2)
    with pytest.raises(CompletionRefused, match=r"completed already|attempt 1 of ask#1 is over"):
        await client.complete(first, True)
    await client.fail(second, Refused("never"))
    assert await run.result(timeout=SOON) == "refused: never"
    (step,) = (await run.describe()).journal
    assert step.attempts == 2
    assert [getattr(one.failure, "message", None) for one in step.failed] == ["not there"]
    await house.check_invariants()


async def test_a_job_that_fails_from_outside_is_tried_again(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.ask, "?")
    await client.fail(await token(ledger), "not there")
    second = await token(ledger, 2)
    await handed(house, run.id, 2)
    await house.check_invariants()
    await client.fail(second, "nor now")
    with pytest.raises(RunFailed, match="ActivityFailed: nor now"):
        await run.result(timeout=SOON)
    await house.check_invariants()


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_a_permanent_failure_is_not_tried_again(house: House, client: Client, ledger: Ledger, kind: str) -> None:
    await house.worker(app)
    run = await client.start(desk.asks if kind == "workflow" else desk.ask, "?")
    await client.fail(await token(ledger), GiveUp("for good"))
    with pytest.raises(RunFailed, match="for good"):
        await run.result(timeout=SOON)
    assert len(ledger.lines()) == 1


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_its_timeout_counts_until_it_is_completed(
    house: House, client: Client, ledger: Ledger, kind: str
) -> None:
    await house.worker(app)
    run = await (client.start(desk.asks_by, "brief") if kind == "workflow" else client.start(desk.ask_briefly, "?"))
    first = await token(ledger)
    second = await token(ledger, 2)
    with pytest.raises(CompletionRefused, match="attempt 1 of ask_briefly#1 is over"):
        await client.complete(first, True)
    await client.complete(second, True)
    assert await run.result(timeout=SOON) is True
    error = await house.value("select error from holdfast.journal where run_id = $1 and kind = 2", run.id)
    assert "was not completed from outside within its timeout" in error
    await house.check_invariants()


async def test_out_of_time_for_good_is_a_timeout(house: House) -> None:
    app = house.app()

    @app.activity(retry=Retry(max_attempts=1), timeout=timedelta(hours=1))
    async def ask() -> int:
        complete_later()

    @app.workflow
    async def flow() -> str:
        try:
            await ask()
        except ActivityTimedOut as error:
            return error.message
        return "no"

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await handed(house, run.id)
    await house.advance(timedelta(hours=2))
    assert await run.result(timeout=SOON) == "was not completed from outside within its timeout"


async def test_a_value_of_another_type_fails_the_activity(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.ask, "?")
    given = await token(ledger)
    await handed(house, run.id)
    with pytest.raises(InvalidInput, match="the result of activity 'ask' does not fit"):
        await client.complete(given, "perhaps")
    # One that does not know the activity cannot see it.
    await (await house.client(house.app())).complete(given, "perhaps")
    with pytest.raises(RunFailed, match=r"InvalidInput: what activity 'ask' was completed with from outside"):
        await run.result(timeout=SOON)
    assert len(ledger.lines()) == 1


# ---- it is refused


async def test_a_second_completion_is_refused_and_said_so(house: House, client: Client, ledger: Ledger) -> None:
    go = Signal[None]("go")

    @(other := house.app()).activity
    async def ask() -> int:
        tokens.append(activity_info().token)
        complete_later()

    @other.workflow
    async def flow() -> int:
        found = await ask()
        await go.wait()
        return found

    tokens: list[str] = []
    client = await house.client(other)
    worker = await house.worker(other)
    run = await client.start(flow)
    await eventually(lambda: tokens, "it is asked")
    worker.stop()
    await handed(house, run.id)
    await client.complete(tokens[0], 1)
    # In the inbox, then in the journal, then after the end.
    for how in (client.complete(tokens[0], 1), client.complete(tokens[0], 2), client.fail(tokens[0], "no")):
        with pytest.raises(CompletionRefused, match="ask#1 has been completed already"):
            await how
    await house.worker(other)
    await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'ask#1')", run.id)
    with pytest.raises(CompletionRefused, match="ask#1 has been completed already") as caught:
        await client.complete(tokens[0], 3)
    assert caught.value.run_id == run.id
    await run.signal(go, None)
    assert await run.result(timeout=SOON) == 1
    with pytest.raises(RunEnded):
        await client.complete(tokens[0], 4)
    await house.check_invariants()


async def test_a_completion_whose_answer_was_lost_is_sent_again_and_counts_once(
    house: House, client: Client, ledger: Ledger
) -> None:
    await house.worker(app)
    run = await client.start(desk.asks, "?")
    given = await token(ledger)
    await handed(house, run.id)
    call = "select holdfast.complete_attempt($1, 13::smallint, 'true', 'complete this')"
    async with house.db.transaction():
        await house.db.fetchval(call, given)
        await house.db.fetchval(call, given)
        assert await house.value("select count(*) from holdfast.inbox where run_id = $1", run.id) == 1
    assert await run.result(timeout=SOON) == "yes"


async def test_what_is_no_token_is_refused(house: House, client: Client) -> None:
    for text in ("", "x", "WyIx", Token(uuid4(), 1, "a#1", "a").text + "=", "ü"):
        with pytest.raises(InvalidInput, match="is not the token of an activity"):
            await client.complete(text, True)
        with pytest.raises(asyncpg.PostgresError, match="is not the token of an activity") as caught:
            await house.db.fetchval("select holdfast.complete_attempt($1, 13::smallint, '1', 'c')", text + "!")
        assert caught.value.sqlstate == "HF007"
    with pytest.raises(RunNotFound):
        await client.complete(Token(uuid4(), 1, "a#1", "a").text, True)
    wrong: Any = desk.ask_briefly
    with pytest.raises(InvalidInput, match="is of activity 'ask', not of activity 'ask_briefly'"):
        await client.complete(Token(uuid4(), 1, "ask#1", "ask").text, True, wrong)


async def test_one_in_a_transaction_is_undone_with_it(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.asks, "?")
    given = await token(ledger)
    transaction = house.db.transaction()
    await transaction.start()
    await client.complete(given, False, connection=house.db)
    await transaction.rollback()
    await client.complete(given, True)
    assert await run.result(timeout=SOON) == "yes"


async def test_a_run_that_waits_no_longer_takes_it_without_effect(house: House) -> None:
    app = house.app()
    go = Signal[None]("go")
    tokens: list[str] = []

    @app.activity
    async def ask() -> int:
        tokens.append(activity_info().token)
        complete_later()

    @app.workflow
    async def flow() -> str:
        task = asyncio.create_task(ask())
        await go.wait()
        task.cancel()
        await go.wait()
        return "done"

    client = await house.client(app)
    await house.worker(app, cached_runs=0)
    run = await client.start(flow)
    await eventually(lambda: tokens, "it is asked")
    await run.signal(go, None)
    await house.until("select count(*) = 1 from holdfast.journal where run_id = $1 and kind = 4", run.id)
    await client.complete(tokens[0], 1)
    await run.signal(go, None)
    assert await run.result(timeout=SOON) == "done"
    await house.check_invariants()


async def test_a_job_that_waits_can_be_cancelled(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.ask, "?")
    given = await token(ledger)
    await handed(house, run.id)
    await run.cancel()
    with pytest.raises(RunCancelled):
        await run.result(timeout=SOON)
    with pytest.raises(RunEnded):
        await client.complete(given, True)


async def test_outside_of_a_worker_it_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="while a worker runs it"):
        complete_later()


# ---- from SQL and the command line


async def test_from_sql(house: House, client: Client, ledger: Ledger) -> None:
    await house.worker(app)
    run = await client.start(desk.asks, "?")
    await house.db.execute("select holdfast.fail($1, 'busy')", await token(ledger))
    await house.db.execute("select holdfast.complete($1, 'true')", await token(ledger, 2))
    assert await run.result(timeout=SOON) == "yes"
    again = await client.start(desk.asks, "?")
    await house.db.execute("select holdfast.fail($1, 'for good', permanent => true)", await token(ledger, 3))
    with pytest.raises(RunFailed, match="for good"):
        await again.result(timeout=SOON)


# ---- it comes exactly as the attempt ends


async def waits_for_a_lock(house: House) -> None:
    """A worker wants to write, and waits for who is completing."""
    await house.until("select exists (select from pg_locks where not granted and locktype = 'transactionid')")


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("how", ["out of time", "raises", "out of time, for good"])
async def test_a_completion_that_commits_as_the_attempt_ends_counts_and_one_that_does_not_is_as_if_never_made(
    house: House, how: str, ends: str
) -> None:
    app = house.app()
    release, raises = asyncio.Event(), asyncio.Event()
    tokens: list[str] = []
    attempts = 1 if "for good" in how else 2

    @app.activity(retry=Retry(max_attempts=attempts, initial=timedelta(0)), timeout=timedelta(seconds=1))
    async def ask() -> str:
        tokens.append(activity_info().token)
        if how == "raises" and len(tokens) == 1:
            await raises.wait()
            raise ValueError("no")
        complete_later()

    @app.activity
    async def keeps_the_run_here() -> None:
        await release.wait()

    @app.workflow
    async def flow() -> str:
        asking = asyncio.ensure_future(ask())
        kept = asyncio.ensure_future(keeps_the_run_here())
        try:
            return await asking
        except ActivityTimedOut:
            return "too late"
        finally:
            await kept

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(flow)
    await eventually(lambda: tokens, "it has begun")
    if how != "raises":
        await house.until("select exists (select from holdfast.journal where run_id = $1 and kind = 12)", run.id)
    other = await connect(house.dsn, application="who completes")
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("select holdfast.complete($1, '\"in time\"')", tokens[0])
        raises.set()
        await waits_for_a_lock(house)
        await (transaction.commit() if ends == "commit" else transaction.rollback())
    finally:
        await other.close()
    if ends == "commit":
        await house.until("select exists (select from holdfast.journal where run_id = $1 and key = 'ask#1')", run.id)
        release.set()
        assert await run.result(timeout=SOON) == "in time"
        assert len(tokens) == 1
        assert await house.value("select count(*) from holdfast.journal where run_id = $1 and kind = 2", run.id) == 0
    else:
        if attempts == 2:
            await eventually(lambda: len(tokens) == 2, "it is asked again")
        else:
            await house.until("select exists (select from holdfast.journal where key = 'ask#1')")
        with pytest.raises(CompletionRefused):
            await client.complete(tokens[0], "in time")
        if attempts == 2:
            await client.complete(tokens[1], "the second time")
        release.set()
        assert await run.result(timeout=SOON) == ("too late" if attempts == 1 else "the second time")
    await house.check_invariants()


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_completion_that_commits_as_the_code_of_a_job_gives_up_counts(house: House, ends: str) -> None:
    app = house.app()
    raises = asyncio.Event()
    tokens: list[str] = []

    @app.activity(retry=Retry(max_attempts=1))
    async def ask() -> str:
        tokens.append(activity_info().token)
        await raises.wait()
        raise ValueError("no")

    client = await house.client(app)
    await house.worker(app)
    run = await client.start(ask)
    await eventually(lambda: tokens, "it has begun")
    other = await connect(house.dsn, application="who completes")
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("select holdfast.complete($1, '\"in time\"')", tokens[0])
        raises.set()
        await waits_for_a_lock(house)
        await (transaction.commit() if ends == "commit" else transaction.rollback())
    finally:
        await other.close()
    if ends == "commit":
        assert await run.result(timeout=SOON) == "in time"
    else:
        with pytest.raises(RunFailed, match="ValueError: no"):
            await run.result(timeout=SOON)
    await house.check_invariants()


async def test_the_token_of_a_transactional_activity_is_refused(house: House) -> None:
    app = house.app()

    @app.activity(transactional=True)
    async def charge(connection: asyncpg.Connection[asyncpg.Record]) -> str:
        return activity_info().token

    client = await house.client(app)
    await house.worker(app)
    with pytest.raises(RunFailed, match="is not completed from outside"):
        await (await client.start(charge)).result(timeout=SOON)
