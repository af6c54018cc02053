"""Rule 6: a fenced worker comes back as a new one; what renews or ends a lease looks at it again; nothing is forgotten.

Shown elsewhere: a heartbeat brings nothing back to life, a lease that is renewed meanwhile is not over
(``tests/store/test_fence.py``, ``tests/store/test_recovery.py``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast.store import work
from tests.house import House
from tests.rules.change import rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import LONG_AGO, Ground
from tests.store.plans import explained

UNGUARDED = rewritten(
    "heartbeat",
    ("     and w.epoch = p_epoch\n", ""),
    ("     and w.lease_until > clock_timestamp()\n", ""),
    ("     and w.state not in ('left', 'lost')\n", ""),
)


@shown(False, the_guard=(UNGUARDED, True))
async def test_p06_a_heartbeat_that_waited_for_recovery_renews_nothing(ground: Ground, expected: object) -> None:
    hand = await ground.worker()
    await hand.take(await ground.start())
    await ground.lease_over(hand)
    recovering = await ground.more()
    transaction = recovering.connection.transaction()
    await transaction.start()
    assert await work.recover(recovering) is not None
    beat = asyncio.ensure_future(work.heartbeat(hand.session, hand.identity))
    await waits(ground, hand.session, beat)
    await transaction.commit()
    assert (await beat).alive is expected


async def test_p06_a_worker_that_lost_its_lease_is_another_one(house: House) -> None:
    app = house.app()

    @app.activity
    async def job() -> str:
        return "done"

    client = await house.client(app)
    await house.worker(app, name="payroll")
    before = await house.until("select name from holdfast.worker where state = 'active'")
    # Nobody else is there: it finds out by itself, with its next heartbeat.
    await house.expire_lease(before)
    await house.until("select array_agg(state order by id) = '{lost,active}' from holdfast.worker")
    after = await house.value("select name from holdfast.worker where state = 'active'")
    assert after != before
    assert after.startswith("payroll-")
    run = await client.start(job)
    assert await run.result(timeout=timedelta(seconds=20)) == "done"


GATE = "    select w.survived into v_lives from holdfast.worker w where w.id = v_worker.id for update skip locked;\n"
WITH_GATE = rewritten("recover", (GATE, f"    perform pg_advisory_xact_lock(4711);\n{GATE}"))
GUARD = """         and w.epoch = v_worker.epoch
         and w.ended_at is null
         and w.lease_until <= clock_timestamp();"""


async def renewed_in_between(ground: Ground) -> tuple[int, str]:
    """A heartbeat that began in time commits after recovery has looked; how many runs are taken, how the worker is."""
    lease = timedelta(milliseconds=300)
    hand, gate = await ground.worker(lease=lease), await ground.connect()
    await hand.take(await ground.start())
    await gate.execute("select pg_advisory_lock(4711)")
    await hand.session.connection.execute("begin")
    assert (await work.heartbeat(hand.session, hand.identity)).alive
    await hand.session.connection.execute(
        "update holdfast.worker set lease_until = clock_timestamp() + interval '1 hour'"
    )
    await ground.until("select lease_until < clock_timestamp() from holdfast.worker")
    recovering = await ground.more()
    recovery = asyncio.ensure_future(work.recover(recovering))
    assert await waits(ground, recovering, recovery)
    await hand.session.connection.execute("commit")
    await gate.execute("select pg_advisory_unlock(4711)")
    found = await recovery
    state: str = await ground.value("select state from holdfast.worker")
    return 0 if found is None else found.runs, state


@shown((0, "active"), the_guard=(rewritten("recover", (GUARD, "         and true;")), (1, "lost")))
async def test_p06_recovery_looks_at_the_lease_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, expected: object
) -> None:
    # With or without the guard, it stops at a gate between looking and taking, so that the heartbeat comes in between.
    await WITH_GATE(ground.db, monkeypatch)
    assert await renewed_in_between(ground) == expected


SWEEP = "  if p_only is null then\n"


@shown(([True, True, False], 2), the_sweep=(rewritten("recover", (SWEEP, "  if false then\n")), ([False] * 3, 0)))
async def test_p06_what_stands_in_nobodys_bucket_becomes_due(ground: Ground, expected: object) -> None:
    low, high, living = await ground.start_many(3)
    before, dead = await ground.worker(), await ground.worker()
    hand = await ground.worker()
    await hand.take(low, high, living)
    # As after a restore of some tables, or a hand that was too quick: of one the bucket is gone, of one the worker.
    await ground.execute("update holdfast.task set bucket_id = $2 where run_id = $1", low, dead.identity.buckets[0])
    await ground.execute("delete from holdfast.worker where id = $1", dead.identity.worker)
    await ground.execute("update holdfast.task set bucket_id = 1000000 where run_id = $1", high)
    # One that registers and claims just now is nobody's to take from.
    coming = await ground.start()
    beginner = await ground.worker()
    transaction = beginner.session.connection.transaction()
    await transaction.start()
    await beginner.take(coming)
    found = await work.recover(ground.session)
    await transaction.commit()
    due = [await ground.is_due(run) for run in (low, high, living)]
    assert (due, 0 if found is None else found.runs) == expected
    assert not await ground.is_due(coming)
    assert await work.recover(ground.session) is None
    for one in (before, hand, beginner):
        assert (await work.heartbeat(one.session, one.identity)).alive


async def test_p06_the_sweep_costs_next_to_nothing_where_there_is_nothing(ground: Ground) -> None:
    for _ in range(4):
        hand = await ground.worker(priorities=(5, 4, 3, 2, 1))
        await ground.start_many(1000)
        assert len((await hand.claim(0, 0, 1000, 0, 0, sweep=True, lower=LONG_AGO)).runs) == 1000
    await ground.execute("vacuum analyze holdfast.task")
    assert await work.recover(ground.session) is None
    async with explained(ground.db) as plans:
        assert await work.recover(ground.session) is None
    assert plans.walked == set()
    assert plans.buffers < 120
