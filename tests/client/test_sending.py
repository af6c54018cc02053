"""Signals and requests to cancel reach the run that they are for, or their sender hears why not."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from holdfast.client import Cancellation, Client
from holdfast.core.errors import DatabaseUnavailable, InvalidInput, RunCancelled, RunEnded, RunNotFound, Unstorable
from holdfast.core.states import Flag, RunStatus
from tests.client.shop import LIMIT, Cipher, Connection, Receipt, charge, client_of, count, nothing, park, upgrade
from tests.house import until

BLOCKED_PID = "select max(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def test_a_signal_lies_in_the_inbox(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    assert await handle.signal(upgrade, Receipt(7))
    row = await db.fetchrow("select * from holdfast.inbox")
    assert row is not None
    assert (row["run_id"], row["number"], row["kind"], row["name"]) == (handle.id, 1, 4, "upgrade")
    assert json.loads(row["payload"]) == {"number": 7}
    assert await db.fetchval("select inbox_count from holdfast.task") == 1


async def test_a_signal_with_a_key_is_stored_once(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    sent = [await handle.signal(upgrade, Receipt(n), key="k") for n in range(3)]
    assert sent == [True, False, False]
    assert await handle.signal(upgrade, Receipt(9), key="other")
    assert [json.loads(row["payload"])["number"] for row in await db.fetch("select payload from holdfast.inbox")] == [
        0,
        9,
    ]


async def test_concurrent_signals_with_one_key_are_stored_once(dsn: str, db: Connection) -> None:
    async with client_of(dsn, pool_size=8) as client:
        handle = await client.start(nothing)
        sent = await asyncio.gather(*(handle.signal(upgrade, Receipt(1), key="k") for _ in range(32)))
    assert sum(sent) == await count(db, "inbox") == 1


async def test_concurrent_signals_are_numbered_one_by_one(dsn: str, db: Connection) -> None:
    async with client_of(dsn, pool_size=8) as client:
        handle = await client.start(nothing)
        await asyncio.gather(*(handle.signal(upgrade, Receipt(n)) for n in range(100)))
    numbers = [row["number"] for row in await db.fetch("select number from holdfast.inbox order by number")]
    assert numbers == list(range(1, 101))
    assert await db.fetchval("select inbox_count from holdfast.task") == 100


async def test_a_signal_by_name_carries_plain_json(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    await client.signal_by_name(handle.id, "upgrade", {"number": 7})
    await handle.signal_by_name("ping")
    assert [row["payload"] for row in await db.fetch("select payload from holdfast.inbox order by number")] == [
        '{"number":7}',
        "null",
    ]
    for name in ("", "x" * 201, "\0"):
        with pytest.raises(InvalidInput, match="the name of a signal"):
            await handle.signal_by_name(name)


async def test_a_payload_goes_through_the_codec(dsn: str, db: Connection) -> None:
    async with client_of(dsn, codec=Cipher()) as client:
        handle = await client.start(nothing)
        await client.signal(handle.id, upgrade, Receipt(7))
        (letter,) = (await handle.describe()).inbox
    assert "number" not in await db.fetchval("select payload from holdfast.inbox")
    assert letter.payload == {"number": 7}


async def test_a_payload_that_does_not_fit_is_refused(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    with pytest.raises(InvalidInput, match=r"signal 'upgrade' .*number"):
        await handle.signal(upgrade, Receipt(cast("Any", "x")))
    with pytest.raises(Unstorable, match=f"the payload of signal 'note' is .* at most {LIMIT:,}"):
        await handle.signal_by_name("note", "x" * LIMIT)
    with pytest.raises(InvalidInput, match="key has 0 characters"):
        await handle.signal(upgrade, Receipt(1), key="")
    assert await count(db, "inbox") == 0


async def test_a_signal_to_nobody_is_an_error(client: Client) -> None:
    unknown = uuid4()
    with pytest.raises(RunNotFound) as caught:
        await client.signal(unknown, upgrade, Receipt(1))
    assert caught.value.run_id == unknown
    handle = await client.start(nothing)
    await handle.cancel()
    with pytest.raises(RunEnded, match="nothing can be sent to it any more"):
        await handle.signal(upgrade, Receipt(1))


async def test_a_signal_in_a_transaction_that_rolls_back_was_not_sent(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    transaction = db.transaction()
    await transaction.start()
    await handle.signal(upgrade, Receipt(1), connection=db)
    await transaction.rollback()
    assert await count(db, "inbox") == 0
    async with db.transaction():
        other = await client.start(nothing, connection=db)
        await other.signal(upgrade, Receipt(2), connection=db)
    assert await count(db, "inbox") == 1


@pytest.mark.parametrize("waits", [True, False])
async def test_a_signal_wakes_a_run_that_waits_and_none_that_sleeps(
    client: Client, db: Connection, waits: bool
) -> None:
    handle = await client.start(nothing)
    await park(db, handle.id, due_in=timedelta(hours=1), waits=waits)
    await handle.signal(upgrade, Receipt(1))
    assert await handle.status() is (RunStatus.READY if waits else RunStatus.WAITING)


async def test_a_signal_with_a_key_whose_connection_is_lost_is_sent_again(
    client: Client, dsn: str, db: Connection
) -> None:
    assert await _interrupted(client, dsn, db, key="k")
    assert await count(db, "inbox") == 1


async def test_a_signal_without_a_key_whose_connection_is_lost_is_not_known_to_be_stored(
    client: Client, dsn: str, db: Connection
) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"whether signal 'upgrade' was stored is not known: with a key="):
        await _interrupted(client, dsn, db, key=None)


async def _interrupted(client: Client, dsn: str, db: Connection, key: str | None) -> bool:
    """Sends a signal whose connection breaks while it waits for the lock on the run."""
    handle = await client.start(nothing)
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("select from holdfast.task for update")
    sending = asyncio.create_task(handle.signal(upgrade, Receipt(1), key=key))
    pid = await until(lambda: db.fetchval(BLOCKED_PID), "the signal is under way")
    await db.execute("select pg_terminate_backend($1)", pid)
    await until(lambda: db.fetchval("select not exists (select from pg_stat_activity where pid = $1)", pid), "killed")
    await transaction.rollback()
    await other.close()
    return await sending


# ---- cancel


async def test_a_run_that_has_not_begun_is_cancelled_at_once(client: Client, db: Connection) -> None:
    handle = await client.start(nothing, after=timedelta(hours=1))
    await handle.signal(upgrade, Receipt(1))
    assert await handle.cancel() is Cancellation.CANCELLED
    assert await handle.cancel() is Cancellation.ENDED
    assert await handle.status() is RunStatus.CANCELLED
    assert await count(db, "task") == await count(db, "inbox") == 0
    with pytest.raises(RunCancelled):
        await handle.result()


async def test_a_job_that_waits_for_its_retry_is_cancelled_at_once(client: Client, db: Connection) -> None:
    handle = await client.start(charge, 5)
    await park(db, handle.id, due_in=timedelta(hours=1))
    assert await client.cancel(handle.id) is Cancellation.CANCELLED


@pytest.mark.parametrize("bucket", [None, 1])
async def test_a_workflow_that_has_begun_is_asked_to_cancel_once(
    client: Client, db: Connection, bucket: int | None
) -> None:
    handle = await client.start(nothing)
    await park(db, handle.id, bucket=bucket)
    assert await handle.cancel() is Cancellation.REQUESTED
    assert await handle.cancel() is Cancellation.REQUESTED
    row = await db.fetchrow("select flags, inbox_count, due_at <= holdfast.now() as due from holdfast.task")
    assert row is not None
    assert (row["flags"], row["inbox_count"], row["due"]) == (Flag.CANCEL, 1, True)
    assert await db.fetchval("select kind from holdfast.inbox") == 5
    assert (await handle.describe()).cancel_requested


async def test_nobody_cannot_be_cancelled(client: Client) -> None:
    with pytest.raises(RunNotFound):
        await client.cancel(UUID("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90"))


async def test_a_cancel_in_a_transaction_that_rolls_back_was_not_asked(client: Client, db: Connection) -> None:
    handle = await client.start(nothing)
    transaction = db.transaction()
    await transaction.start()
    assert await handle.cancel(connection=db) is Cancellation.CANCELLED
    await transaction.rollback()
    assert await handle.status() is RunStatus.READY


@pytest.mark.parametrize("hints", [True, False])
async def test_the_hint_of_a_signal_is_not_part_of_its_commit(dsn: str, db: Connection, *, hints: bool) -> None:
    """Of those that notify only one at a time can commit; and one in a transaction of the caller's is part of that."""
    heard: list[object] = []

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.append(payload)

    await db.add_listener("holdfast", hear)
    async with client_of(dsn, hints=hints) as client:
        run = await client.start(nothing)
        await park(db, run.id, waits=True)
        await run.signal(upgrade, Receipt(7))
        await db.execute("select 1")
        transaction = db.transaction()
        await transaction.start()
        await run.signal(upgrade, Receipt(7), connection=db)
        await transaction.commit()
    await db.execute("select pg_notify('holdfast', 'over')")

    async def over() -> bool:
        await db.execute("select 1")
        return "over" in heard

    await until(over, "the last hint is heard")
    signals = [said for said in heard if said == "due default"]
    # With hints: of the start, of the signal, of the one in the transaction; without only the last.
    assert len(signals) == (3 if hints else 1)
