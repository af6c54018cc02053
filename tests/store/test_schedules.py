"""J8, invariant 9: a tick is decided about once, in one transaction, whoever asks and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from holdfast.core.cadence import Every, Span
from holdfast.core.schedule import CatchUp, Overlap
from holdfast.store import schedules as store
from holdfast.store.schedules import Due, Spec
from holdfast.store.session import Session
from tests.house import check_invariants
from tests.store.ground import Ground

NOON = datetime(2024, 6, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def spec(**what: Any) -> Spec:
    given: dict[str, Any] = {
        "target": "job",
        "kind": 2,
        "said": "every hour",
        "cadence": Every(HOUR),
        "span": Span(),
        "input": "{}",
        "tick_parameter": None,
        "lane": "default",
        "priority": 3,
        "tags": None,
        "timeout": None,
        "jitter": timedelta(0),
        "overlap": Overlap.ALLOW,
        "catch_up": CatchUp.ALL,
        "catch_up_limit": 100,
    }
    return Spec(**(given | what))


async def make(ground: Ground, name: str = "hourly", *, next_at: datetime = NOON, **what: Any) -> UUID:
    made = await store.insert(
        ground.session, name, spec(**what), origin="client", digest=None, paused=False, next_at=next_at
    )
    assert made is not None
    return made


async def due(session: Session) -> list[Due]:
    return (await store.read_due(session, without=[], limit=50)).due


async def decide(session: Session, due: Due, *ticks: datetime, hint: bool = False) -> list[datetime] | None:
    """Makes these ticks, with what stands in the queue before them."""
    candidates = [*due.queued, *ticks]
    next_at = max(ticks) + HOUR if ticks else due.next_at
    starts = [(tick, tick, None) for tick in candidates]
    return await store.tick(session, due, next_at=next_at, missed=0, new=ticks, starts=starts, hint=hint)


async def only(ground: Ground) -> Due:
    (found,) = await due(ground.session)
    return found


async def state(ground: Ground, name: str = "hourly") -> store.Stored:
    found = await store.read(ground.session, name)
    assert found is not None
    return found


async def ticks(ground: Ground) -> Sequence[datetime]:
    rows = await ground.db.fetch("select options #>> '{schedule,tick}' as tick from holdfast.run order by id")
    return [datetime.fromisoformat(row["tick"]) for row in rows]


async def end(ground: Ground, *runs: UUID) -> None:
    """As if a worker had finished them."""
    for run in runs:
        await ground.execute("delete from holdfast.task where run_id = $1", run)
        await ground.execute("insert into holdfast.result (run_id, at, status) values ($1, holdfast.now(), 1)", run)


async def test_two_who_saw_the_same_row_make_one_run(ground: Ground) -> None:
    await make(ground)
    one, other = await ground.more(), await ground.more()
    (seen,), (seen_too,) = await due(one), await due(other)
    answers = await asyncio.gather(decide(one, seen, NOON), decide(other, seen_too, NOON))
    assert sorted(answers, key=str) == [None, [NOON]] or sorted(answers, key=str) == [[NOON], None]
    assert await ticks(ground) == [NOON]
    assert (await state(ground)).next_at == NOON + HOUR
    await check_invariants(ground.dsn)


async def test_who_is_late_neither_waits_nor_changes_anything(ground: Ground) -> None:
    await make(ground)
    slow, quick = await ground.more(), await ground.more()
    (seen,) = await due(slow)
    async with quick.connection.transaction():
        assert await decide(quick, seen, NOON) == [NOON]
        # The row is locked: that is no reason to wait.
        assert await decide(slow, seen, NOON) is None
    # And what it saw is over.
    assert await decide(slow, seen, NOON) is None
    assert await ticks(ground) == [NOON]


async def test_what_is_rolled_back_with_its_maker_is_made_by_the_next(ground: Ground) -> None:
    await make(ground)
    dying, heir = await ground.more(), await ground.more()
    (seen,) = await due(dying)
    await dying.connection.execute("begin")
    assert await decide(dying, seen, NOON) == [NOON]
    assert await decide(heir, seen, NOON) is None
    pid = dying.connection.get_server_pid()
    dying.connection.terminate()
    await ground.until("select not exists (select from pg_stat_activity where pid = $1)", pid)
    assert await decide(heir, seen, NOON) == [NOON]
    assert await ticks(ground) == [NOON]
    await check_invariants(ground.dsn)


async def test_the_same_call_again_after_a_lost_answer_changes_nothing(ground: Ground) -> None:
    await make(ground)
    seen = await only(ground)
    assert await decide(ground.session, seen, NOON) == [NOON]
    before = await ground.everything()
    assert await decide(ground.session, seen, NOON) is None
    assert await ground.everything() == before


async def test_a_tick_that_comes_twice_is_one_run_whatever_became_of_the_row(ground: Ground) -> None:
    await make(ground)
    assert await decide(ground.session, await only(ground), NOON) == [NOON]
    # The schedule was changed back and forth, or the clock was: the tick is due once more.
    await ground.execute("update holdfast.schedule set next_at = $1, revision = revision + 1", NOON)
    await decide(ground.session, await only(ground), NOON, NOON + HOUR)
    assert await ticks(ground) == [NOON, NOON + HOUR]
    assert (await state(ground)).made == 2
    await check_invariants(ground.dsn)


async def test_the_id_of_a_run_is_that_of_its_tick(ground: Ground) -> None:
    schedule = await make(ground)
    await decide(ground.session, await only(ground), NOON)
    run = await ground.value("select id from holdfast.run")
    assert run == await ground.value("select holdfast.tick_run($1, $2)", schedule, NOON)
    assert (run.version, run.variant) == (7, RFC_4122)
    assert run.int >> 80 == int(NOON.timestamp() * 1000)
    other = await ground.value("select holdfast.tick_run($1, $2)", schedule, NOON + timedelta(microseconds=1))
    assert other != run
    assert (await state(ground)).last_run == run


async def test_what_is_paused_inactive_or_changed_meanwhile_makes_nothing(ground: Ground) -> None:
    await make(ground)
    seen = await only(ground)
    await store.pause(ground.session, "hourly")
    assert await due(ground.session) == []
    assert await decide(ground.session, seen, NOON) is None
    await store.resume(ground.session, "hourly")
    assert await decide(ground.session, seen, NOON) is None
    seen = await only(ground)
    assert seen.not_before is not None
    await ground.execute("update holdfast.schedule set active = false")
    assert await due(ground.session) == []
    assert await decide(ground.session, seen, NOON) is None
    await store.delete(ground.session, "hourly")
    assert await decide(ground.session, seen, NOON) is None
    assert await ticks(ground) == []


# ---- overlap


async def test_skip_makes_no_run_beside_another_and_goes_on_when_it_has_ended(ground: Ground) -> None:
    await make(ground, overlap=Overlap.SKIP)
    await decide(ground.session, await only(ground), NOON)
    assert await decide(ground.session, await only(ground), NOON + HOUR) == []
    found = await state(ground)
    assert (found.made, found.skipped, len(found.running)) == (1, 1, 1)
    await end(ground, *found.running)
    assert await decide(ground.session, await only(ground), NOON + 2 * HOUR) == [NOON + 2 * HOUR]
    assert await ticks(ground) == [NOON, NOON + 2 * HOUR]


async def test_what_was_missed_is_made_up_for_one_after_another_under_skip_too(ground: Ground) -> None:
    await make(ground, overlap=Overlap.SKIP, next_at=NOON)
    late = [NOON, NOON + HOUR, NOON + 2 * HOUR]
    assert await decide(ground.session, await only(ground), *late) == late[:1]
    await ground.execute("update holdfast.schedule set next_at = 'infinity'")
    for tick in late[1:]:
        outlook = await store.read_due(ground.session, without=[], limit=50)
        assert (outlook.due, [one.queued for one in outlook.waiting]) == ([], [late[late.index(tick) :]])
        await end(ground, *(await state(ground)).running)
        assert await decide(ground.session, await only(ground)) == [tick]
    assert await ticks(ground) == late
    assert (await state(ground)).queued == []
    await check_invariants(ground.dsn)


async def test_a_queue_is_let_go_in_order_one_at_a_time_by_one_of_two(ground: Ground) -> None:
    await make(ground, overlap=Overlap.QUEUE)
    for number in range(3):
        await decide(ground.session, await only(ground), NOON + number * HOUR)
    assert await ticks(ground) == [NOON]
    await ground.execute("update holdfast.schedule set next_at = 'infinity'")
    await end(ground, *(await state(ground)).running)
    one, other = await ground.more(), await ground.more()
    (seen,), (seen_too,) = await due(one), await due(other)
    answers = await asyncio.gather(decide(one, seen), decide(other, seen_too))
    assert sorted(map(str, answers)) == sorted(map(str, [None, [NOON + HOUR]]))
    assert await ticks(ground) == [NOON, NOON + HOUR]
    assert list((await state(ground)).queued) == [NOON + 2 * HOUR]
    await check_invariants(ground.dsn)


async def test_a_queue_does_not_grow_without_end(ground: Ground) -> None:
    await make(ground, overlap=Overlap.QUEUE)
    await decide(ground.session, await only(ground), NOON)
    await ground.execute(
        "update holdfast.schedule set queued = array(select $1::timestamptz + n * interval '1 s' "
        "from generate_series(1, 1000) n)",
        NOON,
    )
    seen = await only(ground)
    assert await decide(ground.session, seen, NOON + HOUR) == []
    found = await state(ground)
    assert (len(found.queued), found.skipped) == (1000, 1)


async def test_cancel_running_ends_what_has_not_begun_and_starts_at_once(ground: Ground) -> None:
    await make(ground, overlap=Overlap.CANCEL_RUNNING, catch_up=CatchUp.LAST)
    await decide(ground.session, await only(ground), NOON)
    (first,) = (await state(ground)).running
    assert await decide(ground.session, await only(ground), NOON + HOUR) == [NOON + HOUR]
    assert await ground.status(first) == "cancelled"
    await check_invariants(ground.dsn)


async def test_cancel_running_waits_until_what_runs_has_cleaned_up_and_only_the_latest_comes(ground: Ground) -> None:
    await make(ground, overlap=Overlap.CANCEL_RUNNING, catch_up=CatchUp.LAST)
    await decide(ground.session, await only(ground), NOON)
    hand = await ground.worker()
    (first,) = (await state(ground)).running
    await hand.take(first)
    assert await decide(ground.session, await only(ground), NOON + HOUR) == []
    assert await decide(ground.session, await only(ground), NOON + 2 * HOUR) == []
    found = await state(ground)
    assert (list(found.queued), found.skipped) == ([NOON + 2 * HOUR], 1)
    assert [letter["kind"] for letter in await ground.inbox(first)] == [5]
    await ground.execute("update holdfast.schedule set next_at = 'infinity'")
    await end(ground, first)
    await ground.execute("delete from holdfast.inbox")
    assert await decide(ground.session, await only(ground)) == [NOON + 2 * HOUR]
    assert await ticks(ground) == [NOON, NOON + 2 * HOUR]


# ---- what a run gets


async def test_a_run_gets_what_the_schedule_says(ground: Ground) -> None:
    await make(
        ground,
        input='{"region": "eu"}',
        lane="reports",
        priority=5,
        tags='{"team": "money"}',
        timeout=timedelta(minutes=10),
    )
    later = datetime.now(UTC) + HOUR
    seen = await only(ground)
    await store.tick(
        ground.session, seen, next_at=None, missed=2, new=[NOON], starts=[(NOON, later, '{"region": "us"}')], hint=True
    )
    row = await ground.db.fetchrow(
        "select r.*, t.due_at, t.deadline, t.deadline - t.due_at as left "
        "from holdfast.run r join holdfast.task t on t.run_id = r.id"
    )
    assert row is not None
    assert (row["name"], row["kind"], row["lane"], row["priority"]) == ("job", 2, "reports", 5)
    assert (row["input"], row["tags"]) == ('{"region": "us"}', '{"team": "money", "schedule": "hourly"}')
    # Its time counts from when it is due.
    assert row["due_at"] == later
    assert timedelta(minutes=9) < row["left"] <= timedelta(minutes=11)
    found = await state(ground)
    assert (found.missed, found.next_at, found.last_tick) == (2, None, NOON)


async def test_a_run_without_an_input_of_its_own_gets_the_one_of_the_schedule(ground: Ground) -> None:
    await make(ground, input='{"text": "\\u0000"}')
    await decide(ground.session, await only(ground), NOON)
    assert await ground.value("select input::text from holdfast.run") == '{"text": "\\u0000"}'


async def test_a_change_by_revision_loses_nothing(ground: Ground) -> None:
    schedule = await make(ground)
    seen = await only(ground)
    await decide(ground.session, seen, NOON)
    changed = spec(lane="other")
    assert not await store.update(
        ground.session, schedule, changed, revision=seen.revision, digest=None, next_at=NOON, afresh=False
    )
    found = await state(ground)
    assert (found.next_at, found.spec.lane) == (NOON + HOUR, "default")
    assert await store.update(
        ground.session, schedule, changed, revision=found.revision, digest=None, next_at=found.next_at, afresh=False
    )
    assert (await state(ground)).spec == changed


@pytest.mark.parametrize("count", [3, 300])
async def test_a_look_costs_the_same_however_many_there_are(ground: Ground, count: int) -> None:
    await ground.execute(
        "insert into holdfast.schedule (id, name, origin, target, kind, said, zone, every, anchor, input, lane, "
        "priority, jitter, overlap, catch_up, catch_up_limit, asserted_at, next_at, created_at, updated_at) "
        "select holdfast.uuid7(), 's' || n, 'client', 'job', 2, 'x', 'UTC', interval '1 hour', $1, '{}', 'default', 3, "
        "interval '0', 'skip', 'last', 100, $1, now() + n * interval '1 hour', $1, $1 from generate_series(1, $2) n",
        NOON,
        count,
    )
    outlook = await store.read_due(ground.session, without=[], limit=50)
    assert (outlook.due, outlook.waiting) == ([], [])
    assert outlook.next_at == await ground.value("select min(next_at) from holdfast.schedule")
