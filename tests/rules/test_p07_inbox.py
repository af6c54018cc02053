"""Rule 7: what a run has is read in a later statement than its claim, and a letter bears the number that counted it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.core.journal import Entry
from holdfast.store import work
from holdfast.store.inbox import send_signal
from holdfast.store.session import Session
from holdfast.store.writes import Writes
from tests.house import House, eventually
from tests.rules.change import rewritten, shown
from tests.rules.steering import waits
from tests.store.ground import Ground, move, step
from tests.worker.hand import hand, outcome


async def read_with_the_claim(_db: asyncpg.Connection[asyncpg.Record], patch: pytest.MonkeyPatch) -> None:
    """The journal is read by the statement that claims: with the snapshot from before."""
    seen: dict[UUID, set[str]] = {}
    really_fetch, really_read = Session.fetch, work.read_journals

    async def fetch(self: Session, name: str, /, **values: object) -> Any:
        if name != "claim":
            return await really_fetch(self, name, **values)
        statement = self.statements[name]
        text = (
            f"select c.*, array(select j.key from holdfast.journal j where j.run_id = c.run_id) as keys "
            f"from ({statement.text}) c"
        )
        rows = await self.connection.fetch(text, *statement.bind(values))
        seen.update({row["run_id"]: set(row["keys"]) for row in rows if row["run_id"]})
        return [tuple(row)[:-1] for row in rows]

    async def read_journals(session: Session, runs: Any) -> dict[UUID, list[Entry]]:
        found = await really_read(session, runs)
        return {run: [entry for entry in entries if entry.key in seen[run]] for run, entries in found.items()}

    patch.setattr(Session, "fetch", fetch)
    patch.setattr(work, "read_journals", read_journals)


@shown("two", a_later_statement=(read_with_the_claim, "one"))
async def test_p07_a_claim_that_waited_does_not_miss_what_was_journaled_meanwhile(
    house: House, expected: object
) -> None:
    app = house.app()
    calls: list[str] = []

    @app.activity
    async def one() -> int:
        calls.append("one")
        return 1

    @app.activity
    async def two() -> int:
        calls.append("two")
        return 2

    @app.workflow
    async def flow() -> list[int]:
        return [await one(), await two()]

    client = await house.client(app)
    async with hand(house) as holder:
        run = await client.start(flow)
        (claimed,) = await holder.claim()
        await house.worker(app, name="next", lease=timedelta(seconds=30))
        await house.until("select count(*) = 2 from holdfast.worker")
        number = await house.value("select max(id) from holdfast.worker")
        # Its claim has begun, and stands before the fence, while the holder writes down a step and gives the run back.
        await house.db.execute("select pg_advisory_lock(holdfast.fence_class(), $1)", number)
        await house.until(
            "select exists (select from pg_stat_activity where datname = current_database() "
            "and application_name like 'holdfast claims next%' and wait_event_type = 'Lock')"
        )
        row = outcome(1, "one#1")._replace(digest=None)
        await holder.flush(Writes(run.id, claimed.hold, journal=[row], move=move(due=None, waits=False)))
        await house.db.execute("select pg_advisory_unlock(holdfast.fence_class(), $1)", number)
        await eventually(lambda: calls, "a step is called")
        # The first is on record: nobody may call it again.
        assert calls[0] == expected
        if expected == "two":
            assert await run.result(timeout=timedelta(seconds=20)) == [1, 2]


BY_WHAT_LIES_THERE = rewritten(
    "put_signal",
    (
        "select p_run, c.inbox_count, 4,",
        "select p_run, (select coalesce(max(i.number), 0) + 1 from holdfast.inbox i where i.run_id = p_run), 4,",
    ),
)


@shown([2], the_counter=(BY_WHAT_LIES_THERE, []))
async def test_p07_a_letter_bears_the_number_that_counted_it(ground: Ground, expected: object) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    sender = await ground.more()
    assert await send_signal(sender, run, name="upgrade", payload="1", key=None)
    await hand.flush(hand.writes(run, journal=[step(1)], seen=[1]))
    assert await send_signal(sender, run, name="upgrade", payload="2", key=None)
    letters = (await work.read_inboxes(hand.session, [run]))[run]
    # A run takes what has a higher number than the last that it has journaled.
    assert [letter.number for letter in letters if letter.number > 1] == expected


@shown(False, keeping_the_keys=(rewritten("flush", ("       and i.key is null\n", "")), True))
async def test_p07_a_key_is_refused_after_its_signal_was_consumed(ground: Ground, expected: object) -> None:
    run = await ground.start()
    hand = await ground.worker()
    await hand.take(run)
    sender = await ground.more()
    assert await send_signal(sender, run, name="upgrade", payload="1", key="order-7")
    transaction = hand.session.connection.transaction()
    await transaction.start()
    await hand.flush(hand.writes(run, journal=[step(1)], seen=[1], move=move(seen=1)))
    sending = asyncio.ensure_future(send_signal(sender, run, name="upgrade", payload="1", key="order-7"))
    assert await waits(ground, sender, sending)
    await transaction.commit()
    assert await sending is expected
