"""Permits, by hand: taken with the claim, given back once however often that is sent, and never by whom it is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from holdfast.core.limit import RATE, Ticket
from holdfast.core.states import Flag
from holdfast.store import work
from holdfast.store.limits import LimitedClaim, claim_limited
from holdfast.store.session import Session
from tests.house import check_invariants
from tests.store.ground import LONG_AGO, Ground, Hand, both

T = TypeVar("T")

ONE = Ticket("job", None, None, 1, None, 1)
TWO = Ticket("job", None, None, 2, None, 1)
EACH = Ticket("job/k", "k", None, 2, None, 0)


async def claim(
    hand: Hand, *tickets: Ticket, room: int = 10, name: str = "job", session: Session | None = None
) -> LimitedClaim:
    """Claims runs of this name, which has these limits."""
    found = await claim_limited(
        session or hand.session,
        hand.identity,
        [
            work.Wanted(bucket, lane, priority, room, LONG_AGO)
            for bucket, (lane, priority) in zip(hand.identity.buckets, hand.slots, strict=True)
        ],
        names=[name],
        tickets={name: tickets},
        sweep=True,
        ahead=timedelta(seconds=2),
    )
    hand.holds |= {run.run_id: run.hold for run in found.runs}
    return found


def taken(found: LimitedClaim) -> list[UUID]:
    return [run.run_id for run in found.runs]


async def held(ground: Ground) -> int:
    """What the row of the key says."""
    return int(await ground.value("select coalesce(sum(taken), 0) from holdfast.limit_key"))


async def jobs(ground: Ground, count: int, **options: Any) -> list[UUID]:
    return await ground.start_many(count, name="job", kind=2, **options)


async def test_an_end_that_is_sent_again_gives_its_permit_back_once(ground: Ground) -> None:
    runs = await jobs(ground, 4)
    hand = await ground.worker()
    assert taken(await claim(hand, TWO)) == runs[:2]
    end = hand.end(runs[0])
    await hand.flush(end)
    assert await held(ground) == 1
    await hand.flush(end, again=True)
    await hand.flush(end, again=True)
    assert await held(ground) == 1
    await check_invariants(ground.dsn)
    assert taken(await claim(hand, TWO)) == [runs[2]]
    await check_invariants(ground.dsn)


async def test_a_job_that_is_given_back_again_and_again_gives_its_permit_back_once(ground: Ground) -> None:
    runs = await jobs(ground, 3)
    hand = await ground.worker()
    await claim(hand, TWO)
    park = hand.park(runs[0], due=None, after=timedelta(hours=1), waits=False, clear=Flag.LIMITED)
    await hand.flush(park)
    await hand.flush(park, again=True)
    assert await held(ground) == 1
    assert taken(await claim(hand, TWO)) == [runs[2]]
    await hand.flush(park, again=True)
    assert await held(ground) == 2
    await check_invariants(ground.dsn)


async def test_a_fenced_worker_gives_nothing_back(ground: Ground) -> None:
    (run,) = await jobs(ground, 1)
    slow, peer = await ground.worker("slow"), await ground.worker("peer")
    assert taken(await claim(slow, ONE)) == [run]
    await ground.lease_over(slow)
    assert await work.recover(ground.session) is not None
    assert await held(ground) == 0
    await check_invariants(ground.dsn)
    assert taken(await claim(peer, ONE)) == [run]
    (refused,) = await both(slow.flush(slow.end(run)))
    assert getattr(refused, "sqlstate", None) == "HF001"
    assert await held(ground) == 1
    await check_invariants(ground.dsn)


async def test_what_waits_is_opened_by_who_gives_back_and_tells_its_lane(ground: Ground) -> None:
    runs = await jobs(ground, 2)
    hand = await ground.worker()
    await claim(hand, ONE)
    assert await ground.status(runs[1]) == "waiting"
    assert taken(await claim(hand, ONE)) == []
    flushed = await hand.flush(hand.end(runs[0]))
    assert list(flushed.due) == ["default"]
    assert taken(await claim(hand, ONE)) == [runs[1]]
    flushed = await hand.flush(hand.end(runs[1]))
    assert list(flushed.due) == []
    assert await ground.value("select count(*) from holdfast.permit_line") == 0


async def test_a_line_whose_lane_has_no_worker_holds_nobody_up(ground: Ground) -> None:
    (first,) = await jobs(ground, 1)
    there = await jobs(ground, 2, lane="there")
    here = await jobs(ground, 1)
    hand, other = await ground.worker(), await ground.worker("other", lane="there")
    assert taken(await claim(hand, ONE)) == [first]
    assert taken(await claim(other, ONE)) == []
    await hand.flush(hand.end(first))
    # Nobody looks into the line of the other lane: the permit is not kept for it.
    assert taken(await claim(hand, ONE)) == here
    await check_invariants(ground.dsn)
    await hand.flush(hand.end(here[0]))
    assert taken(await claim(other, ONE)) == there[:1]
    await check_invariants(ground.dsn)


async def test_what_is_locked_by_somebody_is_passed_over_and_its_line_stays_open(ground: Ground) -> None:
    runs = await jobs(ground, 3)
    hand = await ground.worker()
    await claim(hand, ONE)
    session = await ground.more()
    async with session.transaction():
        await session.connection.execute("select 1 from holdfast.task where run_id = $1 for update", runs[1])
        await hand.flush(hand.end(runs[0]))
        found = await claim(hand, ONE)
        assert taken(found) in ([], [runs[2]])
    if not found.runs:
        assert found.open
        found = await claim(hand, ONE)
    assert len(taken(found)) == 1
    await check_invariants(ground.dsn)


async def test_a_narrow_limit_takes_nothing_of_a_wide_one_from_others(ground: Ground) -> None:
    hot = await jobs(ground, 6, input='{"k": "hot"}')
    cold = await jobs(ground, 2, input='{"k": "cold"}')
    hand = await ground.worker()
    wide = Ticket("job", None, None, 4, None, 1)
    assert taken(await claim(hand, EACH, wide)) == [*hot[:2], *cold]
    assert await held(ground) == 8
    await hand.flush(hand.end(cold[0]))
    # There is room in all, and none for the hot key.
    assert taken(await claim(hand, EACH, wide)) == []
    await check_invariants(ground.dsn)
    await hand.flush(hand.end(hot[0]))
    assert taken(await claim(hand, EACH, wide)) == [hot[2]]
    await check_invariants(ground.dsn)


async def test_a_rate_gives_as_many_as_its_burst_and_says_when_the_next_one_comes(ground: Ground) -> None:
    runs = await jobs(ground, 5)
    hand = await ground.worker()
    rate = Ticket(f"{RATE}job", None, None, 2, timedelta(seconds=1), 3)
    found = await claim(hand, rate)
    assert taken(found) == runs[:2]
    (due,) = found.next_due.values()
    assert due == found.at + timedelta(seconds=1)
    assert taken(await claim(hand, rate)) == []
    assert await ground.value("select count(*) from holdfast.permit") == 0
    await check_invariants(ground.dsn)


async def test_idle_keys_are_forgotten(ground: Ground) -> None:
    await jobs(ground, 3, input='{"k": "a"}')
    hand = await ground.worker()
    rate = Ticket(f"{RATE}job", "k", None, 3, timedelta(seconds=1), 2)
    await claim(hand, rate)
    assert await ground.value("select holdfast.tidy_limits(10)") == 0
    await ground.execute(
        "update holdfast.limit_key set at = at - interval '1 hour', full_at = full_at - interval '1 hour'"
    )
    assert await ground.value("select holdfast.tidy_limits(10)") == 1
    assert await ground.value("select count(*) from holdfast.limit_key") == 0


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What it gives; where it does not get a lock in time, on a busy machine, it is tried again, as workers do."""
    while True:
        with suppress(asyncpg.LockNotAvailableError):
            return await call()


async def test_many_hands_never_hold_more_than_there_is_and_nothing_is_left_waiting(ground: Ground) -> None:
    """Claims, ends, give-backs and recoveries in any order, from many connections at once."""
    chance = random.Random(7)
    for key in "abcd":
        await jobs(ground, 10, input=f'{{"k": "{key}"}}')
    wide = Ticket("job", None, None, 5, None, 1)
    hands = [await ground.worker(f"hand {n}", lease=timedelta(minutes=5)) for n in range(6)]
    most = 0

    async def work_on(hand: Hand, seed: int) -> None:
        chance = random.Random(seed)
        while True:
            room = chance.randint(1, 6)
            for run in taken(await patiently(lambda room=room: claim(hand, EACH, wide, room=room))):  # type: ignore[misc]
                back = chance.random() < 0.2
                write = hand.park(run, due=None, waits=False, clear=Flag.LIMITED) if back else hand.end(run)
                # A claim of another hand may have the row locked that it found a moment ago.
                await patiently(lambda write=write: hand.flush(write, wait=True))  # type: ignore[misc]
            if not await hand.session.connection.fetchval("select exists (select from holdfast.task)"):
                return

    async def look() -> None:
        nonlocal most
        while True:
            row = await ground.db.fetchrow(
                "select count(*) as held, coalesce(max(n), 0) as each from (select count(*) over "
                "(partition by r.input ->> 'k') as n from holdfast.task t join holdfast.run r on r.id = t.run_id "
                "where t.bucket_id is not null) o"
            )
            assert row is not None
            assert row["each"] <= 2
            most = max(most, row["held"])

    looking = asyncio.create_task(look())
    try:
        async with asyncio.timeout(100):
            await asyncio.gather(*(work_on(hand, chance.randrange(1000)) for hand in hands))
    finally:
        looking.cancel()
        (ended,) = await both(looking)
    assert isinstance(ended, asyncio.CancelledError)
    assert 1 < most <= 5
    await check_invariants(ground.dsn)
    assert await held(ground) == 0
    assert await ground.value("select count(*) from holdfast.permit_wait") == 0
    assert await ground.value("select count(*) from holdfast.permit_line") == 0
