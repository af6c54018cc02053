"""``holdfast queue send`` and ``receive``."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.cli.words import duration
from holdfast.core.priority import Priority

if TYPE_CHECKING:
    from holdfast.core.priority import PriorityName


@click.command()
@click.argument("queue")
@click.argument("body")
@click.option("--key", metavar="KEY", help="A second send with this key makes no second message.")
@click.option("--priority", type=click.Choice([one.word for one in Priority]), default="medium", help="Its class.")
@click.option("--after", type=duration, metavar="TIME", help="It is due in so long.")
@with_door()
async def send(
    door: Door, *, queue: str, body: str, key: str | None, priority: PriorityName, after: timedelta | None
) -> None:
    """Send BODY, which is JSON, to QUEUE.

    \b
      holdfast queue send emails '{"to": "ada@example.com"}' --after 10m

    JSON: {"id"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    try:
        value = json.loads(body)
    except ValueError as error:
        raise click.BadParameter(f"{body!r} is no JSON: {error}", param_hint="BODY") from error
    async with door.app_as_it_is.client(application="holdfast queue send") as client:
        sent = await client.queue(queue).send(value, key=key, priority=priority, after=after)
    door.out.answer({"id": sent}, Text(str(sent)))


@click.command()
@click.argument("queue")
@click.option("--batch", type=click.IntRange(1, 1000), default=1, metavar="N", help="So many at most.  [default: 1]")
@click.option("--wait", type=duration, default="0s", metavar="TIME", help="Wait so long for one.  [default: 0s]")
@click.option("--keep", type=duration, metavar="TIME", help="Acknowledge nothing: they come back after so long.")
@with_door()
async def receive(door: Door, *, queue: str, batch: int, wait: timedelta, keep: timedelta | None) -> None:
    """Receive messages of QUEUE, show them, and acknowledge them once they are shown.

    \b
      holdfast queue receive emails --batch 10 --wait 20s

    JSON: {"messages": [{"id", "body", "priority", "deliveries", "sent_at", "headers"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    names = ("id", "body", "priority", "deliveries", "sent_at", "headers")
    async with door.app_as_it_is.client(application="holdfast queue receive") as client:
        messages = await client.queue(queue).receive(batch=batch, wait=wait, visibility=keep or timedelta(seconds=30))
        nothing = "no messages"
        if not messages and (await client.queue(queue).metrics()).paused:
            nothing = "the queue is paused: nobody receives anything until it is resumed"
        bodies = [Text(f"{one.id} {json.dumps(one.body, ensure_ascii=False)}") for one in messages]
        door.out.answer(
            {"messages": [{name: getattr(one, name) for name in names} for one in messages]},
            *(bodies or [Text(nothing)]),
        )
        if keep is None:
            await client.queue(queue).ack(messages)
