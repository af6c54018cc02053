"""Taking messages, or runs that are driven by hand, costs the same however many are delayed, gone or over.

Never by time: by the indexes that are used, and by the buffers that are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast.store import queues as store
from holdfast.store import taking
from holdfast.store.queues import Settlement, Settling
from holdfast.store.session import Session
from tests.store.ground import LONG_AGO, Ground
from tests.store.million import Verb, done
from tests.store.plans import explained

pytestmark = pytest.mark.xdist_group("million")

LINE = "default"
"""As if the lane of the million parked runs were the line of a queue, or of runs that are driven by hand."""
MINUTE = timedelta(minutes=1)
AFTER_ALL = datetime.fromisoformat("2024-03-02T00:00Z")
"""After all that is due, and before all that is parked for a time."""


def asking(batch: int, *, sweep: bool = False, lower: datetime = LONG_AGO) -> taking.Asking:
    return taking.Asking(batch, MINUTE, [lower] * 5, sweep, "somebody")


def take(batch: int, *, driven: bool = False, lower: datetime = LONG_AGO) -> Verb:
    return lambda session: taking.take(session, LINE, asking(batch, lower=lower), driven=driven)


@pytest.mark.parametrize("driven", [False, True], ids=["messages", "driven"])
async def test_a_take_that_finds_nothing_touches_next_to_nothing(big: Session, driven: bool) -> None:
    # What the tests before it have rolled back lies where it looks, until it is vacuumed.
    await big.connection.execute("vacuum (index_cleanup on) holdfast.task")
    found, plans = await done(big, take(50, driven=driven, lower=AFTER_ALL))
    assert found.taken == []
    assert plans.indexes >= {"task_due"}
    assert plans.walked == set()
    assert plans.passed_over == 0
    assert plans.buffers < 60


@pytest.mark.parametrize("batch", [1, 10, 100])
@pytest.mark.parametrize("driven", [False, True], ids=["messages", "driven"])
async def test_a_take_costs_what_it_takes(big: Session, driven: bool, batch: int) -> None:
    found, plans = await done(big, take(batch, driven=driven))
    assert len(found.taken) == batch
    assert plans.indexes >= {"task_due", "task_pkey", "run_pkey"}
    assert plans.walked == set()
    assert plans.passed_over == 0
    assert plans.buffers < 60 + 40 * batch


@pytest.mark.parametrize("how", [*Settling])
@pytest.mark.parametrize("batch", [1, 50])
async def test_to_settle_costs_what_is_settled_and_taken(big: Session, how: Settling, batch: int) -> None:
    async def exchange(session: Session) -> Sequence[taking.Taken]:
        taken = (await taking.take(session, LINE, asking(batch), driven=False)).taken
        settlements = [Settlement(one.receipt, how, MINUTE, '"x"') for one in taken]
        lost, more = await store.exchange(session, LINE, settlements, asking(batch))
        assert lost == {}
        return more.taken

    more, plans = await done(big, exchange)
    assert len(more) == batch
    assert plans.walked == set()
    assert plans.buffers < 120 + 80 * batch


async def test_a_look_at_many_lines_costs_a_probe_each(big: Session) -> None:
    lines = [LINE, *(f"queue-{number} queue" for number in range(49))]
    due, plans = await done(big, lambda session: taking.read_due(session, lines))
    assert due == {LINE: 0.0}
    assert plans.walked == set()
    assert plans.buffers < 100 + 60 * len(lines)


async def test_a_take_from_a_watermark_does_not_walk_what_is_gone(ground: Ground) -> None:
    """With a snapshot that keeps the dead entries of the index where they are."""
    pin = await ground.connect()
    transaction = pin.transaction(isolation="repeatable_read")
    await transaction.start()
    await pin.fetchval("select count(*) from holdfast.task")
    session = await ground.more()
    for _ in range(4):
        await ground.start_many(1000, name="q queue", lane="q queue", kind=3)
        taken = (await taking.take(session, "q queue", asking(1000), driven=False)).taken
        acks = [Settlement(one.receipt, Settling.ACK) for one in taken]
        assert await store.settle(session, "q queue", acks) == {}
    mark = await ground.value("select holdfast.now()")
    connection: Any = session.connection

    async def cost(*, sweep: bool) -> int:
        async with explained(connection) as plans:
            await taking.take(session, "q queue", asking(100, sweep=sweep, lower=mark), driven=False)
        return plans.buffers

    assert await cost(sweep=True) > 100, "nothing was pinned, so this shows nothing"
    assert await cost(sweep=False) < 60
    # A floor does for a sweep what a watermark does for a receive.
    await ground.execute(
        "insert into holdfast.lane_floor (lane, priority, floor, at) values ('q queue', 3, $1, $1)", mark
    )
    assert await cost(sweep=True) < 60
