"""A worker that was cut off and lives on says so: no crash is counted against its runs, whoever was quicker."""

from __future__ import annotations

from uuid import UUID

import pytest

from holdfast.core.states import Flag
from holdfast.store import survival, work
from holdfast.store.survival import Held, Survival
from tests.store.ground import Ground, Hand


async def cut_off(ground: Ground, hand: Hand, *runs: UUID, crashes: int) -> Survival:
    """Its lease is over; it held these runs, with so many crashes when it claimed them."""
    await ground.lease_over(hand)
    return Survival(worker=hand.identity.worker, runs=[Held(run, hand.holds[run], crashes) for run in runs])


async def standing(ground: Ground, run: UUID) -> tuple[int, str]:
    task = await ground.held(run)
    return task["crashes"], task["lane"]


async def taken(ground: Ground, run: UUID, *, crashes: int) -> Hand:
    """Begun by a worker after so many crashes."""
    await ground.execute("update holdfast.task set crashes = $1", crashes)
    hand = await ground.worker(lane=(await ground.held(run))["lane"])
    await hand.take(run)
    await hand.flush(hand.writes(run, begun=True))
    return hand


@pytest.mark.parametrize("crashes", [0, 1, 4])
async def test_nothing_is_counted_by_who_recovers_it_later(ground: Ground, crashes: int) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=crashes), run, crashes=crashes)
    assert await survival.survive(ground.session, said) == 0
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (1, True)
    assert (await ground.held(run))["crashes"] == crashes


async def test_who_says_so_does_not_wait_for_its_lease(ground: Ground) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    await survival.survive(ground.session, Survival(worker=hand.identity.worker, runs=[]))
    assert await work.recover(ground.session) is not None
    assert await ground.is_due(run)


@pytest.mark.parametrize(("crashes", "counted"), [(0, (1, "default")), (1, (2, "default alone"))])
async def test_what_was_counted_before_is_taken_back(ground: Ground, crashes: int, counted: tuple[int, str]) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=crashes), run, crashes=crashes)
    await work.recover(ground.session)
    assert await standing(ground, run) == counted
    assert await survival.survive(ground.session, said) == 1
    assert await standing(ground, run) == (crashes, "default")
    assert await ground.is_due(run)
    assert await survival.survive(ground.session, said) == 0


async def test_a_suspect_stays_one(ground: Ground) -> None:
    run = await ground.start()
    await ground.execute("update holdfast.task set lane = 'default alone'")
    said = await cut_off(ground, await taken(ground, run, crashes=3), run, crashes=3)
    await work.recover(ground.session)
    assert await standing(ground, run) == (4, "default alone")
    await survival.survive(ground.session, said)
    assert await standing(ground, run) == (3, "default alone")


async def test_it_is_taken_back_from_one_that_somebody_has_begun_meanwhile(ground: Ground) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=1), run, crashes=1)
    await work.recover(ground.session)
    hand = await ground.worker(lane="default alone")
    await hand.take(run)
    await hand.flush(hand.writes(run, begun=True))
    assert await survival.survive(ground.session, said) == 1
    # It is moved when it is given back: now it is in a bucket of that line.
    assert await standing(ground, run) == (1, "default alone")


async def test_a_later_crash_counts(ground: Ground) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=1), run, crashes=1)
    await work.recover(ground.session)
    hand = await ground.worker(lane="default alone")
    await hand.take(run)
    await hand.flush(hand.writes(run, begun=True))
    await ground.lease_over(hand)
    await work.recover(ground.session)
    assert await standing(ground, run) == (3, "default alone")
    assert await survival.survive(ground.session, said) == 0
    assert await standing(ground, run) == (3, "default alone")


async def test_a_row_that_somebody_is_at_is_not_waited_for(ground: Ground) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=0), run, crashes=0)
    await work.recover(ground.session)
    other = await ground.more()
    async with ground.db.transaction():
        await ground.execute("select from holdfast.task for update")
        assert await survival.survive(other, said) == 0
    assert await survival.survive(other, said) == 1


async def test_one_that_may_wait_for_a_permit_stays_in_the_line_where_it_is_found(ground: Ground) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=1), run, crashes=1)
    await work.recover(ground.session)
    await ground.execute("update holdfast.task set flags = flags | $1", int(Flag.LIMITED))
    assert await survival.survive(ground.session, said) == 1
    assert await standing(ground, run) == (1, "default alone")


async def test_one_that_is_back_in_its_own_lane_is_found_there_however_long_it_was_away(ground: Ground) -> None:
    run = await ground.start()
    said = await cut_off(ground, await taken(ground, run, crashes=1), run, crashes=1)
    await work.recover(ground.session)
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 minute'")
    # In which its own lane was swept, and nobody has to look there any more for what was due then.
    await ground.execute("select holdfast.raise_floors(array['default'], array[3::smallint])")
    assert await survival.survive(ground.session, said) == 1
    await (await ground.worker("another")).take(run)
