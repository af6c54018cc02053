"""What is asked again and again looks into the tables of the days that it is about, however many there are.

Never by time: by the tables whose nodes were executed.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from holdfast.store import inbox, runs, starts, work
from holdfast.store.partitions import make_days
from holdfast.store.session import Session
from holdfast.store.starts import Manner, Start
from tests.partitions.divided import day_name
from tests.store.ground import Ground, Hand, new_id, step
from tests.store.plans import Plans, explained

DAYS = 60


def looked_into(plans: Plans) -> set[str]:
    """The tables of days that something was read from or written to, by what comes after their names."""
    found: set[str] = set()
    for node in plans.nodes():
        name = re.fullmatch(r"(?:run|journal|result)_(\w+)", node.get("Relation Name", ""))
        if name and node.get("Actual Loops") and node["Node Type"] != "ModifyTable":
            found.add(name[1])
    return found


@pytest.fixture
async def hand(ground: Ground) -> Hand:
    """A worker in a database with sixty days."""
    await make_days(ground.session, ahead=DAYS)
    return await ground.worker()


@pytest.fixture
async def session(hand: Hand) -> Session:
    """The worker's session, in which each statement is prepared once and executed often."""
    return hand.session


async def test_a_claim_reads_what_was_asked_in_the_days_of_the_runs(ground: Ground, hand: Hand) -> None:
    made = await ground.start_many(20)
    connection: Any = hand.session.connection
    async with explained(connection) as plans:
        await hand.take(*made)
    assert looked_into(plans) == {day_name(made[0])}
    assert plans.walked == set()


async def test_a_flush_looks_into_no_table_but_to_write(ground: Ground, hand: Hand) -> None:
    made = await ground.start_many(20)
    await hand.take(*made)
    connection: Any = hand.session.connection
    for again in (False, True):
        async with explained(connection) as plans:
            await hand.flush(*[hand.writes(run, journal=[step(1)]) for run in made], again=again)
        assert looked_into(plans) == ({day_name(made[0])} if again else set())
    async with explained(connection) as plans:
        await hand.flush(*[hand.end(run) for run in made])
    assert looked_into(plans) == set()
    assert await ground.value("select count(*) from holdfast.result") == 20


async def test_a_replay_reads_the_journals_in_their_days(ground: Ground, hand: Hand, session: Session) -> None:
    made = await ground.start_many(20)
    await hand.take(*made)
    await hand.flush(*[hand.writes(run, journal=[step(1)]) for run in made])
    connection: Any = session.connection
    for _ in range(8):
        async with explained(connection) as plans:
            found = await work.read_journals(session, made)
        assert len(found) == 20
        assert looked_into(plans) == {day_name(made[0])}
        assert plans.walked == set()


async def test_waiting_for_results_looks_into_their_days(ground: Ground, hand: Hand, session: Session) -> None:
    made = await ground.start_many(20)
    await hand.take(*made)
    await hand.flush(*[hand.end(run) for run in made])
    connection: Any = session.connection
    for _ in range(8):
        async with explained(connection) as plans:
            assert len(await runs.read_ended(session, made)) == 20
        assert looked_into(plans) == {day_name(made[0])}
        assert plans.walked == set()


async def test_starts_and_signals_look_into_no_table_but_to_write(ground: Ground, session: Session) -> None:
    manner = Manner(1, "flow", "default", 3, None, None, None, None)
    connection: Any = session.connection
    for count in (1, 20):
        asked = [Start(new_id(), "{}", manner, None, None) for _ in range(count)]
        async with explained(connection) as plans:
            await starts.start_plain(session, asked, hint=False)
        assert looked_into(plans) == set()
        async with explained(connection) as plans:
            await inbox.send_signal(session, asked[0].id, name="go", payload="1", key=None)
        assert looked_into(plans) == set()


async def test_recovery_asks_the_journal_of_the_runs_day(ground: Ground, hand: Hand) -> None:
    made = await ground.start_many(20)
    await hand.take(*made)
    await hand.flush(hand.writes(made[0], journal=[step(1)]))
    await ground.lease_over(hand, since=timedelta(minutes=1))
    other = await ground.more()
    connection: Any = other.connection
    async with explained(connection) as plans:
        await work.recover(other, limit=100)
    assert looked_into(plans) == {day_name(made[0])}
    assert plans.walked == set()
