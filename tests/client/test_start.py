"""A start writes a run and its task, once, or nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from holdfast.client import Client
from holdfast.core.definition import Call
from holdfast.core.errors import DefinitionError, InvalidInput, KeyConflict, Unstorable
from holdfast.core.states import RunKind, RunStatus
from tests.client.shop import LIMIT, Connection, Signup, charge, client_of, count, nothing, onboard

pytestmark = pytest.mark.usefixtures("sound")

ACME = Signup("Acme", 3)


async def test_a_start_makes_a_run_that_is_due_now(client: Client, db: Connection) -> None:
    handle = await client.start(onboard, ACME, "pro")
    run = await db.fetchrow("select * from holdfast.run")
    assert run is not None
    assert run["id"] == handle.id
    assert (run["kind"], run["name"], run["lane"], run["priority"]) == (RunKind.WORKFLOW, "onboard", "default", 3)
    assert json.loads(run["input"]) == {"signup": {"company": "Acme", "seats": 3}, "plan": "pro"}
    task = await db.fetchrow("select * from holdfast.task")
    assert task is not None
    assert task["run_id"] == handle.id
    assert task["due_at"] == run["created_at"]
    assert task["deadline"] is None
    assert await handle.status() is RunStatus.READY
    assert not handle.existing


async def test_a_call_carries_its_arguments(client: Client, db: Connection) -> None:
    await client.start(onboard.call(plan="pro", signup=ACME))
    assert json.loads(await db.fetchval("select input from holdfast.run"))["plan"] == "pro"


async def test_an_activity_is_started_as_a_job(client: Client, db: Connection) -> None:
    await client.start(charge, 5)
    assert await db.fetchval("select kind from holdfast.run") == RunKind.ACTIVITY


async def test_the_options_are_stored(client: Client, db: Connection) -> None:
    at = datetime.now(UTC) + timedelta(days=3)
    tags = {"customer": "42", "größe": "L"}
    handle = await client.start(nothing, lane="mail", priority="critical", at=at, tags=tags, timeout=timedelta(hours=1))
    row = await db.fetchrow(
        "select t.*, r.tags, r.created_at from holdfast.task t join holdfast.run r on r.id = t.run_id"
    )
    assert row is not None
    assert (row["lane"], row["priority"], row["due_at"]) == ("mail", 5, at)
    assert row["deadline"] == row["created_at"] + timedelta(hours=1)
    assert json.loads(row["tags"]) == tags
    assert await handle.status() is RunStatus.SCHEDULED


async def test_a_delay_counts_from_the_databases_now(client: Client, db: Connection) -> None:
    await client.start(nothing, after=timedelta(minutes=5))
    delay = await db.fetchval("select due_at - created_at from holdfast.task join holdfast.run on id = run_id")
    assert delay == timedelta(minutes=5)


async def test_a_time_in_the_past_means_now(client: Client, db: Connection) -> None:
    await client.start(nothing, at=datetime(2001, 1, 1, tzinfo=UTC))
    assert await db.fetchval("select due_at = created_at from holdfast.task join holdfast.run on id = run_id")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"at": datetime(2030, 1, 1, tzinfo=UTC), "after": timedelta(1)}, "at and after are both given"),
        ({"at": datetime(2030, 1, 1)}, "without a time zone"),  # noqa: DTZ001 - that is the mistake
        ({"at": "tomorrow"}, "at is 'tomorrow': use a datetime"),
        ({"after": timedelta(-1)}, "after is -1 day, 0:00:00: use zero or more"),
        ({"after": 5}, "after is 5: use a timedelta"),
        ({"timeout": timedelta(0)}, "timeout is 0:00:00: use more than zero"),
        ({"timeout": timedelta.max}, "at most 365,000 days"),
        ({"priority": "urgent"}, "priority 'urgent' is not one of very-low, low, medium, high, critical"),
        ({"key": ""}, "key has 0 characters"),
        ({"key": "x" * 501}, "key has 501 characters"),
        ({"key": 7}, "key is 7: use text"),
        ({"key": "a\0b"}, "cannot be stored"),
        ({"key": "\ud800"}, "cannot be stored"),
        ({"lane": "a lane"}, "lane is 'a lane'"),
        ({"lane": ""}, "lane is ''"),
        ({"tags": {"a": 1}}, "tags has 'a': 1: use text for both"),
        ({"tags": ["a"]}, "tags is ['a']: use a mapping"),
        ({"tags": {"a": "\0"}}, "cannot be stored"),
    ],
)
async def test_an_option_that_cannot_be_used_is_refused(
    client: Client, db: Connection, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await client.start(nothing, **options)
    assert said in str(caught.value)
    assert str(caught.value).startswith("workflow 'nothing' cannot be started: ")
    assert await count(db) == 0


async def test_all_mistakes_in_the_options_are_said_at_once(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"key has 0.*; lane is.*; priority 'x'.*; after is -1"):
        await client.start(nothing, key="", lane=" ", priority=cast("Any", "x"), after=timedelta(-1))


async def test_wrong_input_is_refused_with_its_path(client: Client, db: Connection) -> None:
    wrong = Signup("Acme", cast("Any", "many"))
    with pytest.raises(InvalidInput, match=r"signup\.seats"):
        await client.start(onboard, wrong)
    with pytest.raises(InvalidInput, match="needs 'signup'"):
        await client.start(onboard.call())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert await count(db) == 0


async def test_an_input_over_the_limit_is_refused(client: Client, db: Connection) -> None:
    with pytest.raises(Unstorable, match=f"the input of 'onboard' is .* at most {LIMIT:,}"):
        await client.start(onboard, Signup("x" * LIMIT, 1))
    assert await count(db) == 0


async def test_what_is_not_registered_is_refused(client: Client) -> None:
    async def plain(number: int) -> int:
        return number

    with pytest.raises(DefinitionError, match=r"plain' is not registered: decorate it with @app\.workflow"):
        await client.start(plain, 5)
    with pytest.raises(InvalidInput, match="has its arguments already"):
        await client.start(cast("Any", onboard.call(ACME)), ACME)


# ---- keys


async def test_a_key_gives_the_same_run(client: Client, db: Connection) -> None:
    first = await client.start(onboard, ACME, key="signup:42")
    again = await client.start(onboard, ACME, key="signup:42")
    assert again.id == first.id
    assert (first.existing, again.existing) == (False, True)
    assert await count(db) == await count(db, "task") == 1


async def test_a_key_is_one_of_its_workflow(client: Client) -> None:
    one = await client.start(onboard, ACME, key="42")
    other = await client.start(nothing, key="42")
    assert one.id != other.id


async def test_a_key_with_another_input_is_a_conflict(client: Client, db: Connection) -> None:
    first = await client.start(onboard, ACME, key="signup:42")
    with pytest.raises(KeyConflict, match="was started with another input") as caught:
        await client.start(onboard, Signup("Acme", 4), key="signup:42")
    assert caught.value.run_id == first.id
    assert (caught.value.name, caught.value.key) == ("onboard", "signup:42")
    assert await count(db) == 1


async def test_a_key_gives_the_same_run_after_that_has_ended(client: Client, db: Connection) -> None:
    first = await client.start(nothing, key="once")
    await first.cancel()
    again = await client.start(nothing, key="once")
    assert again.id == first.id
    assert await count(db, "task") == 0


async def test_concurrent_starts_with_one_key_make_one_run(dsn: str, db: Connection) -> None:
    clients = [client_of(dsn, pool_size=1) for _ in range(8)]
    for client in clients:
        await client.__aenter__()
    handles = await asyncio.gather(*(client.start(onboard, ACME, key="k") for client in clients * 4))
    assert len({handle.id for handle in handles}) == 1
    assert sum(not handle.existing for handle in handles) == 1
    assert await count(db) == await count(db, "task") == 1
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_a_conflict_hits_its_own_caller_only(client: Client, db: Connection) -> None:
    await client.start(onboard, ACME, key="a")
    fine, conflict, again = await asyncio.gather(
        client.start(onboard, ACME, key="b"),
        client.start(onboard, Signup("Other", 1), key="a"),
        client.start(onboard, ACME, key="a"),
        return_exceptions=True,
    )
    assert isinstance(conflict, KeyConflict)
    assert not isinstance(fine, BaseException)
    assert not isinstance(again, BaseException)
    assert again.existing
    assert await count(db) == 2


# ---- by name


async def test_a_known_name_has_its_input_checked(client: Client, db: Connection) -> None:
    handle = await client.start_by_name("onboard", {"signup": {"company": "Acme", "seats": 3}}, key="k")
    assert (await client.start(onboard, ACME, key="k")).id == handle.id
    with pytest.raises(InvalidInput, match=r"signup\.seats"):
        await client.start_by_name("onboard", {"signup": {"company": "Acme"}})
    assert await count(db) == 1


async def test_an_unknown_name_has_its_input_stored_as_it_is(client: Client, db: Connection) -> None:
    await client.start_by_name("elsewhere", {"numbers": [1, 2.5, None], "text": "a\0b"})
    row = await db.fetchrow("select kind, name, input from holdfast.run")
    assert row is not None
    assert (row["kind"], row["name"]) == (RunKind.WORKFLOW, "elsewhere")
    assert json.loads(row["input"]) == {"numbers": [1, 2.5, None], "text": "a\0b"}


async def test_a_start_by_name_has_the_same_key_as_one_with_the_code(dsn: str) -> None:
    async with client_of(dsn, definitions={}) as stranger, client_of(dsn) as client:
        first = await stranger.start_by_name("onboard", {"signup": {"seats": 3, "company": "Acme"}}, key="k")
        again = await client.start(onboard, ACME, key="k")
        assert again.id == first.id
        with pytest.raises(KeyConflict):
            await client.start(onboard, Signup("Acme", 4), key="k")


@pytest.mark.parametrize(
    ("name", "input"), [("", {}), ("x" * 201, {}), ("a\0", {}), ("fine", {1: 2}), ("fine", {"a": object()})]
)
async def test_a_start_by_name_that_cannot_be_stored_is_refused(
    client: Client, db: Connection, name: str, input: dict[Any, Any]
) -> None:
    with pytest.raises((InvalidInput, Unstorable)):
        await client.start_by_name(name, input)
    assert await count(db) == 0


# ---- in the caller's own transaction


async def test_a_start_in_a_transaction_that_rolls_back_leaves_nothing(client: Client, db: Connection) -> None:
    async def story() -> None:
        async with db.transaction():
            await client.start(onboard, ACME, connection=db)
            await client.start(onboard, ACME, key="k", connection=db)
            await client.start_many([nothing.call()] * 3, connection=db)
            assert await count(db) == 5
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await story()
    assert await count(db) == await count(db, "task") == await count(db, "start_key") == 0


async def test_a_start_in_a_transaction_exists_when_that_commits(client: Client, dsn: str, db: Connection) -> None:
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        handle = await client.start(onboard, ACME, connection=other)
        assert await count(db) == 0
    assert await handle.status() is RunStatus.READY
    await other.close()


async def test_a_conflict_leaves_the_callers_transaction_usable(client: Client, db: Connection) -> None:
    await client.start(onboard, ACME, key="k")
    async with db.transaction():
        await client.start(nothing, key="n", connection=db)
        with pytest.raises(KeyConflict):
            await client.start(onboard, Signup("Other", 1), key="k", connection=db)
        await client.start(nothing, connection=db)
    assert await count(db) == 3


async def test_a_connection_with_codecs_of_its_own_can_be_used(client: Client, db: Connection) -> None:
    for kind in ("json", "jsonb"):
        await db.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await client.start(onboard, ACME, tags={"a": "b"}, connection=db)
    await client.start(onboard, ACME, tags={"a": "b"}, key="k", connection=db)
    rows = await db.fetch("select input, tags from holdfast.run")
    assert [row["input"]["signup"]["company"] for row in rows] == ["Acme", "Acme"]
    assert [row["tags"] for row in rows] == [{"a": "b"}] * 2


# ---- many


async def test_a_hundred_thousand_start_in_bulk(client: Client, db: Connection) -> None:
    handles = await client.start_many(charge.call(number) for number in range(100_000))
    assert await count(db) == await count(db, "task") == 100_000
    ids = [handle.id for handle in handles]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100_000
    row = await db.fetchval("select input from holdfast.run where id = $1", ids[54_321])
    assert json.loads(row) == {"amount": 54_321}


async def test_many_with_different_definitions_keep_their_order(client: Client, db: Connection) -> None:
    calls: list[Call[Any]] = [charge.call(1), nothing.call(), onboard.call(ACME), charge.call(2)]
    handles = await client.start_many(calls, lane="bulk", tags={"batch": "7"})
    rows = {row["id"]: row for row in await db.fetch("select * from holdfast.run")}
    assert [rows[handle.id]["name"] for handle in handles] == ["charge", "nothing", "onboard", "charge"]
    assert {row["lane"] for row in rows.values()} == {"bulk"}


@pytest.mark.parametrize("size", [10, 5_000])
async def test_many_start_all_or_none(client: Client, db: Connection, size: int) -> None:
    calls = [onboard.call(Signup(str(n), n)) for n in range(size)]
    calls[-1] = onboard.call(Signup("x" * LIMIT, 1))
    with pytest.raises(Unstorable):
        await client.start_many(calls)
    assert await count(db) == 0
    assert len(await client.start_many(calls[:-1])) == await count(db) == size - 1


async def test_none_starts_where_one_key_is_in_conflict(client: Client, db: Connection) -> None:
    await client.start(charge, 1, key="k5")
    with pytest.raises(KeyConflict, match="'k5'"):
        await client.start_many([charge.call(n) for n in range(2_000)], keys=[f"k{n}" for n in range(2_000)])
    assert await count(db) == await count(db, "start_key") == 1


async def test_many_with_keys_find_their_runs_again(client: Client, db: Connection) -> None:
    keys = [f"k{n}" for n in range(1_500)]
    calls = [charge.call(n) for n in range(1_500)]
    first = await client.start_many(calls, keys=keys)
    again = await client.start_many(calls[::-1], keys=keys[::-1])
    assert [handle.id for handle in again] == [handle.id for handle in first][::-1]
    assert all(handle.existing for handle in again)
    assert await count(db) == 1_500


async def test_two_who_start_the_same_keys_in_opposite_order_do_not_meet_in_a_deadlock(
    dsn: str, db: Connection
) -> None:
    keys = [f"k{n}" for n in range(3_000)]
    calls = [charge.call(n) for n in range(3_000)]
    async with client_of(dsn) as one, client_of(dsn) as other:
        there, back = await asyncio.gather(
            one.start_many(calls, keys=keys), other.start_many(calls[::-1], keys=keys[::-1])
        )
    assert [handle.id for handle in there] == [handle.id for handle in back][::-1]
    assert await count(db) == 3_000
    assert await db.fetchval("select deadlocks from pg_stat_database where datname = current_database()") == 0


async def test_a_key_twice_in_one_list_is_one_run(client: Client, db: Connection) -> None:
    one, two = await client.start_many([charge.call(1), charge.call(1)], keys=["k", "k"])
    assert one.id == two.id
    assert await count(db) == 1


async def test_keys_and_calls_must_match(client: Client) -> None:
    with pytest.raises(InvalidInput, match="2 calls and 1 keys"):
        await client.start_many([nothing.call()] * 2, keys=["a"])
    with pytest.raises(InvalidInput, match=r"keys\[1\] has 0 characters"):
        await client.start_many([nothing.call()] * 2, keys=["a", ""])


async def test_no_calls_are_no_runs(client: Client) -> None:
    assert await client.start_many([]) == []
    assert await client.start_many([], keys=[]) == []
