"""Turns, by hand: each key has its own, whoever came first and whatever another has in line."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

from holdfast.core.limit import FAIR, Ticket
from holdfast.store import work
from holdfast.store.limits import LimitedClaim, claim_limited
from tests.house import check_invariants
from tests.store.ground import LONG_AGO, Ground, Hand

TURNS = Ticket(f"{FAIR}job/k", "k", None, 1_000_000, None, 4)


async def claim(hand: Hand, room: int, *tickets: Ticket, sort: int = 50) -> LimitedClaim:
    """Claims so many jobs, each key in its turn."""
    found = await claim_limited(
        hand.session,
        hand.identity,
        [
            work.Wanted(bucket, lane, priority, room, LONG_AGO)
            for bucket, (lane, priority) in zip(hand.identity.buckets, hand.slots, strict=True)
        ],
        names=["job"],
        tickets={"job": tickets or [TURNS]},
        sweep=True,
        ahead=timedelta(seconds=2),
        sort=sort,
    )
    hand.holds |= {run.run_id: run.hold for run in found.runs}
    return found


def taken(found: LimitedClaim) -> list[UUID]:
    return [run.run_id for run in found.runs]


async def jobs(ground: Ground, count: int, key: str) -> list[UUID]:
    return await ground.start_many(count, name="job", kind=2, input=f'{{"k": "{key}"}}')


async def test_where_there_is_room_for_all_nobody_stands_in_line(ground: Ground) -> None:
    runs = [*await jobs(ground, 3, "a"), *await jobs(ground, 2, "b")]
    hand = await ground.worker()
    assert taken(await claim(hand, 10)) == runs
    for table in ("permit", "permit_wait", "permit_line", "limit_key"):
        assert await ground.value(f"select count(*) from holdfast.{table}") == 0, table
    await check_invariants(ground.dsn)


async def test_each_key_has_its_turn_whoever_came_first(ground: Ground) -> None:
    many = await jobs(ground, 20, "a")
    few = await jobs(ground, 3, "b")
    one = await jobs(ground, 1, "c")
    hand = await ground.worker()
    order: list[UUID] = []
    while found := taken(await claim(hand, 3)):
        order += found
        await hand.flush(*[hand.end(run) for run in found])
        await check_invariants(ground.dsn)
    assert order[:3] == [many[0], few[0], one[0]]
    assert set(order[3:9]) > {few[1], few[2]}
    assert [run for run in order if run in many] == many
    assert len(order) == 24
    for table in ("permit_wait", "permit_line", "limit_key"):
        assert await ground.value(f"select count(*) from holdfast.{table}") == 0, table


async def test_who_came_in_the_middle_of_a_flood_waits_only_until_it_is_found(ground: Ground) -> None:
    await jobs(ground, 400, "a")
    middle = await jobs(ground, 1, "b")
    await jobs(ground, 400, "a")
    last = await jobs(ground, 1, "c")
    hand = await ground.worker()
    claims = 0
    seen: dict[UUID, int] = {}
    while not {*middle, *last} <= seen.keys():
        claims += 1
        found = taken(await claim(hand, 2))
        seen |= dict.fromkeys(found, claims)
        await hand.flush(*[hand.end(run) for run in found])
    # The newest is found at once; of what came before the other, fifty are put in line by each claim.
    assert seen[last[0]] <= 2
    assert seen[middle[0]] <= 10
    await check_invariants(ground.dsn)


async def test_a_key_that_is_always_refilled_keeps_nobody_waiting(ground: Ground) -> None:
    hand = await ground.worker()
    await jobs(ground, 30, "hot")
    await claim(hand, 1)
    quiet = [await jobs(ground, 2, f"quiet {n}") for n in range(4)]
    served: Counter[str] = Counter()
    for _ in range(10):
        await jobs(ground, 3, "hot")
        found = await claim(hand, 1)
        served.update(run.input.split('"')[3].split()[0] for run in found.runs if run.input)
        await hand.flush(*[hand.end(run) for run in taken(found)])
    assert served == {"quiet": 8, "hot": 2}
    assert len(quiet) == 4
    await check_invariants(ground.dsn)


async def test_turns_and_limits_go_together(ground: Ground) -> None:
    many = await jobs(ground, 20, "a")
    few = await jobs(ground, 3, "b")
    hand = await ground.worker()
    each = Ticket("job/k", "k", None, 2, None, 0)
    found = taken(await claim(hand, 6, each, TURNS))
    assert sorted(found) == sorted([*many[:2], *few[:2]])
    await check_invariants(ground.dsn)
    await hand.flush(*[hand.end(run) for run in found])
    rest: list[UUID] = []
    while more := taken(await claim(hand, 6, each, TURNS)):
        rest += more
        await hand.flush(*[hand.end(run) for run in more])
        await check_invariants(ground.dsn)
    assert sorted([*found, *rest]) == sorted([*many, *few])
