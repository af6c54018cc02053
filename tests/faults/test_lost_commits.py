"""R6: a commit whose answer is lost on the way is neither lost nor doubled."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from holdfast import DatabaseUnavailable, Key, KeyTaken, Update
from holdfast.client import Client
from tests.apps.journeys import app as journeys
from tests.apps.journeys import go, journey, journeys_end, lasting, lasts
from tests.faults.load import SOON, Load
from tests.faults.proxy import Proxy
from tests.house import House, eventually

Which = Callable[[int, int], bool]


def every_other(place: int, _rows: int) -> bool:
    return place % 2 == 0


def first(place: int, _rows: int) -> bool:
    return place == 0


class Claims:
    """Every other claim that brought something: its answer has a row for each run and one for each bucket."""

    def __init__(self) -> None:
        self._place = 0

    def __call__(self, _place: int, rows: int) -> bool:
        if rows <= 5:
            return False
        self._place += 1
        return self._place % 2 == 1


def some(seed: int) -> Which:
    chance = random.Random(seed)
    return lambda _place, _rows: chance.random() < 0.3


@pytest.fixture
async def distant(far: House) -> Client:
    """A client behind the proxy."""
    journeys.override(origin="the test", database_url=far.dsn)
    return await far.client(journeys)


@pytest.mark.parametrize(
    ("part", "which"),
    [
        # Each journey writes journal rows, parks and ends: so of each kind many are sent twice.
        pytest.param("holdfast.flush(", every_other, id="of each first flush"),
        pytest.param("holdfast.flush(", some(1), id="of some flushes"),
        pytest.param("holdfast.claim(", Claims(), id="of every other claim"),
        pytest.param("holdfast.", some(2), id="of some of everything"),
    ],
)
async def test_answers_to_a_worker(load: Load, far: House, proxy: Proxy, part: str, which: Which) -> None:
    await load.worker(far, "--lease", "30s")
    loss = proxy.lose(part, which)
    await load.add(8, jobs=8)
    await load.goes_on(random.Random(1), most=10)
    await load.signal(8)
    await load.ends_well()
    assert loss.lost >= 3
    await load.called_once()
    assert await load.house.value("select count(*) from holdfast.worker") == 1


async def test_answers_to_heartbeats_and_recoveries(load: Load, far: House, proxy: Proxy) -> None:
    living = await load.worker(far, "--lease", "3s", "--lane", "elsewhere")
    dying = await load.worker(None, "--lease", "2s")
    runs = await load.client.start_many([lasts.call(60.0) for _ in range(3)])
    await eventually(lambda: len(load.ledger.lines()) == 3, "all are under way")
    beats = proxy.lose("holdfast.heartbeat(", every_other)
    recoveries = proxy.lose("holdfast.recover(", every_other)
    await dying.kill()
    await load.house.until("select count(*) = $1 from holdfast.task where bucket_id is null", len(runs))
    await eventually(lambda: beats.lost >= 2, "two answers to heartbeats are lost")
    assert recoveries.lost
    assert await load.house.value("select state from holdfast.worker where pid = $1", living.pid) == "active"
    # One crash of one holder, however often it was recovered from.
    assert await load.house.value("select array_agg(distinct crashes) from holdfast.task") == [1]
    await load.house.check_invariants()


async def test_the_answer_to_the_registration(load: Load, far: House, proxy: Proxy) -> None:
    loss = proxy.lose("holdfast.register(", first)
    worker = await load.worker(far, "--lease", "2s")
    assert loss.lost == 1
    await load.add(3)
    await load.ends_well()
    # The one that it does not know of has nothing, and goes as one does whose worker is dead.
    await load.house.until("select count(*) = 1 from holdfast.worker where state = 'lost'")
    assert await load.house.value(
        "select array_agg(state order by id) from holdfast.worker where pid = $1", worker.pid
    ) == [
        "lost",
        "active",
    ]
    await load.house.check_invariants()


async def test_the_answer_to_leaving(load: Load, far: House, proxy: Proxy) -> None:
    worker = await load.worker(far, "--lease", "30s", "--grace", "1s")
    runs = [await load.client.start(lasting, 3.0) for _ in range(3)]
    await eventually(lambda: len(load.ledger.lines()) == 3, "all are under way")
    loss = proxy.lose("holdfast.leave(", first)
    worker.send(signal.SIGTERM)
    assert await worker.exit() == 0
    assert loss.lost == 1
    assert "Traceback" not in far.log()
    assert await load.house.value("select state from holdfast.worker") == "left"
    # Given back at once: nobody waits for the lease.
    await load.worker(None, "--lease", "30s")
    await load.house.ended(*[run.id for run in runs], patience=10)
    await load.house.check_invariants()


async def test_answers_to_starts(house: House, distant: Client, proxy: Proxy) -> None:
    loss = proxy.lose("insert into holdfast.run ", every_other)
    keyed = proxy.lose("holdfast.start_many(", every_other)
    single = await distant.start(lasts, 0.0)
    several = await asyncio.gather(*[distant.start(lasts, 0.0) for _ in range(50)])
    with_key = await distant.start(lasts, 0.0, key="one")
    again = await distant.start(lasts, 0.0, key="one")
    bulk = await distant.start_many([lasts.call(0.0)] * 300)
    keys = await distant.start_many([lasts.call(0.0)] * 3, keys=["one", "two", "three"])
    assert loss.lost >= 3
    assert keyed.lost >= 2
    assert with_key.id == again.id == keys[0].id
    runs = {run.id for run in (single, *several, with_key, *bulk, *keys)}
    assert len(runs) == 1 + 50 + 1 + 300 + 2
    assert {row["id"] for row in await house.db.fetch("select id from holdfast.run")} == runs
    await house.check_invariants()


async def test_answers_to_starts_whose_keys_are_taken_for_a_while(house: House, distant: Client, proxy: Proxy) -> None:
    loss = proxy.lose("holdfast.start_many(", every_other)
    open_key = Key("k", window="open")
    first = await distant.start(lasts, 0.0, key=open_key)
    assert (await distant.start(lasts, 0.0, key=open_key)).id == first.id
    replaced = [await distant.start(lasts, float(n), key=Key("k", window="open", taken="replace")) for n in range(1, 6)]
    refused = 0
    for _ in range(4):
        try:
            await distant.start(lasts, 0.0, key=Key("k", window="open", taken="reject"))
        except KeyTaken as error:
            refused += error.run_id == replaced[-1].id
    assert refused == 4
    assert loss.lost >= 4
    # Each was made once, and all but the last were cancelled by the one after.
    assert len({run.id for run in (first, *replaced)}) == 6 == await house.value("select count(*) from holdfast.run")
    assert [row["run_id"] for row in await house.db.fetch("select run_id from holdfast.task")] == [replaced[-1].id]
    await house.check_invariants()


async def test_answers_to_requests_to_reschedule(house: House, distant: Client, proxy: Proxy) -> None:
    run = await distant.start(lasts, 0.0, after=timedelta(hours=1))
    loss = proxy.lose("holdfast.reschedule(", every_other)
    for hours in (2, 3, 4):
        assert await run.reschedule(after=timedelta(hours=hours), priority="high") == "done"
    assert loss.lost >= 1
    assert await house.value("select round(extract(epoch from due_at - holdfast.now()) / 3600) from holdfast.task") == 4
    await house.check_invariants()


@pytest.mark.parametrize("part", ["COMMIT", "insert into holdfast.run "])
async def test_answers_to_a_bulk_start_of_several_statements(
    house: House, distant: Client, proxy: Proxy, part: str
) -> None:
    loss = proxy.lose(part, lambda place, _rows: place in {0, 3})
    runs = await distant.start_many([lasts.call(0.0)] * 2_500)
    assert loss.lost
    assert {row["id"] for row in await house.db.fetch("select id from holdfast.run")} == {run.id for run in runs}
    assert await house.value("select count(*) from holdfast.task") == 2_500
    await house.check_invariants()


async def test_answers_to_signals_and_cancels(house: House, load: Load, distant: Client, proxy: Proxy) -> None:
    # The first with the key, and the one without.
    proxy.lose("holdfast.put_signal(", lambda place, _rows: place in {0, 3})
    loss = proxy.lose("holdfast.cancel(", every_other)
    run = await distant.start(journey, 1)
    await run.signal(go, 7, key="once")
    await run.signal(go, 7, key="once")
    letters = "select count(*) from holdfast.inbox where run_id = $1"
    assert await house.value(letters, run.id) == 1
    # Without a key it cannot be sent again by itself, and says so.
    plain = await distant.start(journey, 2)
    with pytest.raises(DatabaseUnavailable, match="with a key= it would be sent again"):
        await plain.signal(go, 8)
    cancelled = await distant.start(journey, 3)
    await cancelled.cancel()
    assert loss.lost == 1
    assert await house.value("select count(*) from holdfast.result") == 1
    await load.worker()
    assert await run.result(timeout=SOON) == journeys_end(1, 7)
    await house.check_invariants()


async def test_answers_to_the_sending_of_updates(house: House, far: House, proxy: Proxy) -> None:
    # The first with the key, and the one without.
    loss = proxy.lose("holdfast.update(", lambda place, _rows: place in {0, 2})
    app = far.app()
    adds = Update[int, int]("adds")

    @app.workflow
    async def total() -> int:
        first, second = await adds.wait(), await adds.wait()
        first.reply(first.input)
        second.reply(first.input + second.input)
        return first.input + second.input

    client = await far.client(app)
    run = await client.start(total)
    asked = asyncio.create_task(run.update(adds, 3, key="once"))
    await eventually(lambda: client._context.replies.open == 1, "it was sent again, and its answer is waited for")
    assert await house.value("select inbox_count from holdfast.task") == 1
    with pytest.raises(DatabaseUnavailable, match="with a key= it would be sent again"):
        await run.update(adds, 4)
    assert loss.lost == 2
    here = house.app()
    here.include(app)
    await house.worker(here)
    assert await asked == 3
    assert await run.result(timeout=SOON) == 7
    assert await house.journal(run.id) == ["update:adds#1", "update:adds#2", "reply#1", "reply#2"]
    await house.check_invariants()
