"""Rule 13: a transactional activity takes the fence last, by a share lock on its worker's row in ``fence``.

There are no transactional activities yet. What they will rest on is there: recovery raises the epoch in ``fence``, and
passes over a worker whose row somebody has share-locked. The activity is played by a session that does what it will do.
"""

from __future__ import annotations

import asyncio

from holdfast.store import work
from holdfast.store.session import Session
from tests.rules.change import rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import Ground, Hand

LOOK = """for update skip locked;
      if not found and exists (select 1 from holdfast.fence f where f.worker_id = v_worker.id) then"""
RAISE = "      update holdfast.fence f set epoch = v_worker.epoch + 1 where f.worker_id = v_worker.id;\n"

WITHOUT = rewritten("recover", (LOOK, ";\n      if false then"), (RAISE, ""))


async def take_fence(session: Session, hand: Hand) -> bool:
    """The last statement of a transactional activity: whether its worker may commit this."""
    return bool(
        await session.connection.fetchval(
            "select true from holdfast.fence where worker_id = $1 and epoch = $2 for share",
            *(hand.identity.worker, hand.identity.epoch),
        )
    )


@shown(("waits for the commit", "taken after it"), the_fence=(WITHOUT, ("taken before it", "taken before it")))
async def test_p13_nobody_takes_a_run_whose_effect_is_being_committed(ground: Ground, expected: object) -> None:
    await ground.execute("create table effect (run_id uuid)")
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    user = await ground.more()
    transaction = user.connection.transaction()
    await transaction.start()
    await user.connection.execute("insert into effect values ($1)", run)
    assert await take_fence(user, hand)
    await ground.lease_over(hand)
    recovering = await ground.more()
    recovery = asyncio.ensure_future(work.recover(recovering))
    # Recovery waits for nobody: it comes again later.
    assert not await waits(ground, recovering, recovery)
    during = "taken before it" if await ground.is_due(run) else "waits for the commit"
    await transaction.commit()
    await work.recover(recovering)
    assert await ground.is_due(run)
    after = "taken after it" if during != "taken before it" else during
    assert (during, after) == expected
    assert await ground.value("select count(*) from effect") == 1


@shown(False, the_fence=(WITHOUT, True))
async def test_p13_an_effect_that_comes_too_late_is_not_committed(ground: Ground, expected: object) -> None:
    hand = await ground.worker()
    await hand.take(await ground.start())
    user = await ground.more()
    transaction = user.connection.transaction()
    await transaction.start()
    await user.connection.execute("create table effect ()")
    await ground.lease_over(hand)
    recovering = await ground.more()
    raising = recovering.connection.transaction()
    await raising.start()
    assert await work.recover(recovering) is not None
    fencing = asyncio.ensure_future(take_fence(user, hand))
    # The epoch is being raised: what counts is what is there when it has been.
    await waits(ground, user, fencing)
    await raising.commit()
    assert await fencing is expected
    await transaction.rollback()
