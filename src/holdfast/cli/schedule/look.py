"""``holdfast schedule list``, ``show`` and ``preview``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.cli.schedule.view import as_json, lines, moment_words, table
from holdfast.cli.words import duration, moment
from holdfast.core.cadence import Span, next_ticks, read_cadence


@click.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, metavar="N", help="So many.  [default: 100]")
@click.option("--after", metavar="NAME", help="Go on after a page: what it gave as the next place.")
@with_door()
async def list_schedules(door: Door, *, limit: int, after: str | None) -> None:
    """List schedules by name, those in code and those that clients have made.

    \b
      holdfast schedule list
      holdfast schedule list --json | jq -r '.schedules[] | select(.status == "paused").name'

    JSON: {"schedules": [what `schedule show` gives], "next"}; next is for --after, null on the last page
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule list", hints=False) as client:
        page = await client.schedules.list(after=after, limit=limit)
    door.out.answer(
        {"schedules": [as_json(one) for one in page], "next": page.next},
        table(page.items) if page.items else Text("no schedules"),
    )
    if page.next is not None:
        door.out.note(f"more: --after {page.next}")


@click.command()
@click.argument("name")
@with_door()
async def show(door: Door, *, name: str) -> None:
    """Show the schedule NAME: when it is due, what it starts, what became of its ticks.

    \b
      holdfast schedule show nightly

    JSON: {"id", "name", "origin", "status": "active|paused|inactive|ended", "target", "kind", "when", "cadence", "tz",
    "every", "input", "tick_parameter", "lane", "priority", "tags", "timeout", "start", "end", "jitter", "overlap",
    "catch_up", "catch_up_limit", "next_at", "last_tick", "last_run", "running", "queued", "made", "skipped", "missed",
    "problem", "created_at", "updated_at"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast schedule show", hints=False) as client:
        found = await client.schedules.get(name)
    door.out.answer(as_json(found), *lines(found))


@click.command()
@click.argument("when", required=False)
@click.option("--name", metavar="NAME", help="Of this schedule, in place of WHEN.")
@click.option("--every", type=duration, metavar="TIME", help="An interval in place of WHEN.")
@click.option("--tz", metavar="ZONE", help="The zone whose wall clock counts.  [default: UTC]")
@click.option("--start", type=moment, metavar="TIME", help="Not due before this time; an interval counts from it.")
@click.option("--end", type=moment, metavar="TIME", help="Not due from this time on.")
@click.option("--from", "after", type=moment, metavar="TIME", help="Those after this time.  [default: now]")
@click.option("--count", type=click.IntRange(1, 1000), default=5, metavar="N", help="So many.  [default: 5]")
@with_door()
async def preview(
    door: Door,
    *,
    when: str | None,
    name: str | None,
    every: timedelta | None,
    tz: str | None,
    start: datetime | None,
    end: datetime | None,
    after: datetime | None,
    count: int,
) -> None:
    """Say when a schedule is due next: the one that WHEN describes, or one that is there.

    \b
      holdfast schedule preview "30 2 * * *" --tz Europe/Berlin --from 2030-03-30 --count 3
      holdfast schedule preview "on the last friday of every month at 16:00 in Europe/Paris"
      holdfast schedule preview --name nightly

    JSON: {"ticks": [time, …]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    if name is None:
        # Nothing has to be known for that, so no database is asked.
        if after is None:
            after = datetime.now(UTC)
        cadence, span = read_cadence(when, every=every, tz=tz, start=start), Span(start=start, end=end)
        ticks, zone = list(islice(next_ticks(cadence, after, span), count)), cadence.zone
    elif (when, every, tz, start, end) != (None, None, None, None, None):
        raise click.UsageError("give --name, or the times, not both")
    else:
        async with door.app_as_it_is.client(application="holdfast schedule preview", hints=False) as client:
            ticks = list(await client.schedules.preview(name=name, after=after, count=count))
            zone = (await client.schedules.get(name)).tz
    ticks = [tick.astimezone(ZoneInfo(zone)) for tick in ticks]
    shown = [Text(moment_words(tick, zone)) for tick in ticks]
    door.out.answer({"ticks": ticks}, *(shown or [Text("never again")]))
