"""Floors: a sweep begins there, so nothing may ever become due below one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast.store import work
from tests.store.ground import Ground

LINE = ("default", 3)
TEN = timedelta(seconds=10)


async def raised(ground: Ground, *lines: tuple[str, int]) -> timedelta | None:
    """Raises the floors once more, and says how far the first is below the clock."""
    await ground.execute("update holdfast.lane_floor set at = at - interval '1 minute'")
    await work.raise_floors(ground.session, lines or [LINE])
    below: timedelta | None = await ground.value(
        "select clock_timestamp() - floor from holdfast.lane_floor where lane = $1 and priority = $2",
        *(lines[0] if lines else LINE),
    )
    return below


async def test_the_floor_of_an_empty_line_stays_ten_seconds_below_the_clock(ground: Ground) -> None:
    below = await raised(ground)
    assert below is not None
    assert TEN <= below < TEN * 2


async def test_the_floor_lies_under_the_first_run_in_line(ground: Ground) -> None:
    first, held = await ground.start_many(2)
    for run, ago in ((first, "1 hour"), (held, "2 hours")):
        await ground.execute(f"update holdfast.task set due_at = due_at - interval '{ago}' where run_id = $1", run)
    await ground.execute("update holdfast.task set bucket_id = 1 where run_id = $1", held)
    await raised(ground)
    assert await ground.value("select floor from holdfast.lane_floor") == (await ground.held(first))["due_at"]
    hand = await ground.worker()
    await hand.take(first)


async def test_a_floor_never_sinks(ground: Ground) -> None:
    await raised(ground)
    run = await ground.start()
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 hour' where run_id = $1", run)
    before = await ground.value("select floor from holdfast.lane_floor")
    await raised(ground)
    assert await ground.value("select floor from holdfast.lane_floor") >= before


@pytest.mark.parametrize("what", ["has written", "waits before it can write"])
async def test_the_floor_stays_below_what_is_not_committed_yet(ground: Ground, what: str) -> None:
    writer, blocker = await ground.more(), await ground.connect()
    held_up = None
    if what == "has written":
        await writer.connection.execute("begin; create table written (id int)")
    else:
        # It has looked at the clock, and waits for another's lock with nothing written itself.
        await blocker.execute("begin; select pg_advisory_xact_lock(7)")
        held_up = asyncio.ensure_future(writer.connection.execute("select pg_advisory_xact_lock(7)"))
        await ground.waits(writer)
    pid = writer.connection.get_server_pid()
    began = await ground.value("select xact_start from pg_stat_activity where pid = $1", pid)
    # The ten seconds for who is about to write his first row would cover this test: they are taken away.
    body: str = await ground.value("select pg_get_functiondef('holdfast.raise_floors'::regproc)")
    assert "'10 seconds'" in body
    await ground.execute(body.replace("'10 seconds'", "'0 seconds'"))
    floor = "select floor from holdfast.lane_floor"
    await raised(ground)
    assert await ground.value(floor) < began
    if held_up is None:
        await writer.connection.execute("rollback")
    else:
        await blocker.execute("rollback")
        await held_up
    await raised(ground)
    assert await ground.value(floor) > began


async def test_a_prepared_transaction_keeps_the_floor_down(ground: Ground) -> None:
    other = await ground.connect()
    await other.execute("begin; create table kept (id int); prepare transaction 'kept'")
    try:
        assert await raised(ground) is None
    finally:
        await other.execute("rollback prepared 'kept'")
    assert await raised(ground) is not None


async def test_one_at_a_time_raises_floors_and_not_too_often(ground: Ground) -> None:
    other = await ground.connect()
    await other.execute("begin")
    await other.execute(ground.sql("select pg_advisory_xact_lock(holdfast.fence_class(), 0)"))
    assert await raised(ground) is None
    await other.execute("rollback")
    assert await raised(ground) is not None
    at = await ground.value("select at from holdfast.lane_floor")
    await work.raise_floors(ground.session, [LINE])
    assert await ground.value("select at from holdfast.lane_floor") == at


async def test_each_line_has_a_floor_of_its_own(ground: Ground) -> None:
    run = await ground.start(lane="mail", priority=1)
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 hour' where run_id = $1", run)
    await raised(ground, LINE, ("mail", 1), ("mail", 1))
    floors = await ground.db.fetch("select lane, priority, floor from holdfast.lane_floor order by lane")
    assert [(row["lane"], row["priority"]) for row in floors] == [LINE, ("mail", 1)]
    assert floors[1]["floor"] == (await ground.held(run))["due_at"]
