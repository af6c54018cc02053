"""The fence: what a worker may not do any more, it does not do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from holdfast.store import work
from holdfast.store.migrate import migrate
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.store.ground import Ground, Hand, step


async def refused(hand: Hand, what: str) -> str:
    """The SQLSTATE with which the database refuses what a worker does."""
    (run, *_) = hand.holds
    try:
        match what:
            case "claim":
                await hand.claim()
            case "flush":
                await hand.flush(hand.end(run))
            case "journal":
                await hand.flush(hand.writes(run, journal=[step(1)]))
            case _:
                await work.leave(hand.session, hand.identity)
    except asyncpg.PostgresError as error:
        return error.sqlstate or ""
    return "nothing refused"


VERBS = ["claim", "flush", "journal", "leave"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_worker_whose_lease_is_over_writes_nothing(ground: Ground, verb: str) -> None:
    run = await ground.start()
    await ground.start()
    hand = await ground.worker()
    await hand.claim(1)
    await ground.lease_over(hand)
    before = await ground.everything()
    assert await refused(hand, verb) == "HF001"
    assert await ground.everything() == before
    assert (await ground.held(run))["bucket_id"] == hand.identity.buckets[0]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_worker_with_an_epoch_of_the_past_writes_nothing(ground: Ground, verb: str) -> None:
    await ground.start()
    await ground.start()
    hand = await ground.worker()
    await hand.claim(1)
    await ground.execute("update holdfast.worker set epoch = epoch + 1")
    before = await ground.everything()
    assert await refused(hand, verb) == "HF001"
    assert await ground.everything() == before


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_worker_writes_under_read_committed_only(ground: Ground, verb: str, level: str) -> None:
    await ground.start()
    hand = await ground.worker()
    await hand.claim(1)
    await hand.session.connection.execute(f"set default_transaction_isolation = '{level}'")
    assert await refused(hand, verb) == "HF002"


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_recovery_runs_under_read_committed_only(ground: Ground, level: str) -> None:
    await ground.execute(f"set default_transaction_isolation = '{level}'")
    with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED") as raised:
        await work.recover(ground.session)
    assert raised.value.sqlstate == "HF002"


async def test_the_fence_sees_what_was_committed_while_it_waited(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    recovering = await ground.connect()
    transaction = recovering.transaction()
    await transaction.start()
    await recovering.execute(
        ground.sql("select pg_advisory_xact_lock(holdfast.fence_class(), $1)"), hand.identity.worker
    )
    flush = asyncio.ensure_future(hand.flush(hand.end(run)))
    await ground.waits(hand.session)
    # The flush began when the lease was alive; by the time it is let in, it is not.
    await recovering.execute(ground.sql("update holdfast.worker set epoch = epoch + 1"))
    await transaction.commit()
    with pytest.raises(asyncpg.PostgresError, match="lost its lease") as raised:
        await flush
    assert raised.value.sqlstate == "HF001"
    assert await ground.result(run) is None


async def test_a_heartbeat_renews_a_lease_that_is_not_over(ground: Ground) -> None:
    hand = await ground.worker(lease=timedelta(minutes=10))
    await ground.execute(
        "update holdfast.worker set lease_until = clock_timestamp() + interval '1 second', command = 'drain'"
    )
    assert await work.heartbeat(hand.session, hand.identity) == work.Renewed(alive=True, command="drain")
    assert await ground.value("select lease_until > clock_timestamp() + interval '9 minutes' from holdfast.worker")


@pytest.mark.parametrize(
    "change",
    [
        "lease_until = clock_timestamp()",
        "epoch = epoch + 1",
        "state = 'lost'",
        "state = 'left'",
    ],
)
async def test_a_heartbeat_brings_nothing_back_to_life(ground: Ground, change: str) -> None:
    hand = await ground.worker()
    await ground.execute(f"update holdfast.worker set {change}")
    until = await ground.value("select lease_until from holdfast.worker")
    assert not (await work.heartbeat(hand.session, hand.identity)).alive
    assert await ground.value("select lease_until from holdfast.worker") == until


async def test_expiring_ends_the_leases_of_one_process(ground: Ground) -> None:
    dead, alive = await ground.worker("dead"), await ground.worker("alive")
    pid = await ground.value("select pid from holdfast.worker where id = $1", dead.identity.worker)
    assert await work.expire(ground.session, host="host", pid=pid) == [dead.identity.worker]
    assert await work.expire(ground.session, host="host", pid=pid) == []
    assert await work.expire(ground.session, host="elsewhere", pid=pid) == []
    assert not (await work.heartbeat(dead.session, dead.identity)).alive
    assert (await work.heartbeat(alive.session, alive.identity)).alive


async def test_the_next_lease_to_end_is_another_workers(ground: Ground) -> None:
    one = await ground.worker(lease=timedelta(seconds=1))
    assert await work.next_lease_end(one.session, one.identity) is None
    await ground.worker(lease=timedelta(minutes=10))
    seconds = await work.next_lease_end(one.session, one.identity)
    assert seconds is not None
    assert 500 < seconds < 600.1


async def test_two_schemas_in_one_database_know_nothing_of_each_other(ground: Ground) -> None:
    other = Statements("billing_jobs")
    await migrate(Session(ground.db, other))
    async with Ground(ground.dsn, ground.db, "billing_jobs") as billing:
        classes = [await g.value("select holdfast.fence_class()") for g in (ground, billing)]
        assert classes[0] != classes[1]

        run, bill = await ground.start(), await billing.start()
        hand, clerk = await ground.worker(), await billing.worker()
        assert hand.identity.worker == clerk.identity.worker
        await hand.take(run)
        await clerk.take(bill)
        assert await ground.status(bill) is None
        assert await billing.status(run) is None

        # Whoever recovers in one schema is in nobody's way in the other.
        async with ground.db.transaction():
            await ground.execute("select pg_advisory_xact_lock(holdfast.fence_class(), 1)")
            await clerk.flush(clerk.end(bill))
        await billing.lease_over(clerk)
        assert await work.recover(ground.session) is None
        assert await work.recover(billing.session) is not None
        await hand.flush(hand.end(run))
        assert [await g.value("select count(*) from holdfast.result") for g in (ground, billing)] == [1, 1]


async def test_what_lies_on_a_callers_path_is_not_used(ground: Ground) -> None:
    # Operators that fit better than the server's own; any user who may create something could put them there.
    await ground.execute("create schema trap")
    for operator in ("&", "|"):
        name = f"operator_{ord(operator)}"
        await ground.execute(f"create function trap.{name}(smallint, int) returns int language sql as 'select 1 / 0'")
        await ground.execute(
            f"create operator trap.{operator} (leftarg = smallint, rightarg = int, function = trap.{name})"
        )
    hand = await ground.worker()
    for connection in (ground.db, hand.session.connection):
        await connection.execute("set search_path = trap, pg_catalog")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ground.value("select 1::smallint & 1")
    run, other = [await ground.value("select holdfast.start('flow')") for _ in range(2)]
    await hand.take(run, other)
    await hand.flush(hand.park(run), hand.writes(other, begun=True))
    assert await ground.value("select holdfast.signal($1, 'upgrade')", run)
    assert await ground.value("select holdfast.cancel($1)", run) == "requested"
    assert await ground.value("select status from holdfast.runs where id = $1", run) == "ready"
    await ground.lease_over(hand)
    assert await work.recover(ground.session) is not None
    peer = await ground.worker()
    await peer.take(run, other)
    await peer.flush(peer.end(run))
    assert await work.leave(peer.session, peer.identity) == 1
