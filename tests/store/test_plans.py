"""What a statement costs does not depend on how many runs are parked or over: shown on a million of each.

Never by time: by the indexes that are used, and by the buffers that are touched.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.errors import RunNotFound
from holdfast.core.states import Ending, RunStatus
from holdfast.store import inbox, operations, runs, starts, work
from holdfast.store.session import Session
from holdfast.store.writes import End, Move, Writes
from tests.store.ground import LONG_AGO, Ground, new_id
from tests.store.million import Verb, done
from tests.store.plans import explained

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

LOWEST, HIGHEST = UUID(int=0), UUID(int=(1 << 128) - 1)

DEAD, ALIVE = work.Identity(worker=1, epoch=1, buckets=(1,)), work.Identity(worker=2, epoch=1, buckets=(2,))


def id_of(n: int) -> UUID:
    """The id of the n-th run: up to a million it has ended, up to two it is parked."""
    time = f"0{1_700_000_000_000 + n:x}"
    return UUID(f"{time}70008000{time}")


PARKED = [id_of(n) for n in range(1_500_002, 1_502_002, 10)]
LETTERED = [id_of(n) for n in range(1_500_010, 1_502_010, 10)]
JOURNALED = [id_of(n) for n in range(1_500_001, 1_502_001, 10)]
OVER = [id_of(n) for n in range(500_000, 500_200)]


# In one process, where that can be had; otherwise the others wait for the one that makes it.
pytestmark = pytest.mark.xdist_group("million")


def claiming(room: int, *, sweep: bool = False, lower: datetime = LONG_AGO, names: list[str] | None = None) -> Verb:
    want = work.Wanted(ALIVE.buckets[0], "default", 3, room, lower)
    return lambda session: work.claim(
        session, ALIVE, [want], names=names or ["flow"], sweep=sweep, ahead=timedelta(seconds=2)
    )


# -- claims


@pytest.mark.parametrize("sweep", [True, False])
async def test_a_claim_that_finds_nothing_touches_next_to_nothing(big: Session, sweep: bool) -> None:
    lower = LONG_AGO if sweep else datetime.fromisoformat("2024-03-02T00:00Z")
    claim, plans = await done(big, claiming(100, sweep=sweep, lower=lower, names=["flow"] if not sweep else ["job"]))
    assert claim.runs == []
    assert plans.indexes >= {"task_due"}
    assert plans.walked == set()
    # The sweep walks what is due for others; the parked ones it never sees.
    assert plans.buffers < (400 if sweep else 50)
    assert plans.passed_over <= 2 * 200


@pytest.mark.parametrize("room", [1, 5, 100])
async def test_a_claim_costs_what_it_takes(big: Session, room: int) -> None:
    claim, plans = await done(big, claiming(room))
    assert len(claim.runs) == room
    assert plans.indexes >= {"task_due", "task_pkey", "run_pkey"}
    assert plans.walked == set()
    assert plans.passed_over == 0
    assert plans.buffers < 60 + 40 * room


async def test_a_look_at_what_is_due_soon_does_not_see_the_parked(big: Session) -> None:
    want = work.Wanted(ALIVE.buckets[0], "default", 3, 5, LONG_AGO, 250)

    def look(lead: timedelta | None) -> Verb:
        options: dict[str, Any] = {"names": ["flow"], "sweep": False, "ahead": timedelta(seconds=2), "lead": lead}
        return lambda session: work.claim(session, ALIVE, [want], **options)

    (_, without), (claim, plans) = await done(big, look(None)), await done(big, look(timedelta(seconds=30)))
    assert len(claim.runs) == 5
    assert plans.walked == set()
    assert plans.passed_over == 0
    assert plans.buffers < without.buffers + 20


async def test_claims_of_many_lines_cost_a_probe_each(big: Session) -> None:
    wanted = [work.Wanted(2, f"lane {number}", number % 5 + 1, 50, LONG_AGO) for number in range(50)]
    claim, plans = await done(
        big,
        lambda session: work.claim(session, ALIVE, wanted, names=["flow"], sweep=True, ahead=timedelta(seconds=2)),
    )
    assert claim.runs == []
    assert plans.walked == set()
    assert plans.buffers < 50 + 20 * len(wanted)


async def test_a_look_at_many_lanes_costs_a_probe_for_each_of_their_lines(big: Session) -> None:
    lanes = [f"lane {number}" for number in range(50)]
    due, plans = await done(
        big, lambda session: work.lanes_due(session, [*lanes, "default"], within=timedelta(seconds=15))
    )
    assert due == ["default"]
    assert plans.indexes >= {"task_due"}
    assert plans.walked == set()
    # The lanes in which nothing is due.
    assert plans.passed_over <= len(lanes)
    assert plans.buffers < 50 + 45 * len(lanes)


async def test_a_floor_is_found_from_below(big: Session) -> None:
    _, plans = await done(big, lambda session: work.raise_floors(session, [("default", 3), ("other", 1)]))
    assert plans.walked == set()
    assert plans.buffers < 200


async def test_a_claim_from_a_watermark_does_not_walk_the_dead(ground: Ground) -> None:
    hand = await ground.worker()
    pin = await ground.connect()
    transaction = pin.transaction(isolation="repeatable_read")
    await transaction.start()
    await pin.fetchval("select count(*) from holdfast.task")
    for _ in range(4):
        finished = await ground.start_many(1000)
        await hand.claim(1000)
        await hand.flush(*[hand.end(run) for run in finished])
    mark = await ground.value("select holdfast.now()")
    connection: Any = hand.session.connection
    costs: dict[bool, int] = {}
    for sweep in (True, False):
        async with explained(connection) as plans:
            await hand.claim(100, sweep=sweep, lower=mark)
        costs[sweep] = plans.buffers
    assert costs[True] > 100, "nothing was pinned, so this shows nothing"
    assert costs[False] < 30
    # A floor does for a sweep what a watermark does for a claim.
    await ground.execute(
        "insert into holdfast.lane_floor (lane, priority, floor, at) values ('default', 3, $1, $1)", mark
    )
    async with explained(connection) as plans:
        await hand.claim(100, sweep=True)
    assert plans.buffers < 30


# -- wakes


WAKES: dict[str, Verb] = {
    "signal": lambda session: inbox.send_signal(session, PARKED[0], name="upgrade", payload="1", key=None),
    "signal with a key": lambda session: inbox.send_signal(session, PARKED[0], name="upgrade", payload="1", key="new"),
    "signal sent before": lambda session: inbox.send_signal(session, LETTERED[0], name="u", payload="1", key="key"),
    "cancel": lambda session: inbox.request_cancel(session, PARKED[0]),
    "cancel of what has ended": lambda session: inbox.request_cancel(session, OVER[0]),
}


@pytest.mark.parametrize("verb", WAKES)
async def test_a_wake_costs_a_few_looks(big: Session, verb: str) -> None:
    _, plans = await done(big, WAKES[verb])
    assert plans.indexes >= {"task_pkey"}
    assert plans.walked == set()
    assert plans.passed_over == 0
    assert plans.buffers < 60


@pytest.mark.parametrize("verb", [operations.Verb.CANCEL, operations.Verb.TERMINATE])
async def test_the_end_of_many_costs_a_few_looks_for_each(big: Session, verb: operations.Verb) -> None:
    effects, plans = await done(big, lambda session: operations.operate(session, verb, PARKED[:20]))
    assert len(effects) == 20
    assert plans.walked == set()
    assert plans.buffers < 20 * 60


# -- what a worker reads


@pytest.mark.parametrize("count", [1, 20, 200])
async def test_a_look_costs_what_is_looked_at(big: Session, count: int) -> None:
    seen, plans = await done(big, lambda session: work.look(session, PARKED[:count]))
    assert len(seen) == count
    assert plans.indexes == {"task_pkey"}
    assert plans.walked == set()
    assert plans.buffers <= 10 + 5 * count


@pytest.mark.parametrize("count", [1, 20, 200])
async def test_reading_inboxes_costs_what_is_in_them(big: Session, count: int) -> None:
    letters, plans = await done(big, lambda session: work.read_inboxes(session, LETTERED[:count]))
    assert len(letters) == count
    assert plans.indexes <= {"inbox_pkey", "inbox_key"}
    assert plans.walked == set()
    assert plans.buffers <= 10 + 5 * count


@pytest.mark.parametrize("count", [1, 20, 200])
async def test_reading_journals_costs_what_is_in_them(big: Session, count: int) -> None:
    journals, plans = await done(big, lambda session: work.read_journals(session, JOURNALED[:count]))
    assert [len(journal) for journal in journals.values()] == [3] * count
    assert plans.indexes == {"journal_pkey"}
    assert plans.walked == set()
    assert plans.buffers <= 10 + 8 * count


# -- flushes


@pytest.mark.parametrize("again", [True, False])
async def test_a_flush_costs_what_is_written(big: Session, again: bool) -> None:
    async def flush(session: Session) -> work.Flushed:
        claim = await claiming(100)(session)
        moves = [
            Writes(run.run_id, run.hold, move=Move(None, timedelta(hours=1), 0, True, 0, 0, True))
            for run in claim.runs[:50]
        ]
        ends = [Writes(run.run_id, run.hold, end=End(Ending.SUCCEEDED, "1", None)) for run in claim.runs[50:]]
        return await work.flush(session, ALIVE, [*moves, *ends], wait=False, again=again)

    flushed, plans = await done(big, flush)
    assert (flushed.busy, flushed.lost) == (frozenset(), frozenset())
    assert plans.walked == set()
    assert plans.buffers < 60 + 60 * 100


# -- leaving, recovery


async def test_recovery_costs_what_is_recovered(big: Session) -> None:
    found, plans = await done(big, lambda session: work.recover(session, limit=50))
    assert found == work.Recovered(DEAD.worker, "dead", 50, finished=False)
    assert plans.indexes >= {"task_held", "task_pkey", "journal_pkey"}
    assert plans.walked == set()
    # Of the 200 that it holds, the first fifty in the order of their ids.
    assert plans.buffers < 1000 + 60 * 50


async def test_recovery_of_nobody_costs_nothing(big: Session) -> None:
    _, plans = await done(big, lambda session: work.recover(session, only=ALIVE.worker))
    assert plans.walked == set()
    assert plans.buffers < 20


async def test_leaving_costs_what_is_given_back(big: Session) -> None:
    given, plans = await done(big, lambda session: work.leave(session, ALIVE))
    assert given == 200
    assert plans.indexes >= {"task_held", "task_pkey"}
    assert plans.walked == set()
    assert plans.buffers < 100 + 60 * 200


async def test_a_registration_costs_what_it_unblocks(big: Session) -> None:
    _, plans = await done(
        big,
        lambda session: work.register(
            session,
            name="new",
            host="host",
            pid=3,
            lane="default",
            names=["job", "other"],
            lease=timedelta(seconds=30),
            slots=[("default", 3)],
        ),
    )
    assert plans.indexes >= {"task_blocked"}
    assert plans.walked == set()
    assert plans.buffers < 100


# -- what clients ask


def starting(count: int, *, key: str | None = None) -> Verb:
    manner = starts.Manner(1, "flow", "default", 3, None, None, None, None)
    ids = [new_id() for _ in range(count)]
    asked = [starts.Start(i, "{}", manner, None if key is None else f"{key} {n}", None) for n, i in enumerate(ids)]
    return lambda session: (starts.start_plain if key is None else starts.start_keyed)(session, asked, hint=False)


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("key", [None, "new"])
async def test_starts_cost_what_is_started(big: Session, count: int, key: str | None) -> None:
    _, plans = await done(big, starting(count, key=key))
    assert plans.walked == set()
    assert plans.buffers < 150 + 60 * count


async def test_known_keys_are_looked_up(big: Session) -> None:
    manner = starts.Manner(1, "flow", "default", 3, None, None, None, None)
    asked = [starts.Start(new_id(), "{}", manner, f"key {n}", None) for n in range(1_000_001, 1_002_001, 10)]
    started, plans = await done(big, lambda session: starts.start_keyed(session, asked, hint=False))
    assert {one.existing for one in started} == {True}
    assert plans.indexes >= {"start_key_pkey"}
    assert plans.walked == set()
    assert plans.buffers < 100 + 40 * len(asked)


@pytest.mark.parametrize("count", [1, 20, 200])
@pytest.mark.parametrize("ids", [OVER, PARKED], ids=["ended", "parked"])
async def test_waiting_for_results_costs_a_look_each(big: Session, ids: list[UUID], count: int) -> None:
    ended, plans = await done(big, lambda session: runs.read_ended(session, ids[:count]))
    assert len(ended) == (count if ids is OVER else 0)
    # Of one that has ended also whether another run goes on from it.
    assert plans.indexes == {"result_pkey", *(["successor_pkey"] if ids is OVER else [])}
    assert plans.walked == set()
    assert plans.buffers <= 10 + 7 * count


async def test_known_runs_are_looked_up(big: Session) -> None:
    known, plans = await done(big, lambda session: runs.read_known(session, [*OVER, *PARKED]))
    assert len(known) == len(OVER) + len(PARKED)
    assert plans.walked == set()
    assert plans.buffers <= 10 + 10 * len(known)


@pytest.mark.parametrize("run", [OVER[0], PARKED[0], LETTERED[0], JOURNALED[0]])
async def test_describing_a_run_costs_a_few_looks(big: Session, run: UUID) -> None:
    async def describe(session: Session) -> Any:
        return (
            await runs.read_details(session, run),
            await runs.read_status(session, run),
            await runs.read_journal(session, run),
            await runs.read_inbox(session, run),
        )

    described, plans = await done(big, describe)
    assert described[0] is not None
    assert plans.walked == set()
    assert plans.passed_over < 10
    assert sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans.plans) < 150


PAGES: list[tuple[runs.Walk, list[RunStatus], dict[str, Any]]] = [
    (runs.Walk.ALL, [], {}),
    (runs.Walk.ALL, [], {"name": "flow", "lane": "default"}),
    (runs.Walk.OPEN, [RunStatus.WAITING], {}),
    (runs.Walk.HELD, [RunStatus.RUNNING], {}),
    (runs.Walk.ENDED, [RunStatus.SUCCEEDED], {}),
    (runs.Walk.UNHAPPY, [RunStatus.FAILED], {}),
]


@pytest.mark.parametrize(("walk", "statuses", "filters"), PAGES, ids=str)
@pytest.mark.parametrize("middle", [False, True], ids=["first page", "from the middle"])
async def test_a_page_costs_what_is_on_it(
    big: Session, walk: runs.Walk, statuses: list[RunStatus], filters: dict[str, Any], middle: bool
) -> None:
    highest = id_of(750_000 if walk is runs.Walk.ENDED else 1_500_000) if middle else HIGHEST
    wanted = runs.Filters(
        from_id=LOWEST, to_id=highest, name=filters.get("name"), lane=filters.get("lane"), tags=filters.get("tags")
    )
    last = runs.NEWEST
    if walk is runs.Walk.UNHAPPY and middle:
        last = runs.Place(datetime.fromisoformat("2024-02-05T00:00Z"), HIGHEST)
    page, plans = await done(big, lambda session: runs.read_page(session, walk, statuses, wanted, count=51, last=last))
    assert len(page) == 51
    assert not statuses or {listed.status for listed in page} == set(statuses)
    assert plans.walked == set()
    # What is held has to be sorted; what is parked is never looked at.
    assert plans.buffers < 51 * 40 + (400 * 20 if walk is runs.Walk.HELD else 0)


# -- what was planned when there was nothing yet


READS: dict[str, Verb] = {
    "look": lambda session: work.look(session, PARKED[:5]),
    "inboxes": lambda session: work.read_inboxes(session, PARKED[:5]),
    "journals": lambda session: work.read_journals(session, PARKED[:5]),
    "ended": lambda session: runs.read_ended(session, PARKED[:5]),
    "known": lambda session: runs.read_known(session, PARKED[:5]),
    "status": lambda session: runs.read_status(session, PARKED[0]),
    "signal": lambda session: _quietly(inbox.send_signal(session, PARKED[0], name="upgrade", payload="1", key="k")),
    "cancel": lambda session: _quietly(inbox.request_cancel(session, PARKED[0])),
    "recover": work.recover,
}


async def _quietly(verb: Awaitable[Any]) -> None:
    with suppress(RunNotFound):
        await verb


@pytest.mark.parametrize("verb", READS)
async def test_a_plan_made_for_an_empty_table_is_right_for_a_full_one(ground: Ground, verb: str) -> None:
    session = await ground.more()
    connection: Any = session.connection
    await ground.start()
    await ground.execute("vacuum (analyze)")
    for _ in range(7):
        await READS[verb](session)
    # Nobody analyzes the tables while they grow, so the session keeps its plans.
    tables = ("run", "task", "journal", "result", "inbox", "bucket")
    for table in tables:
        await ground.execute(f"alter table holdfast.{table} set (autovacuum_enabled = off)")
    for _ in range(7):
        await READS[verb](session)
    await ground.start_many(3000)
    async with explained(connection) as plans:
        await READS[verb](session)
    assert plans.walked == set()
