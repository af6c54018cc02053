"""``holdfast queue``: messages are sent, received and looked at, and queues looked after, from the command line."""

from __future__ import annotations

from holdfast import App
from tests.cli.conftest import Holdfast
from tests.house import House


async def test_messages_are_sent_looked_at_and_received(holdfast: Holdfast) -> None:
    sent = await holdfast("queue", "send", "emails", '{"to": "Ada"}', "--key", "1", "--json")
    again = await holdfast("queue", "send", "emails", '{"to": "Ada"}', "--key", "1", "--json")
    assert sent.code == 0, sent.err
    assert sent.json == again.json
    await holdfast("queue", "send", "emails", '"urgent"', "--priority", "critical")
    await holdfast("queue", "send", "emails", "7", "--after", "1h")
    peeked = (await holdfast("queue", "peek", "emails", "--json")).json["messages"]
    assert [(one["body"], one["state"]) for one in peeked] == [
        ("urgent", "ready"),
        ({"to": "Ada"}, "ready"),
        (7, "delayed"),
    ]
    assert "urgent" in (await holdfast("queue", "peek", "emails")).out
    kept = (await holdfast("queue", "receive", "emails", "--keep", "1h", "--json")).json["messages"]
    assert [one["body"] for one in kept] == ["urgent"]
    received = (await holdfast("queue", "receive", "emails", "--batch", "5", "--json")).json["messages"]
    assert [(one["body"], one["id"]) for one in received] == [({"to": "Ada"}, sent.json["id"])]
    assert "no messages" in (await holdfast("queue", "receive", "emails")).out
    (row,) = (await holdfast("queue", "list", "--json")).json["queues"]
    assert (row["queue"], row["depth"], row["delayed"], row["in_flight"]) == ("emails", 0, 1, 1)
    assert "emails" in (await holdfast("queue", "list")).out


async def test_dead_letters_are_listed_redriven_and_purged(holdfast: Holdfast, house: House) -> None:
    async with App(house.dsn).client() as client:
        sent = await client.queue("emails").send_many(["a", "b", "c"])
        for message in await client.queue("emails").receive():
            await message.dead("bad")
    listed = (await holdfast("queue", "dead", "emails", "--json")).json
    assert [(one["body"], one["reason"]) for one in listed["dead_letters"]] == [
        ("a", "bad"),
        ("b", "bad"),
        ("c", "bad"),
    ]
    assert "bad" in (await holdfast("queue", "dead", "emails")).out
    assert (await holdfast("queue", "redrive", "emails", str(sent[1]), "--json")).json == {"redriven": 1}
    assert (await holdfast("queue", "purge", "emails", "--dead", str(sent[0]), "--json")).json == {"purged": 1}
    assert (await holdfast("queue", "purge", "emails", "--json")).json == {"purged": 1}
    assert (await holdfast("queue", "redrive", "emails")).out.strip() == "1 redriven"


async def test_a_queue_is_paused_and_resumed(holdfast: Holdfast) -> None:
    await holdfast("queue", "send", "emails", "1")
    assert (await holdfast("queue", "pause", "emails")).code == 0
    assert (await holdfast("queue", "receive", "emails", "--json")).json == {"messages": []}
    assert "(paused)" in (await holdfast("queue", "list")).out
    assert "the queue is paused" in (await holdfast("queue", "receive", "emails")).out
    assert (await holdfast("queue", "resume", "emails")).code == 0
    assert len((await holdfast("queue", "receive", "emails", "--json")).json["messages"]) == 1


async def test_what_cannot_be_done_is_said(holdfast: Holdfast) -> None:
    assert (await holdfast("queue", "send", "emails", "no json")).code == 2
    assert (await holdfast("queue", "purge", "emails", "some-id")).code == 2
    assert (await holdfast("queue", "redrive", "emails", "no-id")).code != 0
