"""Rule 9 for messages: a take begins at a watermark, and what becomes visible below it is found all the same.

Runs that are driven by hand are taken by the same function, with the same watermarks. Shown elsewhere: that the floor
does for a sweep what a watermark does for a take (``tests/store/test_taking_plans.py``); that who waits gets what was
committed late (``tests/queues/test_waiting.py``).
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from holdfast.client.watermarks import Watermarks
from holdfast.store import queues, taking
from holdfast.store.queues import Settlement, Settling
from holdfast.store.session import Session
from tests.rules.change import replaced, shown
from tests.store.ground import Ground
from tests.store.plans import explained

LINE = "emails queue"
MINUTE = timedelta(minutes=1)


class Line:
    """A line as its exchange sees it: where it looks follows from what it has found."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.watermarks = Watermarks()

    async def take(self, batch: int = 2, *, sweep: bool | None = False) -> list[taking.Taken]:
        """One take; without saying so it sweeps when it is time to."""
        asking = self.watermarks.asking(batch, MINUTE, hands=None, below=False)
        asking = asking if sweep is None else asking._replace(sweep=sweep)
        began = time.monotonic()
        intake = await taking.take(self.session, LINE, asking, driven=False)
        self.watermarks.note(asking, intake, began)
        return list(intake.taken)

    async def found(self, *, sweep: bool | None = False) -> list[UUID]:
        return [one.receipt.run_id for one in await self.take(sweep=sweep)]


async def send(ground: Ground, count: int = 1) -> list[UUID]:
    return await ground.start_many(count, name=LINE, lane=LINE, kind=3)


@shown(True, slack=(replaced("holdfast.client.watermarks._SLACK", timedelta(0)), False))
async def test_p09_a_message_that_commits_a_little_late_is_above_the_watermark(
    ground: Ground, expected: object
) -> None:
    line = Line(ground.session)
    user = Ground(ground.dsn, await ground.connect())
    transaction = user.db.transaction()
    await transaction.start()
    late = await send(user)
    # The take looks at the clock after the send did, and before the message is visible.
    assert await line.found() == []
    await transaction.commit()
    assert (await line.found() == late) is expected


NOTE = "holdfast.client.watermarks.Watermarks.note"


def as_if_never_full(self: Watermarks, asking: taking.Asking, intake: taking.Intake, began: float) -> None:
    self._lower = [intake.at] * 5


def never_lower(self: Watermarks, asking: taking.Asking, intake: taking.Intake, began: float) -> None:
    last = max((due_at for _, due_at in intake.reached), default=intake.at)
    self._lower = [max(lower, last) for lower in self._lower]


def not_at_all(self: Watermarks, asking: taking.Asking, intake: taking.Intake, began: float) -> None:
    pass


@shown(3, the_last_row=(replaced(NOTE, as_if_never_full), 1))
async def test_p09_a_full_take_goes_on_where_it_ended(ground: Ground, expected: int) -> None:
    sent = await send(ground, 6)
    line = Line(ground.session)
    found = [await line.found() for _ in range(3)]
    assert [run for some in found for run in some] == sent[: 2 * expected]


@shown(3, lowering=(replaced(NOTE, never_lower), 1))
async def test_p09_a_sweep_lowers_the_watermark_of_a_line(ground: Ground, expected: int) -> None:
    line = Line(ground.session)
    assert await line.found() == []
    late = await send(ground, 6)
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 hour'")
    found = [await line.found(sweep=place == 0) for place in range(3)]
    assert [run for some in found for run in some] == late[: 2 * expected]


@shown("by a sweep", sweeping=(replaced("holdfast.client.watermarks._SWEEP_EVERY", float("inf")), "not at all"))
async def test_p09_who_goes_on_taking_finds_what_is_below(ground: Ground, expected: str) -> None:
    line = Line(ground.session)
    assert await line.found() == []
    late = await send(ground)
    await ground.execute("update holdfast.task set due_at = due_at - interval '1 hour'")
    found: list[UUID] = []
    for _ in range(100):
        found = await line.found(sweep=None)
        if found:
            break
        await asyncio.sleep(0.001)  # between two takes
    assert ("by a sweep" if found == late else "not at all") == expected


@shown(True, the_watermark=(replaced(NOTE, not_at_all), False))
async def test_p09_a_take_does_not_walk_what_was_acknowledged(ground: Ground, expected: object) -> None:
    """Measured with the index entries of 3,000 messages that are gone, which an old snapshot keeps where they are."""
    pin = await ground.connect()
    transaction = pin.transaction(isolation="repeatable_read")
    await transaction.start()
    await pin.fetchval("select count(*) from holdfast.task")
    line = Line(await ground.more())
    connection: Any = line.session.connection
    for _ in range(31):
        # Each hundred is due at a time of its own.
        await send(ground, 100)
    for _ in range(30):
        acks = [Settlement(one.receipt, Settling.ACK) for one in await line.take(100)]
        assert len(acks) == 100
        assert await queues.settle(line.session, LINE, acks) == {}
    async with explained(connection) as plans:
        assert len(await line.take(1)) == 1
    assert (plans.touched("task_due") < 40) is expected, plans.touched("task_due")
