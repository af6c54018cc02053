"""``holdfast queue redrive``, ``purge``, ``pause`` and ``resume``."""

from __future__ import annotations

import click
from rich.text import Text

from holdfast.cli.options import Door, with_door


@click.command()
@click.argument("queue")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@with_door()
async def redrive(door: Door, *, queue: str, ids: tuple[str, ...]) -> None:
    """Make dead letters of QUEUE due again: these, or all.

    \b
      holdfast queue redrive emails

    JSON: {"redriven"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue redrive") as client:
        count = await client.queue(queue).dead_letters.redrive(ids or None)
    door.out.answer({"redriven": count}, Text(f"{count} redriven"))


@click.command()
@click.argument("queue")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="The dead letters, and not the messages: these, or all.")
@with_door()
async def purge(door: Door, *, queue: str, ids: tuple[str, ...], dead: bool) -> None:
    """Remove all messages of QUEUE for good, those in somebody's hands too.

    \b
      holdfast queue purge emails --dead

    JSON: {"purged"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    if ids and not dead:
        raise click.UsageError("messages are purged all at once: give ids with --dead only")
    async with door.app_as_it_is.client(application="holdfast queue purge", hints=False) as client:
        if dead:
            count = await client.queue(queue).dead_letters.purge(ids or None)
        else:
            count = await client.queue(queue).purge()
    door.out.answer({"purged": count}, Text(f"{count} purged"))


@click.command()
@click.argument("queue")
@with_door()
async def pause(door: Door, *, queue: str) -> None:
    """Let nobody receive from QUEUE until it is resumed.

    \b
      holdfast queue pause emails

    JSON: {"paused"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue pause", hints=False) as client:
        await client.queue(queue).pause()
    door.out.answer({"paused": True}, Text(f"{queue} is paused"))


@click.command()
@click.argument("queue")
@with_door()
async def resume(door: Door, *, queue: str) -> None:
    """Let messages of QUEUE be received again.

    \b
      holdfast queue resume emails

    JSON: {"paused"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast queue resume") as client:
        await client.queue(queue).resume()
    door.out.answer({"paused": False}, Text(f"{queue} is resumed"))
