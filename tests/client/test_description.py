"""A description says all that the database knows of a run, in one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from holdfast.client import Client, Sealed
from holdfast.core.errors import RunNotFound
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind
from holdfast.core.states import Ending, Flag, RunStatus
from tests.client.shop import (
    Cipher,
    Connection,
    Receipt,
    Signup,
    charge,
    client_of,
    end,
    nothing,
    onboard,
    park,
    upgrade,
)

BEGAN = datetime(2030, 5, 1, 12, tzinfo=UTC)
DECLINED = Failure(type="shop:CardDeclined", message="no funds")


async def record(
    db: Connection,
    run_id: UUID,
    seq: int,
    kind: EntryKind,
    key: str,
    *,
    output: str | None = None,
    failure: Failure | None = None,
    attempts: int = 0,
    next_in: timedelta | None = None,
) -> None:
    """Writes a row of a journal, ``seq`` minutes after noon; an attempt took a second."""
    at = BEGAN + timedelta(minutes=seq)
    await db.execute(
        """
        insert into holdfast.journal (run_id, seq, hold, kind, key, attempts, started_at, at, not_before, output, error)
        values ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9::text::json, $10::text::json)
        """,
        run_id,
        seq,
        kind,
        key,
        attempts,
        at - timedelta(seconds=1) if attempts else None,
        at,
        None if next_in is None else at + next_in,
        output,
        None if failure is None else failure.to_json(),
    )


async def test_a_new_run_waits_for_a_worker_that_knows_it(client: Client, db: Connection) -> None:
    handle = await client.start(
        onboard, Signup("Acme", 3), tags={"customer": "42"}, priority="high", timeout=timedelta(hours=1)
    )
    run = await handle.describe()
    assert (run.id, run.name, run.priority, run.status) == (handle.id, "onboard", "high", RunStatus.READY)
    assert run.tags == {"customer": "42"}
    assert run.input == {"signup": {"company": "Acme", "seats": 3}}
    assert (run.output, run.failure, run.journal, run.inbox, run.blocked_reason) == (None, None, (), (), None)
    assert run.deadline == run.created_at + timedelta(hours=1)
    assert run.since == run.created_at
    assert run.waits_for == ("a worker of lane 'default'; none that knows 'onboard' is there",)
    await db.execute(
        """
        insert into holdfast.worker (name, host, pid, lane, names, lease, lease_until, started_at)
        values ('w-1', 'here', 1, 'default', '{onboard}', '1 h', clock_timestamp() + interval '1 h', clock_timestamp())
        """
    )
    assert (await client.describe(handle.id)).waits_for == ("a worker of lane 'default' to take it",)


async def test_a_delayed_run_waits_for_its_time(client: Client) -> None:
    at = datetime(2090, 1, 1, 9, 30, tzinfo=UTC)
    run = await (await client.start(nothing, at=at)).describe()
    assert run.status is RunStatus.SCHEDULED
    assert run.waits_for == ("its time, 2090-01-01 09:30:00.000+00:00",)
    assert run.since == run.created_at


async def test_the_journal_is_told_step_by_step(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    run_id = handle.id
    await record(
        db, run_id, 1, EntryKind.ATTEMPT, "charge#1@1", failure=DECLINED, attempts=1, next_in=timedelta(seconds=5)
    )
    await record(
        db, run_id, 2, EntryKind.ATTEMPT, "refund#1@1", failure=DECLINED, attempts=1, next_in=timedelta(seconds=5)
    )
    await record(
        db, run_id, 3, EntryKind.ATTEMPT, "charge#1@2", failure=DECLINED, attempts=2, next_in=timedelta(seconds=9)
    )
    await record(db, run_id, 4, EntryKind.TIMER, "timer#1")
    await record(db, run_id, 5, EntryKind.ACTIVITY, "charge#1", output='"paid"', attempts=3)
    await record(db, run_id, 6, EntryKind.SIGNAL, "signal:upgrade#1", output='{"number": 7}')
    await record(db, run_id, 7, EntryKind.ACTIVITY, "send#1", failure=DECLINED, attempts=1)
    timer, charged, signal, sent, refund = (await handle.describe()).journal
    assert (timer.key, timer.kind, timer.attempts, timer.started_at) == ("timer#1", "timer", 0, None)
    assert (charged.key, charged.kind, charged.attempts, charged.output) == ("charge#1", "activity", 3, "paid")
    assert [(one.number, one.failure) for one in charged.failed] == [(1, DECLINED), (2, DECLINED)]
    assert charged.failed[1].next_at == BEGAN + timedelta(minutes=3, seconds=9)
    assert charged.failed[1].started_at == BEGAN + timedelta(minutes=3, seconds=-1)
    assert (signal.kind, signal.output) == ("signal", {"number": 7})
    assert (sent.failure, sent.failed, sent.at) == (DECLINED, (), BEGAN + timedelta(minutes=7))
    assert (refund.key, refund.at, refund.attempts) == ("refund#1", None, 1)
    assert refund.started_at == BEGAN + timedelta(minutes=2, seconds=-1)


async def test_a_parked_run_waits_for_what_its_task_says(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await park(db, handle.id, waits=True)
    assert (await handle.describe()).waits_for == ("a signal",)
    await park(db, handle.id, due_in=timedelta(hours=1), waits=True)
    until = await db.fetchval("select due_at from holdfast.task")
    timer = f"a timer until {until.isoformat(sep=' ', timespec='milliseconds')}"
    run = await handle.describe()
    assert run.status is RunStatus.WAITING
    assert run.waits_for == ("a signal", timer)
    assert run.since == run.first_claim_at
    await park(db, handle.id, due_in=timedelta(hours=1))
    assert (await handle.describe()).waits_for[0].startswith("a timer until ")


async def test_a_run_that_backs_off_waits_for_its_retry(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await park(db, handle.id)
    await record(
        db, handle.id, 1, EntryKind.ATTEMPT, "charge#1@1", failure=DECLINED, attempts=1, next_in=timedelta(seconds=5)
    )
    at = BEGAN + timedelta(minutes=1, seconds=5)
    await db.execute("update holdfast.task set due_at = $1", at)
    run = await handle.describe()
    assert run.waits_for == ("retry of charge#1 at 2030-05-01 12:01:05.000+00:00",)
    assert run.since == BEGAN + timedelta(minutes=1)
    # A timer that ends earlier is what it is due for.
    await db.execute("update holdfast.task set due_at = $1", at - timedelta(seconds=2))
    assert (await handle.describe()).waits_for[1] == "a timer until 2030-05-01 12:01:03.000+00:00"


async def test_a_blocked_run_says_why(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await park(db, handle.id, flags=Flag.BLOCKED)
    run = await handle.describe()
    assert run.status is RunStatus.BLOCKED
    assert run.blocked_reason == "the code has changed"
    assert run.waits_for == ("code that fits its journal; tried again at any time",)
    assert run.since == await db.fetchval("select at from holdfast.blockage")


async def test_what_lies_in_the_inbox_is_shown(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await handle.signal(upgrade, Receipt(1), key="k")
    await handle.signal(upgrade, Receipt(2))
    await db.execute("update holdfast.inbox set seen = true, payload = null where key = 'k'")
    (letter,) = (await handle.describe()).inbox
    assert (letter.number, letter.kind, letter.name, letter.key) == (2, "signal", "upgrade", None)
    assert letter.payload == {"number": 2}


async def test_an_ended_run_waits_for_nothing(client: Client, db: Connection) -> None:
    good = await client.start(onboard, Signup("Acme", 1))
    bad = await client.start(charge, 5)
    await record(
        db, bad.id, 1, EntryKind.ATTEMPT, "charge#1@1", failure=DECLINED, attempts=1, next_in=timedelta(seconds=5)
    )
    await end(db, good.id, output='{"number": 7}')
    await end(db, bad.id, Ending.FAILED, failure=DECLINED)
    run = await good.describe()
    assert (run.status, run.output, run.failure, run.waits_for) == (RunStatus.SUCCEEDED, {"number": 7}, None, ())
    assert run.since == run.ended_at
    run = await bad.describe()
    assert (run.status, run.output, run.failure, run.waits_for) == (RunStatus.FAILED, None, DECLINED, ())


async def test_what_cannot_be_read_here_says_so(dsn: str, client: Client, db: Connection) -> None:
    async with client_of(dsn, codec=Cipher()) as cipher:
        handle = await cipher.start(charge, 5)
        await handle.signal(upgrade, Receipt(1))
        assert (await handle.describe()).input == {"amount": 5}
        closed = cipher._context.seal.close(DECLINED.to_json(), what="a failure")
    run = await client.describe(handle.id)
    assert isinstance(run.input, Sealed)
    assert "give the app its codec" in run.input.reason
    assert isinstance(run.inbox[0].payload, Sealed)
    await db.execute("delete from holdfast.task")
    await db.execute(
        "insert into holdfast.result (run_id, at, status, error) values ($1, holdfast.now(), 2, $2::text::json)",
        handle.id,
        closed,
    )
    assert isinstance((await client.describe(handle.id)).failure, Sealed)


async def test_nobody_cannot_be_described(client: Client) -> None:
    with pytest.raises(RunNotFound):
        await client.describe(uuid4())
