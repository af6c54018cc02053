"""``holdfast queue list``, ``peek`` and ``dead``."""

from __future__ import annotations

import dataclasses

import click
from rich.table import Table
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.client import DeadLetter, MessageView


@click.command("list")
@with_door()
async def list_queues(door: Door) -> None:
    """List all queues that have messages or consumers, are paused or were configured.

    \b
      holdfast queue list

    JSON: {"queues": [{"queue", "depth", "delayed", "in_flight", "dead", "oldest", "rate", "consumers", "paused",
    "max_deliveries"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue list", hints=False) as client:
        found = await client.queue.list()
    drawn = _table("queue", "depth", "delayed", "in flight", "dead", "oldest", "rate", "consumers")
    for one in found:
        counts = (one.depth, one.delayed, one.in_flight, one.dead)
        oldest = "" if one.oldest is None else f"{one.oldest.total_seconds():.0f}s"
        name = f"{one.queue} (paused)" if one.paused else one.queue
        drawn.add_row(Text(name), *map(str, counts), oldest, f"{one.rate:.1f}/s", str(one.consumers))
    door.out.answer({"queues": [dataclasses.asdict(one) for one in found]}, drawn if found else Text("no queues"))


@click.command()
@click.argument("queue")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, metavar="N", help="So many.  [default: 10]")
@with_door()
async def peek(door: Door, *, queue: str, limit: int) -> None:
    """Show the first messages of QUEUE, in the order in which they would be received, without taking them.

    \b
      holdfast queue peek emails

    JSON: {"messages": [{"id", "state", "priority", "due_at", "deliveries", "sent_at", "headers", "body"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue peek", hints=False) as client:
        found = await client.queue(queue).peek(limit=limit)
    drawn = _table("id", "state", "priority", "deliveries", "body")
    for one in found:
        drawn.add_row(str(one.id), one.state, one.priority, str(one.deliveries), Text(one.text))
    messages = [_as_json(one, "id", "state", "priority", "due_at", "deliveries", "sent_at", "headers") for one in found]
    door.out.answer({"messages": messages}, drawn if found else Text("no messages"))


@click.command()
@click.argument("queue")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, metavar="N", help="So many.  [default: 100]")
@click.option("--after", metavar="PLACE", help="Go on after a page: what it gave as the next place.")
@with_door()
async def dead(door: Door, *, queue: str, limit: int, after: str | None) -> None:
    """List the dead letters of QUEUE, those first that died first.

    \b
      holdfast queue dead emails --limit 20

    JSON: {"dead_letters": [{"id", "reason", "deliveries", "died_at", "sent_at", "priority", "headers", "body"}],
    "next"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue dead", hints=False) as client:
        page = await client.queue(queue).dead_letters.list(limit=limit, after=after)
    drawn = _table("id", "deliveries", "reason", "body")
    for one in page:
        drawn.add_row(str(one.id), str(one.deliveries), Text(one.reason), Text(one.text))
    names = ("id", "reason", "deliveries", "died_at", "sent_at", "priority", "headers")
    letters = [_as_json(one, *names) for one in page]
    door.out.answer({"dead_letters": letters, "next": page.next}, drawn if page.items else Text("no dead letters"))
    if page.next is not None:
        door.out.note(f"more: --after {page.next!r}")


def _as_json(one: MessageView[object] | DeadLetter[object], *names: str) -> dict[str, object]:
    return {name: getattr(one, name) for name in names} | {"body": one.body}


def _table(*columns: str) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        drawn.add_column(column, no_wrap=column == "id")
    return drawn
