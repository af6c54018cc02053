"""``holdfast run list``, and what it shares with ``holdfast job list``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click
from rich.table import Table
from rich.text import Text

from holdfast.cli.options import Command, Door, with_door
from holdfast.cli.run.colours import COLOURS
from holdfast.cli.run.target import time_or_age
from holdfast.cli.run.view import as_json
from holdfast.cli.words import run_id, tag
from holdfast.client import RunSummary
from holdfast.core.states import RunKindName, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which runs to list."""

    name: str | None
    version: str | None
    status: str | None
    lane: str | None
    tags: Sequence[tuple[str, str]]
    parent: UUID | None
    root: UUID | None
    since: datetime | None
    until: datetime | None
    limit: int
    after: str | None


def with_listing(fn: Callable[..., Any]) -> Command:
    """Gives a command its ``listing``: filters, and which page."""

    @functools.wraps(fn)
    def command(*args: Any, **kwargs: Any) -> Any:
        listing = Listing(**{name: kwargs.pop(name) for name in Listing.__dataclass_fields__})
        return fn(*args, listing=listing, **kwargs)

    wrapped: Command = command
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS = (
    click.option("--name", "--workflow", "name", metavar="NAME", help="Of this workflow or activity."),
    click.option("--version", metavar="VERSION", help="Begun with this version of its workflow."),
    click.option("--status", metavar="STATUS,...", help=f"One or more of: {', '.join(RunStatus)}."),
    click.option("--lane", metavar="LANE", help="In this lane."),
    click.option(
        "--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="With this tag; may be repeated."
    ),
    click.option("--parent", type=run_id, metavar="ID", help="Children of this run."),
    click.option("--root", type=run_id, metavar="ID", help="Below this run, which is nobody's child."),
    click.option("--since", type=time_or_age, metavar="TIME", help="Started then or later; 2d is two days ago."),
    click.option("--until", type=time_or_age, metavar="TIME", help="Started before then."),
    click.option("--limit", type=click.IntRange(1, 1000), default=25, metavar="N", help="So many.  [default: 25]"),
    click.option("--after", metavar="PLACE", help="Go on after a page: what it gave as the next place."),
)


@click.command("list")
@with_listing
@with_door()
async def list_runs(door: Door, *, listing: Listing) -> None:
    """List runs, newest first, page by page.

    \b
      holdfast run list --status failed --since 1d
      holdfast run list --name ship-order --tag customer=acme --limit 100
      holdfast run list --parent 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --status failed
      holdfast run list --json | jq -r '.runs[].id'

    JSON: {"runs": [{"id", "kind", "name", "lane", "priority", "status", "tags", "created_at", "due_at",
    "first_claim_at", "ended_at", "worker", "version"}], "next"}; next is for --after, null on the last page
    """  # noqa: D301 - \b keeps click from wrapping the examples
    await answer_page(door, listing)


async def answer_page(door: Door, listing: Listing, kind: RunKindName | None = None) -> None:
    """Answers with the page."""
    async with door.app_as_it_is.client(application="holdfast list", hints=False) as client:
        page = await client.list(
            name=listing.name,
            version=listing.version,
            status=[word.strip() for word in listing.status.split(",")] if listing.status else None,
            lane=listing.lane,
            kind=kind,
            tags=dict(listing.tags) or None,
            parent=listing.parent,
            root=listing.root,
            since=listing.since,
            until=listing.until,
            limit=listing.limit,
            after=listing.after,
        )
    door.out.answer(
        {"runs": [as_json(run) for run in page], "next": page.next},
        _table(page.items) if page.items else f"no {kind or 'run'}s",
    )
    if page.next is not None:
        door.out.note(f"more: --after {page.next}")


def _table(runs: Sequence[RunSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("id", "name", "status", "lane", "started", "took", "worker"):
        table.add_column(column, no_wrap=column in {"id", "status", "started"})
    for run in runs:
        table.add_row(
            str(run.id),
            Text(run.name if run.version is None else f"{run.name}@{run.version}"),
            Text(run.status, style=COLOURS[run.status]),
            Text(run.lane if run.priority == "medium" else f"{run.lane} {run.priority}"),
            run.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            _took(run),
            Text(run.worker or ""),
        )
    return table


def _took(run: RunSummary) -> str:
    if run.ended_at is None:
        return ""
    seconds = (run.ended_at - run.created_at).total_seconds()
    return f"{seconds:.2f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))
