"""Runs that go on from others, while somebody else is at those: what was acknowledged is not lost."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from holdfast.core.journal import EntryKind
from holdfast.core.states import Continuation, Ending
from holdfast.store.continuing import continue_run
from holdfast.store.session import Session
from holdfast.store.writes import End
from tests.store.ground import Ground, new_id, step


def go_on(session: Session, run: UUID, how: Continuation, new: UUID) -> asyncio.Task[str]:
    """It is under way."""
    return asyncio.create_task(
        continue_run(session, run, new, how, kept=[], without=None, input=None, timeout=None, options="{}")
    )


@pytest.mark.parametrize("how", [Continuation.RETRY, Continuation.REWIND, Continuation.FORK])
async def test_tags_that_are_changed_meanwhile_go_along(ground: Ground, how: Continuation) -> None:
    run, new = await ground.start(), new_id()
    hand = await ground.worker()
    await hand.take(run)
    failed = hand.writes(run, end=End(Ending.FAILED, None, "{}"))
    await hand.flush(failed if how is Continuation.RETRY else hand.park(run))
    tagging, session = await ground.connect(), await ground.more()
    async with tagging.transaction():
        await tagging.execute('select holdfast.retag($1, \'{"plan": "pro"}\')', run)
        doing = go_on(session, run, how, new)
        await ground.waits(session)
    assert await doing == "done"
    assert json.loads(await ground.value("select tags from holdfast.run where id = $1", new)) == {"plan": "pro"}


async def test_a_fork_has_the_letters_that_its_origin_journals_meanwhile(ground: Ground) -> None:
    run, new = await ground.start(), new_id()
    hand = await ground.worker()
    await hand.take(run)
    for name in ("one", "two"):
        await ground.execute("select holdfast.signal($1, $2)", run, name)
    await hand.flush(hand.writes(run, journal=[step(1, "signal:one#1", kind=EntryKind.SIGNAL)], seen=[1]))
    # A row that the fork will have to write, in somebody's hands: so it stands there after it has read the journal.
    other, session = await ground.connect(), await ground.more()
    transaction = other.transaction()
    await transaction.start()
    await other.execute(
        "insert into holdfast.inbox (run_id, number, kind, name, at) values ($1, 1, 4, 'x', now())", new
    )
    doing = go_on(session, run, Continuation.FORK, new)
    await ground.waits(session)
    await hand.flush(hand.writes(run, journal=[step(2, "signal:two#2", kind=EntryKind.SIGNAL)], seen=[2]))
    await transaction.rollback()
    assert await doing == "done"
    assert [(letter["number"], letter["name"]) for letter in await ground.inbox(new)] == [(1, "one"), (2, "two")]
