"""``holdfast schedule create``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast, get_args

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.schedule.view import as_json, lines
from holdfast.cli.words import duration, moment, read_input, tag
from holdfast.core.errors import UnknownName
from holdfast.core.priority import PriorityName
from holdfast.core.schedule import CatchUpName, OverlapName


@click.command()
@click.argument("name")
@click.argument("target", metavar="TARGET")
@click.argument("words", nargs=-1, metavar="[WHEN] [PARAMETER=VALUE]...")
@click.option("--every", type=duration, metavar="TIME", help="An interval in place of WHEN: 90s, 15m, 1d.")
@click.option("--tz", metavar="ZONE", help="The zone whose wall clock counts.  [default: UTC]")
@click.option("--input", "document", metavar="JSON", help="The arguments as one JSON object; - reads it from stdin.")
@click.option("--tick-parameter", metavar="NAME", help="The parameter that gets the time of the tick.")
@click.option("--start", type=moment, metavar="TIME", help="Not due before this time; an interval counts from it.")
@click.option("--end", type=moment, metavar="TIME", help="Not due from this time on.")
@click.option("--jitter", type=duration, metavar="TIME", help="Each run is due up to so much after its tick.")
@click.option(
    "--overlap", type=click.Choice(get_args(OverlapName)), default="skip", help="While a run goes on.  [default: skip]"
)
@click.option(
    "--catch-up", type=click.Choice(get_args(CatchUpName)), default="last", help="After downtime.  [default: last]"
)
@click.option("--catch-up-limit", type=int, default=100, metavar="N", help="With all: so many.  [default: 100]")
@click.option("--lane", default="default", metavar="LANE", help="[default: default]")
@click.option("--priority", type=click.Choice(get_args(PriorityName)), default="medium", help="[default: medium]")
@click.option("--timeout", type=duration, metavar="TIME", help="A run fails if it has not ended by then.")
@click.option("--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="For its runs; may be repeated.")
@click.option("--paused", is_flag=True, help="Make it, and let it rest until it is resumed.")
@with_door()
async def create(
    door: Door,
    *,
    name: str,
    target: str,
    words: tuple[str, ...],
    every: timedelta | None,
    tz: str | None,
    document: str | None,
    tick_parameter: str | None,
    start: datetime | None,
    end: datetime | None,
    jitter: timedelta | None,
    overlap: str,
    catch_up: str,
    catch_up_limit: int,
    lane: str,
    priority: str,
    timeout: timedelta | None,
    tags: Sequence[tuple[str, str]],
    paused: bool,
) -> None:
    """Make the schedule NAME, which starts the workflow or activity TARGET.

    \b
      holdfast schedule create closing close-books "0 18 * * mon-fri" --tz America/New_York
      holdfast schedule create pulse ping "every 30 minutes between 09:00 and 18:00 on weekdays in Europe/Paris"
      holdfast schedule create sweep clean-up --every 15m days=30 --overlap queue --catch-up none

    WHEN is a cron expression, or readable text, in one word of the shell. The rest are arguments, as for `run start`.

    JSON: what `schedule show` gives
    """  # noqa: D301 - \b keeps click from wrapping the examples
    when, arguments = (None, words) if every is not None else (words[0] if words else None, words[1:])
    if document == "-":
        document = sys.stdin.read()
    values = read_input(document, arguments)
    if door.has_app and target not in door.app.definitions:
        raise UnknownName("workflow or activity", target, list(door.app.definitions))
    async with door.app.client(application="holdfast schedule create") as client:
        made = await client.schedules.create(
            name,
            target,
            when,
            every=every,
            tz=tz,
            input=values,
            tick_parameter=tick_parameter,
            start=start,
            end=end,
            jitter=jitter,
            overlap=cast("OverlapName", overlap),
            catch_up=cast("CatchUpName", catch_up),
            catch_up_limit=catch_up_limit,
            lane=lane,
            priority=cast("PriorityName", priority),
            tags=dict(tags) or None,
            timeout=timeout,
            paused=paused,
        )
    door.out.answer(as_json(made), *lines(made))
