"""Permits that are leased in advance, by hand: never more than there are, and back when others want them."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from uuid import UUID

from holdfast.core.limit import Ticket
from holdfast.store import work
from holdfast.store.blocks import Bid, Left, claim_leased, lease_permits, return_permits
from holdfast.store.session import Session
from tests.house import check_invariants
from tests.store.ground import LONG_AGO, Ground, Hand, both
from tests.store.test_permits import claim, held, jobs, patiently, taken

TEN = Ticket("job", None, None, 10, None, 1)


async def lease(hand: Hand, size: int, *, generation: int = 0, ticket: Ticket = TEN) -> int | None:
    """Leases so many permits for jobs; gives how many it has then."""
    bids = [Bid("job", size, size, generation)]
    return (await lease_permits(hand.session, hand.identity, bids, {"job": [ticket]}))["job"]


async def take(hand: Hand, room: int, *, generation: int = 0, session: Session | None = None) -> list[UUID] | None:
    """Claims so many jobs by lease; None: it is wanted, or the claim is late."""
    found = await claim_leased(
        session or hand.session,
        hand.identity,
        [
            work.Wanted(bucket, lane, priority, room, LONG_AGO)
            for bucket, (lane, priority) in zip(hand.identity.buckets, hand.slots, strict=True)
        ],
        names=["job"],
        generations=[generation],
        sweep=True,
        ahead=timedelta(seconds=2),
    )
    if found is None:
        return None
    hand.holds |= {run.run_id: run.hold for run in found.runs}
    return [run.run_id for run in found.runs]


async def give_back(hand: Hand, *, generation: int = 1) -> Left | None:
    """Gives back what is free; gives what is left."""
    return (await return_permits(hand.session, hand.identity, {"job": generation})).get("job")


async def test_runs_that_are_claimed_by_a_lease_need_no_permits_of_their_own(ground: Ground) -> None:
    runs = await jobs(ground, 4)
    hand = await ground.worker()
    assert await lease(hand, 3) == 3
    assert await take(hand, 3) == runs[:3]
    assert await ground.value("select count(*) from holdfast.permit") == 0
    assert await ground.value("select bool_and(flags & 2048 = 0) from holdfast.task") is True
    assert await held(ground) == 3
    await check_invariants(ground.dsn)
    await hand.flush(*[hand.end(run) for run in runs[:3]])
    assert await take(hand, 3) == runs[3:]
    assert await held(ground) == 3
    await check_invariants(ground.dsn)


async def test_half_of_a_limit_is_never_leased_in_advance_and_nothing_while_somebody_waits(ground: Ground) -> None:
    await jobs(ground, 12)
    hand, other = await ground.worker(), await ground.worker("other")
    assert await lease(hand, 4) == 4
    assert await lease(other, 2) is None
    assert await lease(other, 1) == 1
    assert await lease(hand, 5) is None
    assert await held(ground) == 5
    await check_invariants(ground.dsn)
    await give_back(hand)
    await give_back(other)
    assert await held(ground) == 0
    first, *_ = taken(await claim(hand, Ticket("job", None, None, 1, None, 1), room=2))
    await hand.flush(hand.end(first))
    assert await ground.value("select count(*) from holdfast.permit_line") == 1
    assert await lease(hand, 1, generation=1) is None


async def test_who_finds_no_permit_gets_those_that_others_have_leased_and_do_not_use(ground: Ground) -> None:
    runs = await jobs(ground, 12)
    hand, other = await ground.worker(), await ground.worker("other")
    assert await lease(hand, 5) == 5
    assert await take(hand, 2) == runs[:2]
    assert taken(await claim(other, TEN)) == runs[2:7]
    assert await ground.value("select count(*) from holdfast.permit_wait") == 5
    await check_invariants(ground.dsn)
    # It is told, and takes nothing by its lease any more.
    assert await take(hand, 3) is None
    assert await give_back(hand) == Left(2, wanted=True)
    assert taken(await claim(other, TEN)) == runs[7:10]
    assert await held(ground) == 10
    await check_invariants(ground.dsn)
    await hand.flush(*[hand.end(run) for run in runs[:2]])
    assert await give_back(hand, generation=2) is None
    assert taken(await claim(other, TEN)) == runs[10:]
    await check_invariants(ground.dsn)


async def test_a_claim_that_comes_late_takes_nothing_by_a_lease_that_was_given_back(ground: Ground) -> None:
    runs = await jobs(ground, 4)
    hand = await ground.worker()
    await lease(hand, 3)
    assert await take(hand, 1) == runs[:1]
    assert await give_back(hand) == Left(1, wanted=False)
    assert await take(hand, 2) is None
    assert await lease(hand, 3, generation=1) == 3
    assert await take(hand, 2) is None
    assert await take(hand, 2, generation=1) == runs[1:3]
    await check_invariants(ground.dsn)


async def test_what_is_given_back_waits_for_a_claim_under_way_and_leaves_it_its_permits(ground: Ground) -> None:
    runs = await jobs(ground, 3)
    hand = await ground.worker()
    await lease(hand, 5)
    session = await ground.more()
    async with session.transaction():
        assert await take(hand, 3, session=session) == runs
        returning = asyncio.create_task(give_back(hand))
        await ground.waits(hand.session)
    assert await returning == Left(3, wanted=False)
    assert await held(ground) == 3
    await check_invariants(ground.dsn)


async def test_a_lease_goes_with_its_worker_whether_that_leaves_or_dies(ground: Ground) -> None:
    runs = await jobs(ground, 12)
    dead, leaving, other = [await ground.worker(name) for name in ("dead", "leaving", "other")]
    assert await lease(dead, 3) == 3
    assert await lease(leaving, 2) == 2
    await take(dead, 1)
    await take(leaving, 1)
    assert len(taken(await claim(other, TEN))) == 5
    await ground.lease_over(dead)
    assert await work.recover(ground.session) is not None
    assert await held(ground) == 7
    await check_invariants(ground.dsn)
    await work.leave(leaving.session, leaving.identity)
    assert await held(ground) == 5
    assert await ground.value("select count(*) from holdfast.permit_block") == 0
    await check_invariants(ground.dsn)
    assert len(taken(await claim(other, TEN))) == 5
    assert await held(ground) == 10
    (refused,) = await both(take(dead, 1))
    assert getattr(refused, "sqlstate", None) == "HF001"
    assert len(runs) == 12


async def test_hands_with_and_without_leases_never_hold_more_than_there_is(ground: Ground) -> None:
    """Leases, claims, ends and returns in any order, from several connections at once."""
    await jobs(ground, 100)
    hands = [await ground.worker(f"hand {n}", lease=timedelta(minutes=5)) for n in range(5)]
    most = 0

    async def work_on(hand: Hand, seed: int) -> None:
        chance = random.Random(seed)
        generation, size = 0, 0
        while await hand.session.connection.fetchval("select exists (select from holdfast.task)"):
            if seed % 2 and not size:
                leased: int | None = await patiently(lambda: lease(hand, 3, generation=generation))  # noqa: B023 - awaited
                size = leased or 0
            room = chance.randint(1, 3)
            found: list[UUID] | None
            if by_lease := size > 0 and chance.random() < 0.8:
                found = await patiently(lambda: take(hand, room, generation=generation))  # noqa: B023
            else:
                found = taken(await patiently(lambda: claim(hand, TEN, room=room)))  # noqa: B023
            for run in found or []:
                await patiently(lambda: hand.flush(hand.end(run), wait=True))  # noqa: B023
            if (by_lease and found is None) or (size and chance.random() < 0.3):
                generation, size = generation + 1, 0
                assert await patiently(lambda: give_back(hand, generation=generation)) is None  # noqa: B023

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, await ground.value("select count(*) from holdfast.task where bucket_id is not null"))

    looking = asyncio.create_task(look())
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(work_on(hand, n) for n, hand in enumerate(hands)))
    finally:
        looking.cancel()
        await asyncio.wait({looking})
    assert 1 < most <= 10
    await check_invariants(ground.dsn)
    assert await ground.value("select count(*) from holdfast.permit_wait") == 0
