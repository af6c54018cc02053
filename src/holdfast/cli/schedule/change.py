"""``holdfast schedule pause``, ``resume``, ``trigger`` and ``delete``."""

from __future__ import annotations

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.schedule.view import as_json, lines


@click.command()
@click.argument("name")
@with_door()
async def pause(door: Door, *, name: str) -> None:
    """Let the schedule NAME rest until it is resumed, also over deploys. Runs that go on are not touched.

    \b
      holdfast schedule pause nightly

    JSON: what `schedule show` gives
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule pause", hints=False) as client:
        found = await client.schedules.pause(name)
    door.out.answer(as_json(found), *lines(found))


@click.command()
@click.argument("name")
@with_door()
async def resume(door: Door, *, name: str) -> None:
    """Let the schedule NAME go on with its next tick; those in between are not made up for.

    \b
      holdfast schedule resume nightly

    JSON: what `schedule show` gives
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule resume", hints=False) as client:
        found = await client.schedules.resume(name)
    door.out.answer(as_json(found), *lines(found))


@click.command()
@click.argument("name")
@with_door()
async def trigger(door: Door, *, name: str) -> None:
    """Start a run of the schedule NAME now, and print its id. Its ticks are not disturbed.

    \b
      holdfast schedule trigger nightly

    JSON: {"id"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule trigger") as client:
        run = await client.schedules.trigger(name)
    door.out.answer({"id": run.id}, str(run.id))


@click.command()
@click.argument("name")
@with_door()
async def delete(door: Door, *, name: str) -> None:
    """Delete the schedule NAME. Runs that it has started go on. What live workers have in their code is not deleted.

    \b
      holdfast schedule delete nightly

    JSON: {"deleted"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule delete", hints=False) as client:
        await client.schedules.delete(name)
    door.out.answer({"deleted": name}, f"schedule {name!r} is deleted")
