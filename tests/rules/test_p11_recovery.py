"""Rule 11: recovery waits for nobody, and nobody holds on to a worker's lock for longer than a lease.

Shown elsewhere: who is not terminated, and what recovery does where it may not (``tests/store/test_recovery.py``);
half-open connections (``tests/faults/test_network.py``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.states import Ending
from holdfast.store import work
from holdfast.store.link import Link
from holdfast.store.writes import End
from holdfast.worker.held import Unit
from tests.house import House, eventually
from tests.rules.change import replaced, rewritten, shown
from tests.rules.commit import Committing
from tests.rules.steering import waits
from tests.store.ground import LEASE, Ground, step


def no_limit(_seconds: float) -> asyncio.Timeout:
    return asyncio.timeout_at(None)


def never(_connection: object) -> bool:
    return False


TRY = "    if not pg_try_advisory_xact_lock(holdfast.fence_class(), v_worker.id) then\n"
INSIST = "    perform pg_advisory_xact_lock(holdfast.fence_class(), v_worker.id);\n    if false then\n"


@shown(("next", False), trying=(rewritten("recover", (TRY, INSIST)), ("nobody yet", True)))
async def test_p11_a_flush_under_way_holds_up_no_recovery(ground: Ground, expected: object) -> None:
    stuck, dead = await ground.worker("stuck"), await ground.worker("next")
    for hand in (stuck, dead):
        await hand.take(await ground.start())
    await stuck.session.connection.execute("begin")
    await stuck.flush()
    await ground.lease_over(stuck, since=timedelta(seconds=2))
    await ground.lease_over(dead, since=timedelta(seconds=1))
    recovering = await ground.more()
    recovery = asyncio.ensure_future(work.recover(recovering))
    waiting = await waits(ground, recovering, recovery)
    found = None if waiting else await recovery
    assert ("nobody yet" if found is None else found.name, waiting) == expected
    await stuck.session.connection.execute("commit")
    await recovery


SKIP = "       limit p_limit\n         for update of t skip locked"


@shown((1, False), skip_locked=(rewritten("recover", (SKIP, SKIP.replace(" skip locked", ""))), (0, True)))
async def test_p11_a_busy_row_holds_up_no_recovery(ground: Ground, expected: object) -> None:
    busy, free = await ground.start_many(2)
    hand = await ground.worker()
    await hand.take(busy, free)
    await ground.lease_over(hand)
    user = await ground.connect()
    await user.execute("begin")
    await user.execute("select holdfast.signal($1, 'upgrade')", busy)
    recovering = await ground.more()
    recovery = asyncio.ensure_future(work.recover(recovering))
    waiting = await waits(ground, recovering, recovery)
    assert (int(await ground.is_due(free)), waiting) == expected
    await user.execute("commit")
    assert await recovery is not None


@shown(
    "recovered",
    terminating=(rewritten("recover", ("perform pg_terminate_backend(v_pid);", "null;")), "held on to"),
)
async def test_p11_who_holds_the_lock_for_a_whole_lease_is_terminated(ground: Ground, expected: object) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    # A flush of which the client does not exist any more.
    await hand.session.connection.execute("begin")
    await hand.flush(hand.writes(run, journal=[step(1)]))
    pid = hand.session.connection.get_server_pid()
    await ground.lease_over(hand, since=LEASE)
    assert await work.recover(ground.session) is not None
    if expected == "recovered":
        await ground.until("select not exists (select from pg_stat_activity where pid = $1)", pid)
    for _ in range(5):
        await work.recover(ground.session)
    assert ("recovered" if await ground.is_due(run) else "held on to") == expected
    assert await ground.journal(run) == []


@shown(2, a_limit=(replaced("holdfast.worker.group_commit.asyncio.timeout", no_limit), 1))
async def test_p11_a_flush_that_hangs_is_cut_off_and_sent_again(
    ground: Ground, committing: Committing, monkeypatch: pytest.MonkeyPatch, expected: int
) -> None:
    (owner,) = await committing.claim(1)
    began: list[float] = []
    real = work.flush

    async def flush(*arguments: Any, **options: Any) -> work.Flushed:
        began.append(asyncio.get_running_loop().time())
        return await real(*arguments, **options)

    monkeypatch.setattr(work, "flush", flush)
    other = await ground.more()
    transaction = other.connection.transaction()
    await transaction.start()
    await other.connection.execute(
        "select pg_advisory_xact_lock(holdfast.fence_class(), $1)", committing.hand.identity.worker
    )
    limit = 0.2
    committing.commit(limit=limit).add(Unit(owner, end=End(Ending.SUCCEEDED, "1", None)))
    loop = asyncio.get_running_loop()
    await eventually(
        lambda: len(began) >= 2 or (began and loop.time() - began[0] > 5 * limit), "it is sent again, or hangs"
    )
    assert len(began) >= expected if expected > 1 else len(began) == 1
    assert owner.told == []
    await transaction.commit()
    await eventually(lambda: owner.told, "it is told")
    # Which of the two came first is all the same.
    assert await ground.result(owner.run_id) is not None


@shown(True, a_limit=(replaced("holdfast.worker.worker.has_transaction_timeout", never), False))
async def test_p11_the_server_ends_a_transaction_of_a_worker_before_its_lease(house: House, expected: object) -> None:
    if await house.value("select current_setting('server_version_num')::int < 170000"):
        pytest.skip("this server has no transaction_timeout")
    app = house.app()

    @app.activity
    async def job() -> None: ...

    worker = await house.worker(app, lease=timedelta(seconds=1))
    inner = worker._worker
    assert inner is not None
    assert inner._tenure is not None
    tenure = inner._tenure
    for purpose in ("claims", "flushes", "control"):
        # A link of the same making, of which nobody makes use.
        link: Link = tenure._link(purpose)
        async with link.session() as session:
            limit = await session.connection.fetchval(
                "select nullif(setting, '0')::int * interval '1 ms' from pg_settings where name = 'transaction_timeout'"
            )
            assert (limit is not None and timedelta(seconds=0.5) < limit < timedelta(seconds=1)) is expected
            await session.connection.execute("begin")
            pid = session.connection.get_server_pid()
        if expected and purpose == "flushes":
            # Its client says nothing any more; the server lets go by itself.
            await house.until("select not exists (select from pg_stat_activity where pid = $1)", pid)
        link.discard()
