"""Keys with terms, as callers say them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from holdfast.client import Client
from holdfast.core.errors import InvalidInput, KeyConflict, KeyTaken, RunCancelled
from holdfast.core.key import Key
from holdfast.core.states import RunStatus
from tests.client.shop import Connection, charge, client_of, count, end, nothing

pytestmark = pytest.mark.usefixtures("sound")

OPEN = Key("k", window="open")


async def test_a_second_start_is_answered_with_the_run_while_that_is_open(client: Client, db: Connection) -> None:
    first = await client.start(charge, 5, key=OPEN)
    again = await client.start(charge, 5, key=OPEN)
    assert (again.id, again.existing) == (first.id, True)
    with pytest.raises(KeyConflict):
        await client.start(charge, 6, key=OPEN)
    await end(db, first.id)
    new = await client.start(charge, 6, key=OPEN)
    assert (new.id != first.id, new.existing) == (True, False)
    assert await first.status() is RunStatus.SUCCEEDED


async def test_it_is_refused_if_it_wants_to_be(client: Client, db: Connection) -> None:
    first = await client.start(charge, 5, key="k")
    with pytest.raises(
        KeyTaken, match=f"key 'k' of 'charge' is taken by run {first.id}: nothing was started"
    ) as caught:
        await client.start(charge, 5, key=Key("k", taken="reject"))
    assert (caught.value.run_id, caught.value.name, caught.value.key) == (first.id, "charge", "k")
    assert await count(db) == 1


async def test_it_takes_the_place_of_the_run(client: Client, db: Connection) -> None:
    first = await client.start(charge, 5, key=OPEN)
    new = await client.start(charge, 6, key=Key("k", window="open", taken="replace"))
    assert not new.existing
    with pytest.raises(RunCancelled):
        await first.result()
    assert await new.status() is RunStatus.READY
    assert await count(db, "task") == 1


async def test_starts_at_the_same_moment_are_each_answered_by_their_wishes(client: Client, db: Connection) -> None:
    await client.start(charge, 1, key="taken")
    fine, refused, replaced, left, again = await asyncio.gather(
        client.start(charge, 2, key="free"),
        client.start(charge, 1, key=Key("taken", taken="reject")),
        client.start(charge, 3, key=Key("k", taken="replace")),
        client.start(charge, 4, key=Key("k", taken="replace")),
        client.start(charge, 1, key="taken"),
        return_exceptions=True,
    )
    assert isinstance(refused, KeyTaken)
    for handle in (fine, replaced, left, again):
        assert not isinstance(handle, BaseException)
    assert not isinstance(replaced, BaseException)
    with pytest.raises(RunCancelled):
        await replaced.result()
    assert await count(db, "task") == 3


async def test_many_start_all_or_none(client: Client, db: Connection) -> None:
    await client.start(charge, 7, key="k7")
    calls = [charge.call(n) for n in range(1_500)]
    with pytest.raises(KeyTaken, match="'k7'"):
        await client.start_many(calls, keys=[Key(f"k{n}", taken="reject") for n in range(1_500)])
    assert await count(db) == await count(db, "start_key") == 1
    keys: list[str | Key] = [Key(f"k{n}", taken="replace") for n in range(1_499)]
    handles = await client.start_many(calls, keys=[*keys, "last"])
    assert len({handle.id for handle in handles}) == 1_500
    assert await count(db, "task") == 1_500
    assert await count(db, "result") == 1


async def test_what_is_replaced_in_a_transaction_that_rolls_back_goes_on(
    client: Client, dsn: str, db: Connection
) -> None:
    first = await client.start(charge, 5, key=OPEN)
    async with client_of(dsn) as other:
        transaction = db.transaction()
        await transaction.start()
        await client.start(charge, 6, key=Key("k", window="open", taken="replace"), connection=db)
        waiting = asyncio.ensure_future(other.start(charge, 5, key=OPEN))
        await transaction.rollback()
        assert (await waiting).id == first.id
    assert await first.status() is RunStatus.READY
    assert await count(db) == 1


async def test_a_window_is_kept_where_the_record_of_the_run_has_gone(client: Client, db: Connection) -> None:
    kept = await client.start(charge, 5, key=Key("week", window=timedelta(days=7)))
    free = await client.start(charge, 5, key=OPEN)
    await end(db, kept.id)
    await end(db, free.id)
    assert await client.records.prune(timedelta(0), keep_keys=timedelta(0)) == 2
    again = await client.start(charge, 5, key=Key("week", window=timedelta(days=7)))
    assert (again.id, again.existing) == (kept.id, True)
    assert not (await client.start(charge, 5, key=OPEN)).existing


async def test_by_name_it_is_the_same(client: Client, dsn: str) -> None:
    first = await client.start(nothing, key=OPEN)
    async with client_of(dsn, definitions={}) as stranger:
        assert (await stranger.start_by_name("nothing", key=OPEN)).id == first.id
        with pytest.raises(KeyTaken):
            await stranger.start_by_name("nothing", key=Key("k", taken="reject"))


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        (Key(""), "key has 0 characters: use 1 to 500"),
        (Key("x" * 501), "key has 501 characters"),
        (Key("k", window=timedelta(0)), "window of key is 0:00:00: use more than zero"),
        (Key("k", window=timedelta(days=-1)), "window of key is -1 day, 0:00:00: use more than zero"),
        (
            Key("k", window=cast("Any", "sometimes")),
            "window of key is 'sometimes': use 'forever', 'open' or a timedelta",
        ),
        (Key("k", window=cast("Any", None)), "window of key is None"),
        (Key("k", taken=cast("Any", "maybe")), "taken of key is 'maybe': use 'return_existing', 'reject', 'replace'"),
        (cast("Any", 7), "key is 7: use text"),
        (Key(cast("Any", 7)), "key is 7: use text"),
    ],
)
async def test_a_mistake_in_a_key_is_told_and_nothing_is_started(
    client: Client, db: Connection, key: Key, mistake: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await client.start(charge, 5, key=key)
    assert mistake in str(caught.value)
    with pytest.raises(InvalidInput, match=r"keys\[1\]"):
        await client.start_many([charge.call(1), charge.call(2)], keys=["fine", key])
    assert await count(db) == 0
