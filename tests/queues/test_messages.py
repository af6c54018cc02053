"""Q1: messages are sent, received in batches, acknowledged, archived; delayed; in order of priority, then of time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast import App, InvalidInput, KeyConflict, Queue, RunStatus, Unstorable
from holdfast.client import Client
from holdfast.store.connect import connect
from tests.house import House

NOW = timedelta(0)
SOON = timedelta(seconds=20)
HOUR = timedelta(hours=1)


@dataclass
class Email:
    to: str
    lines: list[str]


async def bodies(queue: Queue[Any], *, batch: int = 100) -> list[Any]:
    """What can be received now; it is acknowledged."""
    messages = await queue.receive(batch=batch, wait=NOW)
    await queue.ack(messages)
    return [message.body for message in messages]


async def left(house: House) -> dict[str, int]:
    """How many rows there are in the tables of runs."""
    return {
        table: await house.value(f"select count(*) from holdfast.{table}")
        for table in ("run", "task", "result", "start_key", "inbox", "pause", "dead_letter")
    }


NOTHING = {"run": 0, "task": 0, "result": 0, "start_key": 0, "inbox": 0, "pause": 0, "dead_letter": 0}


async def test_what_is_sent_is_received_in_batches_and_is_gone_when_it_is_acknowledged(
    house: House, emails: Queue[Any]
) -> None:
    sent = [await emails.send({"number": 0}), *await emails.send_many({"number": number} for number in range(1, 5))]
    first = await emails.receive(batch=2, wait=NOW)
    second = await emails.receive(batch=10, wait=NOW)
    assert [message.id for message in (*first, *second)] == sent
    assert [message.body["number"] for message in (*first, *second)] == [0, 1, 2, 3, 4]
    assert {message.deliveries for message in first} == {1}
    assert await emails.receive(wait=NOW) == []
    await first[0].ack()
    await emails.ack([first[1], *second])
    assert await left(house) == NOTHING


async def test_a_message_says_where_it_comes_from(emails: Queue[Any]) -> None:
    await emails.send("hello", priority="high", headers={"trace": "7"})
    (message,) = await emails.receive(wait=NOW)
    assert (message.queue, message.body, message.priority, dict(message.headers)) == (
        "emails",
        "hello",
        "high",
        {"trace": "7"},
    )
    assert message.sent_at.utcoffset() is not None
    assert repr(message) == f"<message {message.id} of 'emails', delivery 1>"


@pytest.mark.parametrize("body", [None, 0, False, "", [], {}, {"a": [1, None]}, "text", 1.5])
async def test_a_body_is_any_json(emails: Queue[Any], body: Any) -> None:
    await emails.send(body)
    assert await bodies(emails) == [body]


async def test_an_archived_message_stays_as_a_run_that_has_succeeded(
    house: House, client: Client, emails: Queue[Any]
) -> None:
    sent = await emails.send_many(["a", "b", "c"])
    first, *others = await emails.receive(wait=NOW)
    await first.archive({"delivered": True})
    await emails.archive(others)
    assert await client.get(sent[0]).result() == {"delivered": True}
    assert {await client.get(one).status() for one in sent} == {RunStatus.SUCCEEDED}
    described = await client.describe(sent[0])
    assert (described.name, described.input) == ("emails queue", "a")
    assert await left(house) == NOTHING | {"run": 3, "result": 3}


async def test_the_order_is_that_of_priorities_then_of_due_times(house: House, emails: Queue[Any]) -> None:
    await emails.send("low", priority="low")
    await emails.send("medium, later", after=timedelta(minutes=2))
    await emails.send("medium, earlier", after=timedelta(minutes=1))
    await emails.send("critical", priority="critical", after=timedelta(minutes=3))
    await emails.send("very low", priority="very-low")
    await emails.send("high", priority="high")
    await house.advance(HOUR)
    expected = ["critical", "high", "medium, earlier", "medium, later", "low", "very low"]
    found = [(await emails.receive(batch=1, wait=NOW))[0].body for _ in range(2)]
    assert found + [message.body for message in await emails.receive(batch=10, wait=NOW)] == expected


async def test_a_receive_takes_no_more_than_its_batch_from_all_priorities(house: House, emails: Queue[Any]) -> None:
    for priority in ("critical", "medium", "very-low"):
        await emails.send_many(range(10), priority=priority)  # pyright: ignore[reportArgumentType]
    assert len(await emails.receive(batch=15, wait=NOW)) == 15
    assert await house.value("select count(*) from holdfast.task where hold = 1") == 15


async def test_a_delayed_message_is_not_received_before_its_time(house: House, emails: Queue[Any]) -> None:
    await emails.send("in an hour", after=HOUR)
    await emails.send("at a time", at=await house.value("select clock_timestamp() + interval '2 hours'"))
    assert await bodies(emails) == []
    await house.advance(HOUR)
    assert await bodies(emails) == ["in an hour"]
    await house.advance(HOUR)
    assert await bodies(emails) == ["at a time"]


async def test_a_message_in_the_callers_transaction_is_there_with_its_commit(house: House, emails: Queue[Any]) -> None:
    connection = await connect(house.dsn, application="user")
    transaction = connection.transaction()
    await transaction.start()
    await emails.send("one", connection=connection)
    await emails.send_many(["two", "three"], connection=connection)
    assert await bodies(emails) == []
    await transaction.commit()
    assert await bodies(emails) == ["one", "two", "three"]
    transaction = connection.transaction()
    await transaction.start()
    await emails.send_many(["never"], keys=["k"], connection=connection)
    await transaction.rollback()
    assert await bodies(emails) == []
    await connection.close()


async def test_an_acknowledgement_in_the_callers_transaction_counts_with_its_commit(
    house: House, emails: Queue[Any]
) -> None:
    await emails.send_many(["one", "two"])
    one, two = await emails.receive(wait=NOW)
    connection = await connect(house.dsn, application="user")
    await connection.execute("create table handled (body text primary key)")
    for outcome in ("rollback", "commit"):
        transaction = connection.transaction()
        await transaction.start()
        for message in (one, two):
            await connection.execute("insert into handled values ($1)", message.body)
        await one.ack(connection=connection)
        await emails.archive([two], connection=connection)
        await getattr(transaction, outcome)()
        assert await house.value("select count(*) from handled") == (2 if outcome == "commit" else 0)
        assert await house.value("select count(*) from holdfast.task") == (0 if outcome == "commit" else 2)
    await connection.close()


async def test_a_key_makes_one_message_also_after_it_is_acknowledged(house: House, emails: Queue[Any]) -> None:
    first = await emails.send("hello", key="greeting")
    assert await emails.send("hello", key="greeting") == first
    assert await emails.send_many(["hello", "bye"], keys=["greeting", "farewell"]) == [first, (await last(house))]
    with pytest.raises(KeyConflict, match="greeting"):
        await emails.send("another", key="greeting")
    assert await bodies(emails) == ["hello", "bye"]
    assert await emails.send("hello", key="greeting") == first
    assert await bodies(emails) == []
    assert await left(house) == NOTHING | {"run": 2, "result": 2, "start_key": 2}


async def last(house: House) -> Any:
    return await house.value("select run_id from holdfast.start_key where key = 'farewell'")


async def test_keys_of_a_queue_and_of_a_workflow_with_its_name_are_not_the_same(
    client: Client, emails: Queue[Any]
) -> None:
    run = await client.start_by_name("emails", {"to": "Ada"}, key="1")
    message = await emails.send({"to": "Bob"}, key="1")
    assert message != run.id
    with pytest.raises(InvalidInput, match=r"send to it, with client.queue\('emails'\)"):
        await client.start_by_name("emails queue", {})


async def test_no_worker_takes_a_message(house: House, emails: Queue[Any]) -> None:
    app = house.app()

    @app.activity(name="emails")
    async def job() -> str:
        return "a job"

    client = await house.client(app)
    await emails.send({})
    for lane in ("default", "emails"):
        await house.worker(app, lane=lane)
        assert await (await client.start(job, lane=lane)).result(timeout=SOON) == "a job"
    assert await bodies(emails) == [{}]


async def test_queues_are_strangers_to_each_other(client: Client) -> None:
    one, other = client.queue("one"), client.queue("other")
    await one.send(1)
    assert await bodies(other) == []
    (message,) = await one.receive(wait=NOW)
    with pytest.raises(InvalidInput, match="is one of 'one', and this is queue 'other'"):
        await other.ack([message])
    await message.ack()


async def test_bodies_have_the_type_of_the_queue(client: Client) -> None:
    emails = client.queue("emails", Email)
    email = Email("Ada", ["Dear Ada,", "bye"])
    await emails.send(email)
    (message,) = await emails.receive(wait=NOW)
    assert message.body == email
    await message.ack()
    with pytest.raises(InvalidInput, match="a message of queue 'emails'"):
        await emails.send("no email")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.queue("emails").send({"to": "Bob"})
    (message,) = await emails.receive(wait=NOW)
    with pytest.raises(InvalidInput, match="lines"):
        _ = message.body
    await message.dead("it has no lines")


class Reversed:
    """A codec."""

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    decode = encode


async def test_bodies_and_outputs_go_through_the_codec(house: House) -> None:
    async with App(house.dsn, codec=Reversed()).client() as client:
        queue = client.queue("secrets")
        sent = await queue.send("a secret", key="k")
        assert "secret" not in await house.value("select input::text from holdfast.run")
        assert await queue.send("a secret", key="k") == sent
        (message,) = await queue.receive(wait=NOW)
        assert message.body == "a secret"
        await message.archive("another secret")
        assert "secret" not in await house.value("select output::text from holdfast.result")
        assert await client.get(sent).result() == "another secret"


async def test_many_receivers_at_once_get_each_message_once(client: Client, others: Queue[Any]) -> None:
    queues = [client.queue("emails"), others]
    await others.send_many(range(500))
    found: list[int] = []

    async def drain(queue: Queue[Any], batch: int) -> None:
        while messages := await queue.receive(batch=batch, wait=NOW):
            await queue.ack(messages)
            found.extend(message.body for message in messages)

    async with asyncio.TaskGroup() as tasks:
        for queue in queues:
            for batch in (1, 3, 10):
                tasks.create_task(drain(queue, batch))
    # Who has found nothing for a moment because others were at the rows has stopped early.
    await drain(others, 100)
    assert sorted(found) == list(range(500))


# ---- what cannot be used is refused


@pytest.mark.parametrize("name", ["", "two words", "a" * 201, "nul\0", 7])
def test_a_name_that_cannot_be_used(name: Any, client: Client) -> None:
    with pytest.raises(InvalidInput, match="the name of a queue is"):
        client.queue(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "batch is 0: use 1 to 1000"),
        ({"batch": 1001}, "batch is 1001"),
        ({"batch": True}, "batch is True"),
        ({"visibility": NOW}, "visibility is 0:00:00"),
        ({"visibility": 30}, "visibility is 30: use a timedelta"),
        ({"wait": timedelta(seconds=-1)}, "wait is"),
        ({"wait": HOUR * 2}, "wait is 2:00:00"),
    ],
)
async def test_a_receive_that_cannot_be_made(emails: Queue[Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await emails.receive(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priority": "urgent"}, "priority 'urgent'"),
        ({"after": timedelta(seconds=-1)}, "after is"),
        ({"key": ""}, "key has 0 characters"),
        ({"headers": {"a": 1}}, "headers has"),
    ],
)
async def test_a_message_that_cannot_be_sent(
    house: House, emails: Queue[Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=f"a message to 'emails'.*{said}"):
        await emails.send("x", **options)
    assert await left(house) == NOTHING


async def test_of_many_messages_all_are_sent_or_none(house: House, emails: Queue[Any]) -> None:
    with pytest.raises(Unstorable, match="a message to 'emails'"):
        await emails.send_many(["small", "x" * 200_000])
    with pytest.raises(InvalidInput, match="2 bodies and 1 keys"):
        await emails.send_many(["a", "b"], keys=["a"])
    with pytest.raises(InvalidInput, match=r"keys\[1\]"):
        await emails.send_many(["a", "b"], keys=["a", ""])
    assert await emails.send_many([]) == []
    assert await left(house) == NOTHING


async def test_what_is_settled_is_settled_once(emails: Queue[Any]) -> None:
    await emails.send("x")
    (message,) = await emails.receive(wait=NOW)
    with pytest.raises(InvalidInput, match="stands twice"):
        await emails.ack([message, message])
    with pytest.raises(InvalidInput, match="delay is"):
        await message.release(delay=timedelta(seconds=-1))
    with pytest.raises(InvalidInput, match="visibility is"):
        await message.extend(NOW)
    with pytest.raises(InvalidInput, match="reason is"):
        await message.dead("")
    with pytest.raises(Unstorable, match="archived with"):
        await message.archive("x" * 200_000)
    await message.ack()
    for settle in (message.ack, message.archive, message.release):
        with pytest.raises(InvalidInput, match="was settled before"):
            await settle()
    await emails.ack([])
