"""W17: what a flush writes of families, said twice and beside others; and of runs that go on as new ones."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from holdfast.core.journal import EntryKind, started_key
from holdfast.core.states import Ending, Flag
from holdfast.store.children import Child, Next
from holdfast.store.writes import End, JournalWrite, Writes
from tests.house import check_invariants
from tests.store.ground import Ground, Hand, new_id, step


@pytest.fixture
async def parent(ground: Ground) -> UUID:
    """A run in line."""
    return await ground.start()


@pytest.fixture
async def hand(ground: Ground, parent: UUID) -> Hand:
    """A worker that holds it."""
    hand = await ground.worker()
    await hand.take(parent)
    return hand


def child(root: UUID, key: str = "ship#1", *, tags: str | None = None, options: str | None = None) -> Child:
    return Child(new_id(), 1, "flow", "default", 3, "{}", None, tags, options, key, root)


def start(hand: Hand, parent: UUID, *children: Child) -> Writes:
    """The start of these children, with the rows of the journal that say so."""
    rows: list[JournalWrite] = [
        step(seq, started_key(one.key), kind=EntryKind.STARTED, output=json.dumps(str(one.id)))
        for seq, one in enumerate(children, 1)
    ]
    return hand.writes(parent, journal=rows, children=children)


def end(hand: Hand, one: Child, parent: UUID) -> Writes:
    return hand.writes(one.id, end=End(Ending.SUCCEEDED, "7", None, parent))


async def test_a_start_of_a_child_that_is_sent_again_makes_nothing_more(
    ground: Ground, hand: Hand, parent: UUID
) -> None:
    one = child(parent)
    await hand.flush(start(hand, parent, one))
    once = await ground.everything()
    again = await hand.flush(start(hand, parent, one), again=True)
    assert (again.lost, again.busy) == (frozenset(), frozenset())
    assert await ground.everything() == once
    assert (await ground.held(one.id))["flags"] == Flag.HAS_PARENT
    assert (await ground.held(parent))["flags"] & Flag.HAS_CHILDREN


async def test_it_does_not_come_to_life_again_when_it_has_ended_meanwhile(
    ground: Ground, hand: Hand, parent: UUID
) -> None:
    one = child(parent)
    await hand.flush(start(hand, parent, one))
    await hand.take(one.id)
    await hand.flush(end(hand, one, parent))
    await hand.flush(start(hand, parent, one), again=True)
    assert await ground.task(one.id) is None
    assert len(await ground.inbox(parent)) == 1


async def test_an_end_that_is_sent_again_is_told_once(ground: Ground, hand: Hand, parent: UUID) -> None:
    one = child(parent)
    await hand.flush(start(hand, parent, one))
    await hand.take(one.id)
    await hand.flush(end(hand, one, parent))
    await hand.flush(end(hand, one, parent), again=True)
    (letter,) = await ground.inbox(parent)
    assert (letter["kind"], letter["name"], letter["number"]) == (EntryKind.CHILD, "ship#1", 1)
    assert (await ground.held(parent))["inbox_count"] == 1


@pytest.mark.parametrize("patient", [False, True], ids=["passed over", "waited for"])
async def test_while_somebody_is_at_its_parent_a_child_ends_later(
    ground: Ground, hand: Hand, parent: UUID, *, patient: bool
) -> None:
    one, other = child(parent), child(parent, "ship#2")
    alone = await ground.start()
    await hand.flush(start(hand, parent, one, other))
    await hand.take(one.id, other.id, alone)
    somebody = await ground.connect()
    transaction = somebody.transaction()
    await transaction.start()
    await somebody.execute(ground.sql("select from holdfast.task where run_id = $1 for update"), parent)
    ends = [end(hand, one, parent), end(hand, other, parent)]
    # Who has no parent there does not wait.
    flushed = await hand.flush(*ends, hand.end(alone))
    assert flushed.busy == {one.id, other.id}
    assert not flushed.lost
    assert await ground.result(alone) is not None
    assert await ground.result(one.id) is None
    assert await ground.inbox(parent) == []
    await transaction.commit()
    flushed = await hand.flush(*ends, wait=patient)
    assert flushed.busy == frozenset()
    assert [letter["name"] for letter in await ground.inbox(parent)] == ["ship#1", "ship#2"]
    assert (await ground.held(parent))["inbox_count"] == 2


async def test_many_children_wake_their_parent_once_at_the_count_that_it_asked_for(
    ground: Ground, hand: Hand, parent: UUID
) -> None:
    children = [child(parent, f"ship#{n}") for n in range(1, 6)]
    await hand.flush(start(hand, parent, *children))
    await hand.take(*[one.id for one in children])
    await hand.flush(hand.park(parent, wake=5))
    for number, one in enumerate(children, 1):
        flushed = await hand.flush(end(hand, one, parent))
        assert await ground.is_due(parent) is (number == 5)
        assert list(flushed.due) == (["default"] if number == 5 else [])


async def test_bad_news_wakes_it_at_once(ground: Ground, hand: Hand, parent: UUID) -> None:
    children = [child(parent, f"ship#{n}") for n in range(1, 4)]
    await hand.flush(start(hand, parent, *children))
    await hand.take(*[one.id for one in children])
    await hand.flush(hand.park(parent, wake=3))
    failed = hand.writes(children[0].id, end=End(Ending.FAILED, None, "{}", parent))
    await hand.flush(failed)
    assert await ground.is_due(parent)


async def test_a_child_has_the_tags_that_it_is_given(ground: Ground, hand: Hand, parent: UUID) -> None:
    tagged, plain = child(parent, tags='{"customer": "acme"}'), child(parent, "ship#2")
    await hand.flush(start(hand, parent, tagged, plain))
    assert await ground.value("select tags ->> 'customer' from holdfast.runs where id = $1", tagged.id) == "acme"
    assert await ground.value("select tags is null from holdfast.run where id = $1", plain.id)
    found = await ground.value('select id from holdfast.run where tags @> \'{"customer": "acme"}\'')
    assert found == tagged.id


async def test_a_run_that_goes_on_as_a_new_one_does_so_once_however_often_that_is_sent(
    ground: Ground, hand: Hand, parent: UUID
) -> None:
    following = new_id()
    onward = hand.writes(parent, end=End(Ending.CONTINUED, None, None), next=Next(following, '{"cursor": 7}', ""))
    flushed = await hand.flush(onward)
    assert list(flushed.due) == ["default"]
    once = await ground.everything()
    await hand.flush(onward, again=True)
    assert await ground.everything() == once
    ended = await ground.result(parent)
    assert ended is not None
    assert ended["status"] == Ending.CONTINUED
    assert await ground.value("select continued_from from holdfast.run where id = $1", following) == parent
    assert await ground.is_due(following)


async def test_it_does_not_once_it_is_somebody_elses(ground: Ground, hand: Hand, parent: UUID) -> None:
    following = new_id()
    stale = hand.writes(
        parent, hold=hand.holds[parent] + 1, end=End(Ending.CONTINUED, None, None), next=Next(following, "{}", "")
    )
    flushed = await hand.flush(stale)
    assert flushed.lost == {parent}
    assert await ground.value("select count(*) from holdfast.run where id = $1", following) == 0
    assert await ground.result(parent) is None


async def test_what_has_come_and_was_not_seen_goes_along_but_for_what_children_have_told(
    ground: Ground, hand: Hand, parent: UUID
) -> None:
    one = child(parent)
    await hand.flush(start(hand, parent, one))
    await hand.take(one.id)
    await hand.flush(end(hand, one, parent))
    await ground.execute("select holdfast.signal($1, 'go', '1')", parent)
    following = new_id()
    await hand.flush(hand.writes(parent, end=End(Ending.CONTINUED, None, None), next=Next(following, "{}", "")))
    assert [(letter["kind"], letter["name"]) for letter in await ground.inbox(following)] == [(EntryKind.SIGNAL, "go")]
    assert (await ground.held(following))["inbox_count"] == 2


@pytest.mark.parametrize("asked", ["terminate", "pause", "pause at once", "both"])
async def test_what_was_asked_of_one_that_is_held_is_asked_of_what_it_goes_on_as(
    ground: Ground, hand: Hand, parent: UUID, asked: str
) -> None:
    if asked != "terminate":
        assert await ground.value("select holdfast.pause($1, $2)", parent, asked == "pause at once") == "requested"
    if asked in ("terminate", "both"):
        assert await ground.value("select holdfast.terminate($1)", parent) == "requested"
    assert await ground.value("select holdfast.cancel($1)", parent) == "requested"
    following = new_id()
    await hand.flush(hand.writes(parent, end=End(Ending.CONTINUED, None, None), next=Next(following, "{}", "")))
    assert (await ground.held(following))["flags"] & Flag.CANCEL
    if asked in ("terminate", "both"):
        # Whoever claims it ends it.
        (claimed,) = (await hand.claim()).runs
        assert (claimed.run_id, claimed.flags & Flag.TERMINATE) == (following, Flag.TERMINATE)
    else:
        assert await ground.status(following) == "paused"
        assert bool((await ground.held(following))["flags"] & Flag.AT_ONCE) is (asked == "pause at once")
        assert not (await hand.claim()).runs
        assert await ground.value("select holdfast.resume($1)", parent) == "done"
        await hand.take(following)
    await check_invariants(ground.dsn)
    await hand.flush(hand.end(following))
    assert await ground.value("select count(*) from holdfast.pause") == 0
