"""``holdfast top``: what is going on, as a table that is alive."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.live import Live

from holdfast.cli.options import Door, with_door
from holdfast.cli.panorama import as_json, shown
from holdfast.cli.words import duration

if TYPE_CHECKING:
    from holdfast.client import Client, Overview, Rates

_SHORTEST = timedelta(milliseconds=200)
_LONGEST = timedelta(minutes=5)


@click.command()
@click.option("--lane", metavar="LANE", help="Only this lane.")
@click.option(
    "--every", type=duration, default="2s", metavar="TIME", help="How often it looks, from 200ms to 5m.  [default: 2s]"
)
@click.option("--once", is_flag=True, help="Say how it is, and end; the rates are those of one interval.")
@with_door(app=False)
async def top(door: Door, *, lane: str | None, every: timedelta, once: bool) -> None:
    """Watch what is going on: lanes and priorities, what stands in line there, workers, and how much is done.

    \b
      holdfast top
      holdfast top --lane reports --every 500ms
      holdfast top --once --json | jq '.lines[] | select(.due > 100)'

    It ends with Ctrl-C. What it asks is bounded: of a line no more than 1000 runs are counted, and 100 lines; rates and
    the number of open runs are estimates of the server's statistics. Where stdout is no terminal it looks once.
    JSON: {"at", "open", "rates": {"started", "ended", "recorded"}, "lines": [{"lane",
    "beside": null|"activities"|"alone"|"driven NAME", "priority", "due", "oldest", "held", "parked", "workers",
    "due_is_more", "parked_is_more"}], "more_lines", "workers": [what `worker list` gives]}; a line for each look,
    unless --once; rates are per second, times in seconds, and the first look of all has no rates
    """  # noqa: D301 - \b keeps click from wrapping the examples
    if not _SHORTEST <= every <= _LONGEST:
        raise click.UsageError("--every: 200ms to 5m")
    alone = once or not (door.out.as_json or sys.stdout.isatty())
    async with door.app_as_it_is.client(application="holdfast top", hints=False, pool_size=1) as client:
        looks = _looks(client, lane, every.total_seconds())
        first = await anext(looks)
        if alone:
            found, rates = await anext(looks)
            door.out.answer(as_json(found, rates), shown(found, rates))
        elif door.out.as_json:
            door.out.answer(as_json(*first))
            async for found, rates in looks:
                door.out.answer(as_json(found, rates))
        else:
            with Live(shown(*first), console=door.out.people, screen=True, auto_refresh=False) as live:
                async for found, rates in looks:
                    live.update(shown(found, rates), refresh=True)


async def _looks(client: Client, lane: str | None, every: float) -> AsyncGenerator[tuple[Overview, Rates | None]]:
    """Looks until Ctrl-C, each with what was done since the one before."""
    told = asyncio.Event()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # where signals are for another thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    before: Overview | None = None
    while not told.is_set():
        found = await client.workers.overview(lane=lane)
        yield found, None if before is None else found.rates_since(before)
        before = found
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), every)
