"""``holdfast limit list``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.table import Table
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.client import LimitSummary
from holdfast.core.limit import LimitKind


@click.command("list")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, metavar="N", help="So many.  [default: 100]")
@with_door(app=False)
async def list_limits(door: Door, *, name: str | None, limit: int) -> None:
    """List the limits that are in use, or those called NAME, each of their keys on a line.

    \b
      holdfast limit list
      holdfast limit list sync-orders/customer_id
      holdfast limit list --json | jq -r '.limits[] | select(.waiting > 0).key'

    A name is that of the limit, or of its workflow or activity, followed by what it is per. Of what is taken, workers
    may have leased a part in advance; it comes back when others wait.
    JSON: {"limits": [{"name", "kind": "limit|rate|throttle|debounce", "key", "most", "taken", "leased", "waiting",
    "since", "opens_at", "holders"}]}; most is the burst of a rate, waiting 1000 if there are more, holders are runs, at
    most 3
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast limit list", hints=False) as client:
        found = await client.limits.list(name=name, limit=limit)
    door.out.answer({"limits": [asdict(one) for one in found]}, table(found) if found else Text("no limits are in use"))
    if len(found) == limit:
        door.out.note("there may be more: name one, or --limit")


def table(limits: Sequence[LimitSummary]) -> Table:
    """A line for each."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "kind", "key", "taken", "waiting", "for", "holders"):
        drawn.add_column(column, no_wrap=True, justify="right" if column in {"taken", "waiting", "for"} else "left")
    now = datetime.now(UTC)
    for one in limits:
        taken = ""
        if one.kind is LimitKind.LIMIT:
            taken = f"{one.taken} of {one.most}" + (f" ({one.leased} leased)" if one.leased else "")
        drawn.add_row(
            Text(one.name),
            one.kind.value,
            Text(one.key),
            taken,
            "" if not one.waiting else f"{one.waiting}{'+' if one.waiting >= 1000 else ''}",
            "" if one.since is None else f"{max(0.0, (now - one.since).total_seconds()):.0f} s",
            ", ".join(str(run) for run in one.holders),
        )
    return drawn
