"""Several lanes in one process: what their workers share does what each of them would do alone (J2, R2, R11)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import App, DatabaseUnavailable, Signal
from holdfast.app.hosted import WorkerOptions
from holdfast.store import work
from holdfast.store.session import Session
from holdfast.store.statements import Statements
from tests.house import QUICK, House

LANES = [f"lane-{number}" for number in range(8)]
SOON = timedelta(seconds=20)
DEAF: WorkerOptions = {**QUICK, "hints": False}


def app_of(house: House) -> App:
    app = house.app()

    @app.activity
    async def noop(number: int) -> int:
        return number

    @app.workflow
    async def sums(count: int) -> int:
        return sum([await noop(number) for number in range(count)])

    @app.workflow
    async def waits() -> int:
        return await Signal[int]("go").wait()

    return app


async def names(house: House) -> dict[str, str]:
    """The worker of each lane."""
    rows = await house.db.fetch("select lane, name from holdfast.worker where ended_at is null")
    return {row["lane"]: row["name"] for row in rows}


@pytest.mark.parametrize("hints", [True, False])
async def test_work_of_all_lanes_at_once_is_done(house: House, hints: bool) -> None:
    app = app_of(house)
    client = await house.client(app)
    options: WorkerOptions = {**QUICK, "hints": hints}
    async with app.workers(*LANES, **options):
        runs = [
            run
            for lane in LANES
            for name in ("noop", "sums")
            for run in await client.start_many([app.definitions[name].call(3) for _ in range(25)], lane=lane)
        ]
        await house.ended(*[run.id for run in runs])
    await house.check_invariants()


async def test_a_lane_that_rests_finds_what_nobody_has_told_it_of(house: House) -> None:
    """What is due now, what becomes due later, and what was sent to a run that is parked."""
    app = app_of(house)
    client = await house.client(app)
    async with app.workers(*LANES, **DEAF):
        for run in [await client.start_by_name("noop", {"number": 1}, lane=lane) for lane in LANES]:
            assert await run.result(timeout=SOON) == 1
        # All of them rest now, or will in a moment.
        for lane in LANES[:3]:
            later = await client.start_by_name("noop", {"number": 2}, lane=lane, after=timedelta(milliseconds=600))
            waiting = await client.start_by_name("waits", lane=lane)
            await house.parked(waiting.id)
            await waiting.signal_by_name("go", 3)
            assert await waiting.result(timeout=SOON) == 3
            assert await later.result(timeout=SOON) == 2
    await house.check_invariants()


async def test_one_that_loses_its_lease_comes_back_and_the_others_keep_theirs(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    async with app.workers(*LANES, **QUICK):
        await house.until("select count(*) = $1 from holdfast.worker where ended_at is null", len(LANES))
        before = await names(house)
        # The first is also the one that recovers and looks for all of them.
        await house.expire_lease(before[LANES[0]])
        await house.until(
            "select exists (select from holdfast.worker where lane = $1 and ended_at is null and name <> $2)",
            LANES[0],
            before[LANES[0]],
        )
        for lane in LANES:
            run = await client.start_by_name("sums", {"count": 3}, lane=lane)
            assert await run.result(timeout=SOON) == 3
        after = await names(house)
        assert [lane for lane in LANES if after[lane] != before[lane]] == LANES[:1]
    await house.check_invariants()


async def test_what_one_does_for_all_another_one_does_when_it_has_left(house: House) -> None:
    """It recovers, it looks for all lanes that rest, it sees to schedules."""
    app = app_of(house)
    client = await house.client(app)
    async with app.workers(*LANES, **DEAF):
        await house.until("select count(*) = $1 from holdfast.worker where ended_at is null", len(LANES))
        (answer,) = await client.workers.stop(lane=LANES[0])
        assert answer.obeyed
        # A worker that has died has left a run behind; a run comes for a lane that rests; a schedule is due.
        gone = await work.register(
            Session(house.db, Statements()), name="gone-1", host="h", pid=1, lane=LANES[3], names=["noop"],
            lease=timedelta(seconds=1), slots=[(LANES[3], 3)], mode="full", version="1",
        )  # fmt: skip
        left = await client.start_by_name("noop", {"number": 4}, lane=LANES[3], after=timedelta(hours=1))
        await house.db.execute(
            "update holdfast.task set bucket_id = $1, hold = 1, due_at = holdfast.now() where run_id = $2",
            gone.buckets[0],
            left.id,
        )
        await house.expire_lease("gone-1")
        assert await left.result(timeout=SOON) == 4
        other = await client.start_by_name("noop", {"number": 5}, lane=LANES[5])
        assert await other.result(timeout=SOON) == 5
        await client.schedules.create(
            "often", "noop", every=timedelta(seconds=1), input={"number": 6}, lane=LANES[6], overlap="allow"
        )
        await house.until(
            "select exists (select from holdfast.result t join holdfast.run r on r.id = t.run_id where r.lane = $1)",
            LANES[6],
        )
    await house.check_invariants()


async def test_a_lane_is_paused_by_itself(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    async with app.workers(*LANES, **QUICK):
        await house.until("select count(*) = $1 from holdfast.worker where ended_at is null", len(LANES))
        await client.workers.pause(lane=LANES[1])
        held_back = await client.start_by_name("noop", {"number": 1}, lane=LANES[1])
        other = await client.start_by_name("noop", {"number": 2}, lane=LANES[2])
        assert await other.result(timeout=SOON) == 2
        assert await house.value("select first_claim_at is null from holdfast.task where run_id = $1", held_back.id)
        await client.workers.resume(lane=LANES[1])
        assert await held_back.result(timeout=SOON) == 1


async def test_the_connections_that_they_share_may_break(house: House) -> None:
    app = app_of(house)
    client = await house.client(app)
    async with app.workers(*LANES, **QUICK):
        runs = [await client.start_by_name("sums", {"count": 40}, lane=lane) for lane in LANES]
        for _ in range(5):
            await house.until("select exists (select from holdfast.journal)")
            await house.db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and application_name ~ '^holdfast (claims|flushes|control|heartbeat)'"
            )
            await asyncio.sleep(0)
        await house.ended(*[run.id for run in runs])
        assert {await run.result(timeout=SOON) for run in runs} == {sum(range(40))}
    await house.check_invariants()


async def test_a_server_that_cannot_be_used_is_asked_once_for_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(house)
    asked: list[str] = []

    async def refusing(dsn: str, **_: object) -> object:
        asked.append(dsn)
        raise DatabaseUnavailable("nobody is there")

    monkeypatch.setattr("holdfast.worker.worker.connect", refusing)
    with pytest.raises(DatabaseUnavailable, match="nobody is there"):
        await app.workers(*LANES, **QUICK).run()
    assert len(asked) == 1
