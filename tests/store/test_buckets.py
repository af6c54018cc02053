"""The life of workers and buckets in the database: every change that is ever made is one of the tables in core."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.worker_state import BUCKET_TRANSITIONS, WORKER_TRANSITIONS, BucketState, Wish, WorkerState
from holdfast.store import work, workers
from tests.store.ground import Ground, Hand

HOUR = timedelta(hours=1)

WATCH = """
create table holdfast.seen (what text, id bigint, before text, after text);
create function holdfast.note() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into holdfast.seen values (tg_table_name, new.id, null, new.state);
  elsif tg_op = 'DELETE' then
    insert into holdfast.seen values (tg_table_name, old.id, old.state, null);
  elsif old.state <> new.state then
    insert into holdfast.seen values (tg_table_name, new.id, old.state, new.state);
  end if;
  return null;
end $$;
create trigger note after insert or update or delete on holdfast.bucket for each row execute function holdfast.note();
create trigger note after insert or update or delete on holdfast.worker for each row execute function holdfast.note();
"""


async def watch(ground: Ground) -> None:
    """From now on every change of a state is written down, also those that follow on each other in one transaction."""
    await ground.db.execute(ground.sql(WATCH))


async def changes(ground: Ground, what: str) -> set[tuple[Any, Any]]:
    rows = await ground.db.fetch(
        ground.sql("select distinct before, after from holdfast.seen where what = $1 and before is not null"), what
    )
    return {(row["before"], row["after"]) for row in rows}


async def states(ground: Ground) -> dict[str, int]:
    rows = await ground.db.fetch(ground.sql("select state, count(*) from holdfast.bucket group by state"))
    return {row["state"]: row["count"] for row in rows}


@pytest.mark.parametrize(("table", "known"), [("worker", list(WorkerState)), ("bucket", list(BucketState))])
async def test_the_states_that_can_be_stored_are_those_of_the_table(
    ground: Ground, table: str, known: Sequence[str]
) -> None:
    text = await ground.value(
        "select string_agg(pg_get_constraintdef(oid), ' ') from pg_constraint "
        "where conrelid = $1::regclass and contype = 'c' and pg_get_constraintdef(oid) ~ '\\mstate\\M'",
        ground.sql(f"holdfast.{table}"),
    )
    assert {word for word in known if f"'{word}'" in text} == set(known)
    assert text.count("::text,") + text.count("::text]") == len(known)


async def test_the_commands_that_can_be_stored_are_the_wishes(ground: Ground) -> None:
    hand = await ground.worker()
    for wish in Wish:
        await ground.execute(
            "update holdfast.worker set command = $2 where id = $1", hand.identity.worker, wish.command
        )
    with pytest.raises(asyncpg.CheckViolationError):
        await ground.execute("update holdfast.worker set command = 'dance'")


async def test_a_bucket_is_completing_while_its_worker_is_about_to_leave_and_gone_with_it(ground: Ground) -> None:
    await watch(ground)
    run = await ground.start()
    hand = await ground.worker(priorities=(5, 3))
    await hand.take(run)
    await work.heartbeat(hand.session, hand.identity, WorkerState.DRAINING)
    assert await states(ground) == {"completing": 2}
    await work.leave(hand.session, hand.identity)
    assert await states(ground) == {}
    assert await ground.is_due(run)
    assert await changes(ground, "bucket") == {("active", "completing"), ("completing", None)}
    assert await changes(ground, "worker") == {("active", "draining"), ("draining", "left")}


async def test_of_a_dead_worker_people_see_how_far_its_recovery_is(ground: Ground) -> None:
    """A step that does not reach the end leaves buckets draining; those that are empty wait for the others."""
    await watch(ground)
    runs = await ground.start_many(5)
    hand = await ground.worker(priorities=(5, 4, 3))
    await hand.take(*runs)
    await ground.lease_over(hand)
    first = await work.recover(ground.session, limit=2)
    assert first is not None
    assert (first.runs, first.finished) == (2, False)
    assert await states(ground) == {"draining": 1, "ready to delete": 2}
    second = await work.recover(ground.session, limit=2)
    assert second is not None
    assert (second.runs, second.finished) == (2, False)
    last = await work.recover(ground.session, limit=2)
    assert last is not None
    assert (last.runs, last.finished) == (1, True)
    assert await states(ground) == {}
    assert await changes(ground, "bucket") == {
        ("active", "lost"), ("lost", "draining"), ("draining", "ready to delete"), ("ready to delete", None),
    }  # fmt: skip
    for run in runs:
        assert await ground.is_due(run)


async def test_what_a_leaving_worker_cannot_give_back_is_lost_and_recovered(ground: Ground) -> None:
    await watch(ground)
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    other = await ground.more()
    transaction = other.connection.transaction()
    await transaction.start()
    await other.connection.execute(ground.sql("select from holdfast.task where run_id = $1 for update"), run)
    await work.leave(hand.session, hand.identity)
    assert await states(ground) == {"lost": 1}
    await transaction.rollback()
    found = await work.recover(ground.session)
    assert found is not None
    assert (found.runs, found.finished) == (1, True)
    assert await ground.is_due(run)
    assert ("completing", "lost") in await changes(ground, "bucket")


class Life:
    """Workers that do anything at any time, one thing after the other; what may not be is refused."""

    def __init__(self, ground: Ground, dice: random.Random) -> None:
        self._ground = ground
        self._dice = dice
        self._hands: list[Hand] = []
        self._runs: list[UUID] = []
        self.done: list[str] = []

    async def step(self) -> None:
        """One thing."""
        deeds = [self.join, self.join, self.start, self.claim, self.beat, self.beat, self.leave, self.die, self.recover,
                 self.recover, self.tell]  # fmt: skip
        deed = self._dice.choice(deeds)
        self.done.append(deed.__name__)
        await deed()

    async def join(self) -> None:
        if len(self._hands) < 6:
            priorities = self._dice.sample(range(1, 6), self._dice.randint(1, 3))
            self._hands.append(await self._ground.worker(f"w-{len(self._hands)}", priorities=sorted(priorities)))

    async def start(self) -> None:
        self._runs += await self._ground.start_many(self._dice.randint(1, 4))

    async def claim(self) -> None:
        await self._try(lambda hand: hand.claim(*[2] * len(hand.slots)))

    async def beat(self) -> None:
        hand = self._any()
        if hand is None:
            return
        now = await self._ground.value("select state from holdfast.worker where id = $1", hand.identity.worker)
        # As workers do: they go no way that there is not.
        ways = [state for state in (WorkerState(now), *WORKER_TRANSITIONS[WorkerState(now)]) if not state.ended]
        if ways:
            await work.heartbeat(hand.session, hand.identity, self._dice.choice(sorted(ways)))

    async def leave(self) -> None:
        await self._try(lambda hand: work.leave(hand.session, hand.identity))

    async def die(self) -> None:
        if (hand := self._any()) is not None:
            await self._ground.lease_over(hand)

    async def recover(self) -> None:
        await work.recover(self._ground.session, limit=self._dice.randint(1, 3))

    async def tell(self) -> None:
        if (hand := self._any()) is not None:
            await workers.tell_workers(self._ground.session, [hand.identity.worker], self._dice.choice(list(Wish)))

    async def _try(self, deed: Callable[[Hand], Awaitable[object]]) -> None:
        hand = self._any()
        if hand is None:
            return
        try:
            await deed(hand)
        except asyncpg.PostgresError as error:
            if error.sqlstate != "HF001":
                raise

    def _any(self) -> Hand | None:
        return self._dice.choice(self._hands) if self._hands else None


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_in_whatever_order_no_state_changes_but_by_the_tables(ground: Ground, seed: int) -> None:
    await watch(ground)
    life = Life(ground, random.Random(seed))
    for _ in range(60):
        await life.step()
        buckets = {(BucketState(a), None if b is None else BucketState(b)) for a, b in await changes(ground, "bucket")}
        assert all(b in BUCKET_TRANSITIONS[a] for a, b in buckets), (buckets, life.done)
        seen = {(WorkerState(a), WorkerState(b)) for a, b in await changes(ground, "worker")}
        assert all(b in WORKER_TRANSITIONS[a] for a, b in seen), (seen, life.done)
        # A bucket that is about to be deleted, or is deleted, holds nothing.
        assert not await ground.value(
            "select count(*) from holdfast.task t left join holdfast.bucket b on b.id = t.bucket_id "
            "where t.bucket_id is not null and (b.id is null or b.state = 'ready to delete')"
        )
    # And in the end nothing of the dead is left.
    await ground.execute("update holdfast.worker set lease_until = clock_timestamp() where ended_at is null")
    while await work.recover(ground.session) is not None:
        pass
    assert await states(ground) == {}
    assert not await ground.value("select count(*) from holdfast.task where bucket_id is not null")


# ---- telling


async def told(ground: Ground, hand: Hand, wish: Wish) -> bool:
    return await workers.tell_workers(ground.session, [hand.identity.worker], wish) == {hand.identity.worker}


async def test_what_a_worker_is_told_it_hears_with_each_heartbeat_until_it_is_told_something_else(
    ground: Ground,
) -> None:
    hand = await ground.worker()
    assert await told(ground, hand, Wish.PAUSE)
    for _ in range(2):
        assert (await work.heartbeat(hand.session, hand.identity, WorkerState.PAUSED)).command == "pause"
    assert await told(ground, hand, Wish.RESUME)
    assert (await work.heartbeat(hand.session, hand.identity)).command is None


async def test_one_that_is_about_to_leave_is_not_called_back(ground: Ground) -> None:
    hand = await ground.worker()
    assert await told(ground, hand, Wish.STOP)
    for wish in (Wish.PAUSE, Wish.RESUME, Wish.DRAIN):
        assert not await told(ground, hand, wish)
    assert await told(ground, hand, Wish.STOP)
    assert await told(ground, hand, Wish.STOP_NOW)
    assert not await told(ground, hand, Wish.STOP)


async def test_one_whose_lease_is_over_is_told_nothing(ground: Ground) -> None:
    dead, gone = await ground.worker("dead"), await ground.worker("gone")
    await ground.lease_over(dead)
    await work.leave(gone.session, gone.identity)
    for hand in (dead, gone):
        assert not await told(ground, hand, Wish.PAUSE)
        assert not await told(ground, hand, Wish.STOP_NOW)


@pytest.mark.parametrize(
    ("name", "lane", "found"),
    [
        (None, None, ["payroll-1-0000001", "payroll-1-0000002", "payroll-2-0000003"]),
        ("payroll-1", None, ["payroll-1-0000001", "payroll-1-0000002"]),
        ("payroll-1", "b", ["payroll-1-0000002"]),
        (None, "b", ["payroll-1-0000002", "payroll-2-0000003"]),
        ("payroll-1-0000002", None, ["payroll-1-0000002"]),
        ("payroll", None, []),
        ("payroll-1", "c", []),
        ("gone-0000004", None, ["gone-0000004"]),
        ("gone", None, []),
    ],
)
async def test_workers_are_found_by_name_by_one_start_of_it_and_by_lane(
    ground: Ground, name: str | None, lane: str | None, found: list[str]
) -> None:
    for one, where in (("payroll-1-0000001", "a"), ("payroll-1-0000002", "b"), ("payroll-2-0000003", "b")):
        await ground.worker(one, lane=where)
    gone = await ground.worker("gone-0000004")
    await work.leave(gone.session, gone.identity)
    assert [row.name for row in await workers.read_workers(ground.session, name=name, lane=lane)] == found


async def test_what_a_worker_holds_is_counted_by_bucket(ground: Ground) -> None:
    runs = await ground.start_many(3)
    hand = await ground.worker(priorities=(5, 3))
    await hand.take(*runs)
    found = await workers.read_buckets(ground.session, [hand.identity.worker])
    assert [(one.priority, one.state, one.held) for one in found[hand.identity.worker]] == [
        (5, BucketState.ACTIVE, 0),
        (3, BucketState.ACTIVE, 3),
    ]
