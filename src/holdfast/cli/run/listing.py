"""``holdfast run list``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import click
from rich.table import Table
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.colours import COLOURS
from holdfast.cli.run.target import time_or_age
from holdfast.cli.run.view import as_json
from holdfast.cli.words import run_id, tag
from holdfast.client import RunSummary
from holdfast.core.states import RunStatus


@click.command("list")
@click.option("--name", "--workflow", "name", metavar="NAME", help="Of this workflow or activity.")
@click.option("--version", metavar="VERSION", help="Begun with this version of its workflow.")
@click.option("--status", metavar="STATUS,...", help=f"One or more of: {', '.join(RunStatus)}.")
@click.option("--lane", metavar="LANE", help="In this lane.")
@click.option("--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="With this tag; may be repeated.")
@click.option("--parent", type=run_id, metavar="ID", help="Children of this run.")
@click.option("--root", type=run_id, metavar="ID", help="Below this run, which is nobody's child.")
@click.option("--since", type=time_or_age, metavar="TIME", help="Started then or later; 2d is two days ago.")
@click.option("--until", type=time_or_age, metavar="TIME", help="Started before then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=25, metavar="N", help="So many.  [default: 25]")
@click.option("--after", metavar="PLACE", help="Go on after a page: what it gave as the next place.")
@with_door()
async def list_runs(
    door: Door,
    *,
    name: str | None,
    version: str | None,
    status: str | None,
    lane: str | None,
    tags: Sequence[tuple[str, str]],
    parent: UUID | None,
    root: UUID | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    after: str | None,
) -> None:
    """List runs, newest first, page by page.

    \b
      holdfast run list --status failed --since 1d
      holdfast run list --name ship-order --tag customer=acme --limit 100
      holdfast run list --parent 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --status failed
      holdfast run list --json | jq -r '.runs[].id'

    JSON: {"runs": [{"id", "kind", "name", "lane", "priority", "status", "tags", "created_at", "due_at",
    "first_claim_at", "ended_at", "worker", "version"}], "next"}; next is for --after, null on the last page
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run list", hints=False) as client:
        page = await client.list(
            name=name,
            version=version,
            status=[word.strip() for word in status.split(",")] if status else None,
            lane=lane,
            tags=dict(tags) or None,
            parent=parent,
            root=root,
            since=since,
            until=until,
            limit=limit,
            after=after,
        )
    door.out.answer(
        {"runs": [as_json(run) for run in page], "next": page.next},
        _table(page.items) if page.items else "no runs",
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
