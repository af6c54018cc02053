"""Starting runs, from Python's statements and from plain SQL: once each, whatever the keys and the company."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.store import starts
from tests.store.ground import Ground, both, new_id

HOUR = timedelta(hours=1)


def start(
    *,
    key: str | None = None,
    digest: bytes | None = b"digest",
    input: str = '{"a":1}',
    run_id: UUID | None = None,
    name: str = "flow",
    **manner: Any,
) -> starts.Start:
    options: dict[str, Any] = {
        "kind": 1,
        "name": name,
        "lane": "default",
        "priority": 3,
        "due": None,
        "after": None,
        "timeout": None,
        "tags": None,
    }
    return starts.Start(
        id=run_id or new_id(), input=input, manner=starts.Manner(**(options | manner)), key=key, digest=digest
    )


@pytest.fixture(params=["start_plain", "start_keyed"])
def send(request: pytest.FixtureRequest) -> Any:
    """Both ways of sending starts without keys."""
    return getattr(starts, request.param)


# -- without keys


async def test_a_start_makes_a_run_and_its_task(ground: Ground, send: Any) -> None:
    asked = start(kind=2, lane="mail", priority=5, tags='{"a": "b"}', timeout=HOUR, input='{"a": "\\u0000"}')
    assert await send(ground.session, [asked], hint=True) == [starts.Started(asked.id, existing=False, same=True)]
    run = await ground.db.fetchrow("select * from holdfast.run")
    task = await ground.held(asked.id)
    assert run is not None
    assert dict(run) == {
        "id": asked.id,
        "kind": 2,
        "name": "flow",
        "lane": "mail",
        "priority": 5,
        "input": '{"a": "\\u0000"}',
        "parent": None,
        "root": None,
        "parent_key": None,
        "tags": '{"a": "b"}',
        "options": None,
        "trace": None,
        "created_at": task["due_at"],
        "continued_from": None,
        "continuation": None,
    }
    assert task == {
        "run_id": asked.id,
        "name": "flow",
        "lane": "mail",
        "priority": 5,
        "due_at": task["due_at"],
        "bucket_id": None,
        "hold": 0,
        "inbox_count": 0,
        "waits_inbox": False,
        "wake_at": None,
        "crashes": 0,
        "flags": 0,
        "first_claim_at": None,
        "deadline": task["due_at"] + HOUR,
        "waits_for": None,
    }


async def test_a_start_is_due_when_it_was_asked_to_be_but_never_in_the_past(ground: Ground, send: Any) -> None:
    past, future = datetime.fromisoformat("2001-01-01T00:00Z"), datetime.fromisoformat("2101-01-01T00:00Z")
    asked = [start(due=past), start(due=future), start(after=HOUR), start(), start(after=-HOUR)]
    await send(ground.session, asked, hint=False)
    created = await ground.value("select min(created_at) from holdfast.run")
    due = [(await ground.held(one.id))["due_at"] for one in asked]
    assert due == [created, future, created + HOUR, created, created]


async def test_a_batch_sent_twice_makes_each_run_once(ground: Ground, send: Any) -> None:
    asked = [start(lane=lane) for lane in ("a", "b", "a")]
    first = await send(ground.session, asked[:2], hint=True)
    before = await ground.everything()
    assert await send(ground.session, asked[:2], hint=True) == first
    assert await ground.everything() == before
    await send(ground.session, asked, hint=True)
    after = await ground.everything()
    assert (len(after["run"]), len(after["task"])) == (3, 3)
    # Also where the run has ended by then.
    await ground.execute("delete from holdfast.task")
    await send(ground.session, asked, hint=True)
    assert (await ground.everything())["task"] == []


async def test_a_start_joins_the_callers_transaction(ground: Ground, send: Any) -> None:
    transaction = ground.db.transaction()
    await transaction.start()
    await send(ground.session, [start()], hint=True)
    await transaction.rollback()
    assert await ground.value("select count(*) from holdfast.run") == 0


# -- keys


async def test_a_key_finds_the_run_that_it_belongs_to(ground: Ground) -> None:
    first, again, other = start(key="k"), start(key="k"), start(key="k", digest=b"other")
    elsewhere = start(key="k", name="job")
    for asked, expected in (
        (first, starts.Started(first.id, existing=False, same=True)),
        (first, starts.Started(first.id, existing=False, same=True)),
        (again, starts.Started(first.id, existing=True, same=True)),
        (other, starts.Started(first.id, existing=True, same=False)),
        (elsewhere, starts.Started(elsewhere.id, existing=False, same=True)),
    ):
        assert await starts.start_keyed(ground.session, [asked], hint=True) == [expected]
    assert await ground.value("select count(*) from holdfast.task") == 2


async def test_a_key_is_kept_after_its_run_has_ended(ground: Ground) -> None:
    first = start(key="k")
    await starts.start_keyed(ground.session, [first], hint=False)
    hand = await ground.worker()
    await hand.take(first.id)
    await hand.flush(hand.end(first.id))
    (found,) = await starts.start_keyed(ground.session, [start(key="k")], hint=False)
    assert found == starts.Started(first.id, existing=True, same=True)
    assert await ground.value("select count(*) from holdfast.task") == 0


@pytest.mark.parametrize("digests", [True, False])
async def test_keys_that_come_twice_in_one_batch_make_one_run(ground: Ground, digests: bool) -> None:
    def one(input: str) -> starts.Start:
        return start(key="k", input=input, digest=input.encode() if digests else None)

    plain = start()
    batch = [one('{"a":1}'), plain, one('{"a":1}'), one('{"a":2}')]
    first = batch[0].id
    assert await starts.start_keyed(ground.session, batch, hint=True) == [
        starts.Started(first, existing=False, same=True),
        starts.Started(plain.id, existing=False, same=True),
        starts.Started(first, existing=True, same=True),
        starts.Started(first, existing=True, same=False),
    ]
    assert await ground.value("select count(*) from holdfast.task") == 2
    assert await ground.value("select input from holdfast.run where id = $1", first) == '{"a":1}'


async def test_of_starts_with_one_key_at_the_same_time_one_makes_the_run(ground: Ground) -> None:
    sessions = [await ground.more() for _ in range(6)]
    for number in range(5):
        batches = [
            [start(key=f"{number}-{key}") for key in order] for order in ("abc", "cba", "bca", "acb", "bac", "cab")
        ]
        answers = await both(
            *[starts.start_keyed(s, batch, hint=True) for s, batch in zip(sessions, batches, strict=True)]
        )
        owners: dict[str, set[UUID]] = {}
        for batch, answer in zip(batches, answers, strict=True):
            for asked, started in zip(batch, answer, strict=True):
                assert started.same
                owners.setdefault(asked.key or "", set()).add(started.id)
        assert [len(ids) for ids in owners.values()] == [1, 1, 1]
    assert await ground.value("select count(*) from holdfast.run") == 15
    assert await ground.value("select count(*) from holdfast.task") == 15


@pytest.mark.parametrize("committed", [True, False])
async def test_a_start_that_waited_for_its_key_is_not_due_in_the_past(ground: Ground, committed: bool) -> None:
    waiting = await ground.more()
    transaction = ground.db.transaction()
    await transaction.start()
    first, second = start(key="k"), start(key="k")
    await starts.start_keyed(ground.session, [first], hint=False)
    answer = asyncio.ensure_future(starts.start_keyed(waiting, [second], hint=False))
    await ground.waits(waiting)
    waited_until = await ground.value("select clock_timestamp()")
    await (transaction.commit() if committed else transaction.rollback())
    (started,) = await answer
    assert started.id == (first if committed else second).id
    if not committed:
        # A claim does not look below its watermark, nor a sweep below the floor.
        assert (await ground.held(second.id))["due_at"] > waited_until


# -- from plain SQL


async def test_sql_starts_a_run_by_name_alone(ground: Ground) -> None:
    run = await ground.value("select holdfast.start('flow')")
    assert run.version == 7
    row = await ground.db.fetchrow(
        "select kind, name, lane, priority, input, tags from holdfast.run where id = $1", run
    )
    assert row is not None
    assert tuple(row) == (1, "flow", "default", 3, "{}", None)
    assert await ground.is_due(run)


@pytest.mark.parametrize(("word", "number"), [("very-low", 1), ("low", 2), ("medium", 3), ("high", 4), ("critical", 5)])
async def test_sql_starts_with_every_option(ground: Ground, word: str, number: int) -> None:
    at = datetime.fromisoformat("2101-01-01T00:00Z")
    run = await ground.value(
        "select holdfast.start('flow', input => $1, key => 'k', lane => 'mail', priority => $2, at => $3, "
        "timeout => '2 hours', tags => '{\"tenant\": \"acme\"}')",
        *('{"n": 1.10}', word, at),
    )
    task = await ground.held(run)
    row = await ground.db.fetchrow(
        "select lane, priority, input, tags, created_at from holdfast.run where id = $1", run
    )
    assert row is not None
    assert tuple(row)[:4] == ("mail", number, '{"n": 1.10}', '{"tenant": "acme"}')
    assert (task["due_at"], task["priority"], task["lane"]) == (at, number, "mail")
    assert task["deadline"] == row["created_at"] + 2 * HOUR


async def test_sql_starts_after_a_while(ground: Ground) -> None:
    run = await ground.value("select holdfast.start('flow', after => '1 hour')")
    assert (await ground.held(run))["due_at"] == await ground.value(
        "select created_at + '1 hour'::interval from holdfast.run"
    )


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_sql_starts_inside_the_callers_transaction(ground: Ground, level: str) -> None:
    await ground.execute("create table account (id int)")
    for end, count in (("rollback", 0), ("commit", 1)):
        await ground.execute(f"begin isolation level {level}")
        await ground.execute("insert into account values (1)")
        run = await ground.value("select holdfast.start('flow', key => 'k')")
        await ground.execute(end)
        assert await ground.value("select count(*) from account") == count
        assert (await ground.task(run) is not None) is bool(count)


@pytest.mark.parametrize(
    ("input", "same"),
    [('{"a": 1, "b": [2]}', True), ('{"b":[2.0],"a":1}', True), ('{"a": 2, "b": [2]}', False), (None, False)],
)
async def test_sql_compares_the_inputs_of_a_key(ground: Ground, input: str | None, same: bool) -> None:
    run = await ground.value("select holdfast.start('flow', '{\"a\": 1, \"b\": [2]}', 'k')")
    if same:
        assert await ground.value("select holdfast.start('flow', $1, 'k')", input) == run
        return
    with pytest.raises(asyncpg.PostgresError, match="was started with another input") as raised:
        await ground.value("select holdfast.start('flow', $1, 'k')", input)
    assert raised.value.sqlstate == "HF005"
    assert raised.value.as_dict()["detail"] == str(run)


async def test_sql_and_python_share_their_keys(ground: Ground) -> None:
    first = start(key="k", input='{"a":1}')
    await starts.start_keyed(ground.session, [first], hint=False)
    assert await ground.value("select holdfast.start('flow', '{\"a\": 1}', 'k')") == first.id
    with pytest.raises(asyncpg.PostgresError, match="another input"):
        await ground.value("select holdfast.start('flow', '{\"a\": 2}', 'k')")
    run = await ground.value("select holdfast.start('flow', '{\"a\": 1}', 'sql')")
    answers = await starts.start_keyed(
        ground.session, [start(key="sql", input='{"a":1}'), start(key="sql", input='{"a":3}')], hint=False
    )
    assert answers == [starts.Started(run, existing=True, same=same) for same in (True, False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("''", "start needs the name of a workflow or activity"),
        ("null", "start needs the name of a workflow or activity"),
        ("'flow', priority => 'urgent'", "priority 'urgent' is not one of very-low, low, medium, high, critical"),
        ("'flow', priority => null", "priority NULL is not one of"),
        ("'flow', lane => null", "lane NULL is not"),
        ("'flow', lane => ''", "lane '' is not"),
        ("'flow', lane => 'a b'", "lane 'a b' is not 1 to 200 characters without blanks"),
        ("'flow', key => ''", "key has 0 characters: use 1 to 500"),
        ("'flow', key => repeat('x', 501)", "key has 501 characters: use 1 to 500"),
        ("'flow', at => now(), after => '1 s'", "give at or after, not both"),
        ("'flow', after => '-1 s'", "after is zero or more"),
        ("'flow', timeout => '0'", "timeout more than zero"),
        ("'flow', '[1]'", "input is one JSON object by parameter name, not array"),
        ("'flow', '1'", "input is one JSON object by parameter name, not number"),
        ("'flow', 'null'", "input is one JSON object by parameter name, not null"),
        ("'flow', tags => '[]'", "tags is one JSON object of texts"),
        ("'flow', tags => '{\"a\": 1}'", "tags is one JSON object of texts"),
    ],
)
async def test_sql_is_told_what_is_wrong(ground: Ground, arguments: str, message: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await ground.value(f"select holdfast.start({arguments})")
    assert message in str(raised.value)
    assert raised.value.sqlstate == "HF007"
    assert await ground.value("select count(*) from holdfast.run") == 0


async def test_sql_refuses_what_is_no_json(ground: Ground) -> None:
    with pytest.raises(asyncpg.PostgresError, match="invalid input syntax for type json"):
        await ground.value("select holdfast.start('flow', '{not json}')")


async def test_a_role_with_rights_on_tables_only_can_do_what_clients_do(ground: Ground) -> None:
    role = f"sender_{ground.db.get_server_pid()}"
    await ground.execute(f"create role {role}")
    try:
        await ground.execute(f"grant usage on schema holdfast to {role}")
        await ground.execute(f"grant select, insert, delete on all tables in schema holdfast to {role}")
        await ground.execute(f"grant update (inbox_count, due_at, flags) on holdfast.task to {role}")
        await ground.execute(f"set role {role}")
        run = await ground.value("select holdfast.start('flow', '{}', 'k')")
        assert await ground.value("select holdfast.signal($1, 'upgrade', '1', 'k')", run) is True
        assert await ground.value("select holdfast.cancel($1)", run) == "cancelled"
        assert json.loads(await ground.value("select to_json(status)::text from holdfast.runs")) == "cancelled"
    finally:
        await ground.execute("reset role")
        await ground.execute(f"drop owned by {role}")
        await ground.execute(f"drop role {role}")
