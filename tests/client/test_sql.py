"""From SQL: a trigger, a migration or another language is a client, with the same checks as far as SQL has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from holdfast import RunFailed, Signal, run_info
from holdfast.store.connect import connect
from holdfast.store.roles import roles_sql
from tests.house import House, eventually
from tests.scenarios.soon import SOON

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class Order:
    number: int
    article: str


async def refused(db: Connection, statement: str, *arguments: object) -> dict[str, Any]:
    """What the database says to a statement that it refuses."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await db.execute(statement, *arguments)
    return caught.value.as_dict()


# ---- from a trigger

TRIGGER = """
create table orders (number int primary key, article text not null, run uuid);

create function ship_order() returns trigger language plpgsql as $$
begin
  new.run := holdfast.start('ship',
                            json_build_object('order', json_build_object('number', new.number, 'article', new.article)),
                            key => 'order:' || new.number, tags => jsonb_build_object('article', new.article));
  return new;
end $$;

create trigger ship before insert on orders for each row execute function ship_order();
"""


async def test_a_trigger_on_a_table_of_the_user_starts_a_run_with_each_row(house: House) -> None:
    app = house.app()

    @app.workflow
    async def ship(order: Order) -> str:
        return f"{order.number}: {order.article}"

    await house.db.execute(TRIGGER)
    client = await house.client(app)
    await house.worker(app)
    async with house.db.transaction():
        await house.db.execute("insert into orders select n, 'chair' from generate_series(1, 20) as n")
    runs = {row["number"]: row["run"] for row in await house.db.fetch("select number, run from orders")}
    for number, run in runs.items():
        assert await client.get(run, ship).result(timeout=SOON) == f"{number}: chair"
    assert len(await client.list(tags={"article": "chair"})) == 20
    await house.check_invariants()


async def test_what_a_trigger_started_is_rolled_back_with_its_row(house: House) -> None:
    await house.db.execute(TRIGGER)
    transaction = house.db.transaction()
    await transaction.start()
    await house.db.execute("insert into orders values (1, 'chair')")
    assert await house.value("select count(*) from holdfast.task") == 1
    await transaction.rollback()
    with pytest.raises(asyncpg.UniqueViolationError):
        await house.db.execute("insert into orders values (1, 'chair'), (1, 'chair')")
    counts = "select (select count(*) from holdfast.run) + (select count(*) from holdfast.start_key)"
    assert await house.value(counts) == 0
    # To a savepoint, too; and the key is free again.
    async with house.db.transaction():
        await house.db.execute("savepoint before; insert into orders values (1, 'chair'); rollback to before")
        await house.db.execute("insert into orders values (1, 'table')")
    assert await house.value("select tags ->> 'article' from holdfast.run") == "table"
    await house.check_invariants()


@pytest.fixture
async def shopper(house: House) -> AsyncIterator[str]:
    """A user who may write orders, and has a client's rights in Holdfast's schema."""
    name = f"shopper_{house.db.get_server_pid()}"
    await house.db.execute(roles_sql("holdfast"))
    await house.db.execute(TRIGGER)
    await house.db.execute(f"create role {name} in role holdfast_client; grant insert, select on orders to {name}")
    yield name
    await house.db.execute("reset role")
    for role in (name, "holdfast_client", "holdfast_driver", "holdfast_worker"):
        await house.db.execute(f"drop owned by {role}")
    await house.db.execute(f"drop role {name}")


async def test_the_rights_of_a_client_are_enough_for_all_of_it(house: House, shopper: str) -> None:
    await house.db.execute(f"set role {shopper}")
    await house.db.execute("insert into orders values (1, 'chair')")
    run = await house.value("select run from orders")
    assert await house.value("select holdfast.signal($1, 'go', '1', key => 'once')", run) is True
    assert await house.value("select holdfast.signal($1, 'go', '1', key => 'once')", run) is False
    assert await house.value("select holdfast.cancel($1)", run) == "cancelled"
    assert (await refused(house.db, "delete from holdfast.run"))["sqlstate"] == "42501"


# ---- options


async def test_every_option_of_a_start_can_be_said(house: House) -> None:
    app = house.app()
    seen: list[tuple[str, str, dict[str, str]]] = []

    @app.workflow
    async def look() -> dict[str, str]:
        info = run_info()
        seen.append((info.lane, info.priority, dict(info.tags)))
        return dict(info.headers)

    client = await house.client(app)
    await house.worker(app, lane="mail")
    run = await house.value(
        """
        select holdfast.start(name => 'look', input => '{}', key => 'k', lane => 'mail', priority => 'high',
                              after => interval '10 ms', timeout => interval '1 hour', tags => '{"tenant": "acme"}',
                              headers => '{"trace": "abc"}')
        """
    )
    assert await client.get(run, look).result(timeout=SOON) == {"trace": "abc"}
    assert seen == [("mail", "high", {"tenant": "acme"})]
    at = await house.value("select holdfast.start('look', at => '2101-01-01 00:00+00')")
    assert await house.value("select due_at = '2101-01-01 00:00+00' from holdfast.task where run_id = $1", at)
    await house.check_invariants()


async def test_ids_are_made_by_the_database_and_grow_within_a_statement(house: House) -> None:
    before = await house.value("select clock_timestamp()")
    ids: list[UUID] = [
        row["id"]
        for row in await house.db.fetch(
            "select holdfast.start('idle') as id, pg_sleep(0.000002) from generate_series(1, 300)"
        )
    ]
    assert ids == sorted(set(ids))
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    times = [one.int >> 80 for one in ids]
    assert int(before.timestamp() * 1000) <= times[0] <= times[-1]
    assert times[-1] <= int((await house.value("select clock_timestamp()")).timestamp() * 1000)


async def test_a_statement_that_starts_many_sends_one_hint_for_a_lane(house: House) -> None:
    listener = await connect(house.dsn, application="tests")
    heard: list[str] = []

    def hear(*said: Any) -> None:
        heard.append(str(said[3]))

    try:
        await listener.add_listener("holdfast", hear)
        await house.db.execute("select holdfast.start('idle', lane => 'mail') from generate_series(1, 500)")
        await house.db.execute("select pg_notify('holdfast', 'that was all')")
        await eventually(lambda: "that was all" in heard, "the last hint has come")
        assert heard == ["due mail", "that was all"]
        # And none where the caller wants none: looking finds it all.
        await house.db.execute("begin; set local holdfast.hints = 'off'; select holdfast.start('idle'); commit")
        await house.db.execute("select pg_notify('holdfast', 'no more')")
        await eventually(lambda: "no more" in heard, "the last hint has come")
        assert heard[2:] == ["no more"]
    finally:
        await listener.close()


# ---- keys


WAITS = "select wait_event_type = 'Lock' from pg_stat_activity where pid = $1"


async def test_of_two_who_start_with_one_key_at_once_the_second_finds_the_run_of_the_first(house: House) -> None:
    one, other = [await connect(house.dsn, application="tests") for _ in range(2)]
    call = "select holdfast.start('idle', '{\"n\": 1}', key => $1)"
    try:
        for key, end, same in (("a", "rollback", False), ("b", "commit", True)):
            await one.execute("begin")
            first = await one.fetchval(call, key)
            second = asyncio.create_task(other.fetchval(call, key))
            await house.until(WAITS, other.get_server_pid())
            await one.execute(end)
            assert (await second == first) is same
        assert await house.value("select count(*) from holdfast.run") == 2
        await house.check_invariants()
    finally:
        await one.close()
        await other.close()


async def test_fifty_who_start_with_one_key_make_one_run(house: House) -> None:
    connections = [await connect(house.dsn, application="tests") for _ in range(10)]
    try:
        call = "select holdfast.start('idle', '{\"n\": 1}', key => 'k') from generate_series(1, 5)"
        answers = await asyncio.gather(*[one.fetch(call) for one in connections])
        assert len({row[0] for rows in answers for row in rows}) == 1
        assert await house.value("select count(*) from holdfast.run") == 1
        await house.check_invariants()
    finally:
        for one in connections:
            await one.close()


async def test_a_key_of_another_input_says_whose_it_is_and_what_to_do(house: House) -> None:
    run = await house.value("select holdfast.start('idle', '{\"n\": 1}', key => 'k')")
    said = await refused(house.db, "select holdfast.start('idle', '{\"n\": 2}', key => 'k')")
    assert said["sqlstate"] == "HF005"
    assert said["message"] == f"key k of idle belongs to run {run}, which was started with another input"
    assert said["detail"] == str(run)
    assert said["hint"].startswith("Use another key, or the run that it belongs to")


async def test_a_key_is_its_runs_for_as_long_as_was_said(house: House) -> None:
    call = (
        "select holdfast.start('idle', json_build_object('n', $1::int), key => 'k', key_window => $2, key_taken => $3)"
    )
    first = await house.value(call, 1, "open", "reject")
    said = await refused(house.db, call, 1, "open", "reject")
    assert (said["sqlstate"], said["detail"]) == ("HF010", str(first))
    assert await house.value(call, 1, "open", "return_existing") == first
    second = await house.value(call, 2, "1 hour", "replace")
    assert await house.value("select status from holdfast.runs where id = $1", first) == "cancelled"
    assert await house.value(call, 2, "open", "return_existing") == second
    await house.advance(timedelta(hours=1))
    third = await house.value(call, 3, "forever", "reject")
    assert len({first, second, third}) == 3
    for window, taken, message in (
        ("soon", "reject", "key_window 'soon' is not forever, open or an interval of more than zero"),
        ("0", "reject", "key_window '0' is not"),
        ("open", "steal", "key_taken 'steal' is not one of return_existing, reject, replace"),
    ):
        assert message in (await refused(house.db, call, 1, window, taken))["message"]
    await house.check_invariants()


# ---- messages


async def test_a_message_is_sent_in_the_transaction_of_a_trigger_and_received(house: House) -> None:
    client = await house.client(house.app())
    emails = client.queue("emails", Order)
    await house.db.execute(
        """
        create table mails (number int primary key, article text);
        create function mail() returns trigger language plpgsql as $$
        begin
          perform holdfast.send('emails', to_json(new), key => 'mail:' || new.number, headers => '{"trace": "abc"}');
          return new;
        end $$;
        create trigger mail after insert on mails for each row execute function mail();
        """
    )
    transaction = house.db.transaction()
    await transaction.start()
    await house.db.execute("insert into mails values (1, 'undone')")
    await transaction.rollback()
    assert await emails.receive(wait=timedelta(0)) == []
    waiting = asyncio.create_task(emails.receive(wait=SOON))
    await house.db.execute("insert into mails values (1, 'chair')")
    (message,) = await waiting
    assert (message.body, dict(message.headers)) == (Order(1, "chair"), {"trace": "abc"})
    # Its key is that of Python's, and stays when it has been acknowledged.
    assert await emails.send(Order(1, "chair"), key="mail:1") == message.id
    await message.ack()
    again = "select holdfast.send('emails', '{\"number\": 1, \"article\": \"chair\"}', key => 'mail:1')"
    assert await house.value(again) == message.id
    assert await emails.receive(wait=timedelta(0)) == []
    await house.check_invariants()


async def test_a_message_from_sql_has_the_options_of_one_from_python(house: House) -> None:
    queue = (await house.client(house.app())).queue("emails")
    await house.value("select holdfast.send('emails', after => '1 hour')")
    await house.value("select holdfast.send('emails', '[1, 2]', priority => 'low')")
    await house.value("select holdfast.send('emails', null, priority => 'high')")
    assert [message.body for message in await queue.receive(wait=timedelta(0))] == [None, [1, 2]]
    said = await refused(
        house.db,
        "select holdfast.send('my emails', to_json(repeat('x', 131072)), key => '', priority => 'urgent', "
        "headers => '1')",
    )
    assert said["sqlstate"] == "HF007"
    assert set(said["detail"].split()) == {"queue", "body", "key", "priority", "headers"}
    assert said["message"].startswith("the message cannot be sent: body has 131074 bytes: use 131072 at most")
    assert "queue 'my emails' is not 1 to 200 characters without blanks" in said["message"]
    await house.value("select holdfast.send('emails', '1', key => 'k')")
    said = await refused(house.db, "select holdfast.send('emails', '2', key => 'k')")
    assert said["sqlstate"] == "HF005"
    await house.check_invariants()


# ---- what is refused


async def test_all_that_is_wrong_with_a_start_is_said_at_once(house: House) -> None:
    said = await refused(
        house.db,
        """
        select holdfast.start('ship', '[1]', key => '', lane => 'a b', priority => 'urgent', at => now(),
                              after => '-1 s', timeout => '0', tags => '{"a": 1}', headers => '[]')
        """,
    )
    assert said["sqlstate"] == "HF007"
    assert said["message"].startswith(
        "'ship' cannot be started: input is one JSON object by parameter name, not array; "
    )
    for words in (
        "key has 0 characters: use 1 to 500",
        "lane 'a b' is not 1 to 200 characters without blanks",
        "priority 'urgent' is not one of very-low, low, medium, high, critical",
        "give at or after, not both",
        "after is zero or more",
        "timeout more than zero",
        'tags is one JSON object of texts, not {"a": 1}',
        "headers is one JSON object of texts, not []",
    ):
        assert words in said["message"]
    assert set(said["detail"].split()) == {
        "input",
        "key",
        "lane",
        "priority",
        "at",
        "after",
        "timeout",
        "tags",
        "headers",
    }
    assert said["hint"].startswith("Nothing was written.")
    assert await house.value("select count(*) from holdfast.run") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("repeat('x', 201)", "name has 201 characters: use 1 to 200"),
        ("'a@2'", "name a@2 has an @"),
        ("'a', at => 'infinity'", "at is infinity: use a time before the year 9999"),
        ("'a', at => '20000-01-01 00:00+00'", "use a time before the year 9999"),
        ("'a', after => '400000 days'", "at most 365000 days"),
        ("'a', timeout => '400000 days'", "at most 365000 days"),
        (
            "'a', headers => jsonb_build_object('a', repeat('x', 8200))",
            "use 8192 at most, and the input for what is larger",
        ),
        ("'a', json_build_object('a', repeat('x', 131072))", "input has 131082 bytes: use 131072 at most"),
    ],
)
async def test_an_option_of_a_start_that_cannot_be_used(house: House, arguments: str, message: str) -> None:
    said = await refused(house.db, f"select holdfast.start({arguments})")
    assert said["sqlstate"] == "HF007"
    assert message in said["message"]
    assert await house.value("select count(*) from holdfast.run") == 0


@pytest.mark.parametrize(
    ("arguments", "message", "detail"),
    [
        ("null", "a signal needs a name", "name"),
        ("repeat('x', 201)", "name has 201 characters: use 1 to 200", "name"),
        ("'go', '1', ''", "key has 0 characters: use 1 to 500", "key"),
        ("'go', to_json(repeat('x', 131072))", "payload has 131074 bytes: use 131072 at most", "payload"),
    ],
)
async def test_a_signal_that_cannot_be_used(house: House, arguments: str, message: str, detail: str) -> None:
    run = await house.value("select holdfast.start('idle')")
    said = await refused(house.db, f"select holdfast.signal($1, {arguments})", run)
    assert (said["sqlstate"], said["detail"]) == ("HF007", detail)
    assert message in said["message"]
    assert await house.value("select count(*) from holdfast.inbox") == 0


async def test_the_limit_of_payloads_is_a_setting_and_does_not_hold_for_apps_with_one_of_their_own(
    house: House,
) -> None:
    await house.db.execute("set holdfast.payload_limit = '20'")
    run = await house.value("select holdfast.start('idle', '{\"n\": 1}')")
    for statement in (
        "select holdfast.start('idle', '{\"text\": \"far too long\"}')",
        f"select holdfast.signal('{run}', 'go', '\"this is far too long\"')",
        "select holdfast.complete('token', '\"this is far too long\"')",
    ):
        assert "use 20 at most (the setting holdfast.payload_limit)" in (await refused(house.db, statement))["message"]
    client = await house.client(house.app(payload_limit=300_000))
    large = await client.start_by_name("idle", {"text": "x" * 200_000}, connection=house.db)
    assert await large.signal_by_name("go", "x" * 200_000, connection=house.db)


async def test_what_nobody_can_receive_says_so(house: House) -> None:
    nobody = await house.value("select holdfast.uuid7()")
    for verb in ("signal($1, 'go')", "cancel($1)", "pause($1)", "resume($1)", "terminate($1)", "update($1, 'go')"):
        for run in (nobody, None):
            said = await refused(house.db, f"select holdfast.{verb}", run)
            assert said["sqlstate"] == "HF003", verb
            assert said["hint"] == "It may have been rolled back, or be in another database or schema."
    run = await house.value("select holdfast.start('idle')")
    assert await house.value("select holdfast.cancel($1)", run) == "cancelled"
    said = await refused(house.db, "select holdfast.signal($1, 'go')", run)
    assert (said["sqlstate"], said["detail"]) == ("HF004", str(run))
    assert said["hint"].startswith("Nothing can be sent to it any more")


# ---- what SQL cannot check


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ('{"order": {"number": "one", "article": "chair"}}', "number"),
        ('{"order": {"number": 1}}', "article"),
        ("{}", "order"),
        ('{"order": {"number": 1, "article": "chair"}, "more": 1}', "more"),
        ('{"order": {"number": 1, "article": "\\ud800"}}', ""),
        ('{"order": {"number": 1e999999, "article": "chair"}}', ""),
        ('{"order": ' + "[" * 1_000 + "]" * 1_000 + "}", ""),
    ],
)
async def test_what_only_the_code_can_check_fails_the_run_for_good_and_says_why(
    house: House, input: str, message: str
) -> None:
    app = house.app()
    called: list[Order] = []

    @app.workflow
    async def ship(order: Order) -> None:
        called.append(order)

    @app.activity
    async def send(order: Order) -> None:
        called.append(order)

    client = await house.client(app)
    await house.worker(app)
    for name in ("ship", "send"):
        run = await house.value("select holdfast.start($1, $2)", name, input)
        with pytest.raises(RunFailed) as caught:
            await client.get(run).result(timeout=SOON)
        assert "InvalidInput" in caught.value.type_name
        assert message in caught.value.message
        assert await house.value("select count(*) from holdfast.journal where run_id = $1 and kind = 2", run) == 0
    assert called == []
    await house.check_invariants()


async def test_a_signal_that_does_not_fit_its_type_is_an_error_where_it_is_waited_for(house: House) -> None:
    app = house.app()
    decision = Signal[Order]("decision")

    @app.workflow
    async def wait() -> str:
        try:
            return (await decision.wait()).article
        except Exception as error:
            return type(error).__name__

    client = await house.client(app)
    await house.worker(app)
    run = await house.value("select holdfast.start('wait')")
    await house.value("select holdfast.signal($1, 'decision', '{\"number\": \"x\"}')", run)
    assert await client.get(run, wait).result(timeout=SOON) == "InvalidInput"


async def test_how_a_run_stands_and_ended_can_be_read(house: House) -> None:
    app = house.app()

    @app.workflow
    async def ship(order: Order) -> str:
        if order.number == 0:
            raise ValueError("there is no order 0")
        return order.article

    run, wrong = [
        await house.value("select holdfast.start('ship', $1)", json.dumps({"order": {"number": n, "article": "chair"}}))
        for n in (1, 0)
    ]
    assert await house.value("select status from holdfast.runs where id = $1", run) == "ready"
    await house.worker(app)
    await house.ended(run, wrong)
    assert await house.value("select output #>> '{}' from holdfast.result where run_id = $1", run) == "chair"
    assert await house.value("select error ->> 'message' from holdfast.result where run_id = $1", wrong) == (
        "there is no order 0"
    )
