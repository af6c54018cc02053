"""``holdfast run start``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast, get_args

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.cli.run.ending import tell_ending
from holdfast.cli.words import duration, moment, read_input, tag
from holdfast.core.errors import UnknownName
from holdfast.core.priority import PriorityName


@click.command()
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[PARAMETER=VALUE]...")
@click.option("--input", "document", metavar="JSON", help="The arguments as one JSON object; - reads it from stdin.")
@click.option("--key", metavar="KEY", help="An idempotency key: a second start with it gives the same run.")
@click.option("--lane", default="default", metavar="LANE", help="[default: default]")
@click.option("--priority", type=click.Choice(get_args(PriorityName)), default="medium", help="[default: medium]")
@click.option("--at", type=moment, metavar="TIME", help="Not before this time.")
@click.option("--after", type=duration, metavar="TIME", help="Not before this much time has passed.")
@click.option("--timeout", type=duration, metavar="TIME", help="It fails if it has not ended by then.")
@click.option("--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="To find it by; may be repeated.")
@click.option("--wait", is_flag=True, help="Wait until it has ended, and give its result.")
@click.option(
    "--at-most", type=duration, metavar="TIME", help="With --wait: how long. Then exit code 5; the run goes on."
)
@with_door()
async def start(
    door: Door,
    *,
    name: str,
    arguments: tuple[str, ...],
    document: str | None,
    key: str | None,
    lane: str,
    priority: str,
    at: datetime | None,
    after: timedelta | None,
    timeout: timedelta | None,
    tags: Sequence[tuple[str, str]],
    wait: bool,
    at_most: timedelta | None,
) -> int:
    """Start a run of the workflow or activity NAME, and print its id.

    \b
      holdfast run start ship-order number=17 express=true
      holdfast run start ship-order number=17 --key order:17 --after 1h --tag customer=acme
      holdfast run start ship-order --input '{"number": 17}' --wait --at-most 30s
      holdfast run start import-file --input - < arguments.json

    A VALUE that is JSON is taken as such, any other as text: express=true is a truth, zip=01067 a text.
    PARAMETER:=VALUE insists on JSON, so that number:='"17"' is a text too.

    JSON: {"id", "existing"}; with --wait also {"status", "output", "failure"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    if document == "-":
        document = sys.stdin.read()
    values = read_input(document, arguments)
    if door.has_app and name not in door.app.definitions:
        raise UnknownName("workflow or activity", name, list(door.app.definitions))
    async with door.app.client(application="holdfast run start", hints=wait) as client:
        handle = await client.start_by_name(
            name,
            values,
            key=key,
            lane=lane,
            priority=cast("PriorityName", priority),
            at=at,
            after=after,
            tags=dict(tags) or None,
            timeout=timeout,
        )
        begun: dict[str, object] = {"id": handle.id, "existing": handle.existing}
        if handle.existing:
            door.out.note(f"there was a run with key {key!r} already")
        if not wait:
            door.out.answer(begun, str(handle.id))
        elif not door.out.as_json:
            door.out.note(str(handle.id))
        for words in (await handle.describe()).waits_for:
            door.out.note(f"it waits for {words}")
        return await tell_ending(door.out, handle, at_most, begun) if wait else ExitCode.OK
