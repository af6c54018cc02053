"""Rule 1: claim, flush, give-back and recovery first lock, then check in a statement of its own, then write.

Shown elsewhere: every verb is refused to a worker whose lease is over or whose epoch has passed, and under a higher
isolation level (``tests/store/test_fence.py``, ``tests/worker/test_fence.py``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from holdfast.store import work
from holdfast.store.migrate import migrate
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.rules.change import executed, rewritten, shown
from tests.rules.steering import refusal, waits
from tests.store.ground import Ground, step

LOCK = "  perform pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker);\n"
LOCK_AND_CHECK = (
    "from holdfast.worker w\n",
    "from (select pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker) offset 0) l, holdfast.worker w\n",
)

Outcome = tuple[str, list[int]]
FENCED: Outcome = ("HF001", [])
WRITTEN_BY_A_ZOMBIE: Outcome = ("done", [1])


async def flush_meets_leave(ground: Ground, session: Session | None = None) -> Outcome:
    """A worker leaves while a flush of its own is on its way; a peer takes the run; whose rows are in its journal?"""
    run = await ground.start()
    hand, peer = await ground.worker(), await ground.worker()
    await hand.take(run)
    leaving = await ground.more()
    transaction = leaving.connection.transaction()
    await transaction.start()
    await work.leave(leaving, hand.identity)
    flush = asyncio.ensure_future(hand.flush(hand.writes(run, journal=[step(1)]), session=session))
    await waits(ground, session or hand.session, flush)
    await transaction.commit()
    await peer.take(run)
    return await refusal(flush), [row["hold"] for row in await ground.journal(run)]


@shown(
    FENCED,
    the_lock=(rewritten("fence", (LOCK, "")), WRITTEN_BY_A_ZOMBIE),
    a_statement_of_its_own=(rewritten("fence", (LOCK, ""), LOCK_AND_CHECK), WRITTEN_BY_A_ZOMBIE),
    being_volatile=(executed("alter function holdfast.fence(int, int) stable"), WRITTEN_BY_A_ZOMBIE),
)
async def test_p01_a_flush_that_waited_sees_what_became_of_its_worker(ground: Ground, expected: object) -> None:
    assert await flush_meets_leave(ground) == expected


ANY_LEVEL = rewritten(
    "fence", ("if current_setting('transaction_isolation') <> 'read committed' then", "if false then")
)


REFUSED: Outcome = ("HF002", [])


@shown(REFUSED, the_level=(ANY_LEVEL, WRITTEN_BY_A_ZOMBIE))
async def test_p01_under_a_higher_isolation_level_nothing_is_written(ground: Ground, expected: object) -> None:
    name = await ground.value("select current_database()")
    await ground.execute(f"alter database {name} set default_transaction_isolation = 'repeatable read'")
    # A connection as others would make it, which takes the database's default.
    plain = await asyncpg.connect(ground.dsn)
    try:
        assert await flush_meets_leave(ground, Session(plain, ground.statements)) == expected
    finally:
        plain.terminate()


@shown(
    ("HF001", True),
    the_fence=(rewritten("claim", ("  perform holdfast.fence(p_worker, p_epoch);\n", "")), ("done", False)),
)
async def test_p01_a_claim_is_fenced_like_a_flush(ground: Ground, expected: object) -> None:
    run, other = await ground.start_many(2)
    hand = await ground.worker()
    await hand.claim(1)
    await ground.lease_over(hand)
    recovering = await ground.more()
    transaction = recovering.connection.transaction()
    await transaction.start()
    assert await work.recover(recovering) is not None
    claim = asyncio.ensure_future(hand.claim())
    await waits(ground, hand.session, claim)
    await transaction.commit()
    # Otherwise it would stand in the bucket of a worker from which all has been taken already.
    assert (await refusal(claim), await ground.is_due(other)) == expected
    assert await ground.is_due(run)


async def test_p01_the_lock_is_named_by_the_schema(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(Session(ground.db, Statements("billing_jobs")))
    async with Ground(ground.dsn, ground.db, "billing_jobs") as billing:

        async def recovered() -> int:
            """How many runs are taken from a dead worker while one of the same number flushes in the other schema."""
            hand = await ground.worker()
            await hand.take(await ground.start())
            clerk = await billing.worker()
            assert clerk.identity.worker == hand.identity.worker
            bill = await billing.start()
            await clerk.take(bill)
            await ground.lease_over(hand, since=timedelta(seconds=1))
            transaction = clerk.session.connection.transaction()
            await transaction.start()
            await clerk.flush(clerk.end(bill))
            found = await work.recover(await ground.more(), only=hand.identity.worker)
            await transaction.commit()
            # Both start with nothing.
            await ground.execute("delete from holdfast.task")
            return 0 if found is None else found.runs

        assert await recovered() == 1
        for schema in ("holdfast", "billing_jobs"):
            change = rewritten("fence_class", (f"'{schema}.worker'::regclass::oid::bigint - 2147483648", "4711"))
            if schema == "holdfast":
                await change(ground.db, monkeypatch)
            else:
                await ground.execute(
                    "create or replace function billing_jobs.fence_class() returns int language sql stable "
                    "as 'select 4711'"
                )
        assert await recovered() == 0
