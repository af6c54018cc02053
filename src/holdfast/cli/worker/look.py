"""``holdfast worker list``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.client import WorkerStatus, WorkerSummary
from holdfast.core.mode import Duty, Mode

COLOURS = {
    WorkerStatus.ACTIVE: "green",
    WorkerStatus.PAUSED: "yellow",
    WorkerStatus.DRAINING: "yellow",
    WorkerStatus.STOPPING: "yellow",
    WorkerStatus.DEAD: "red",
    WorkerStatus.LOST: "red",
    WorkerStatus.LEFT: "dim",
}


@click.command("list")
@click.argument("name", required=False)
@click.option("--lane", metavar="LANE", help="Only those of this lane.")
@with_door(app=False)
async def list_workers(door: Door, *, name: str | None, lane: str | None) -> None:
    """List the workers that are there, or those called NAME, with or without its suffix.

    \b
      holdfast worker list
      holdfast worker list --lane reports
      holdfast worker list --json | jq -r '.workers[] | select(.status == "paused").name'

    Those that are dead are listed until others have taken all that they held; of buckets that are not active it is said
    what they are. Consumers of queues are listed too.
    JSON: {"workers": [{"id", "name", "host", "pid", "lane", "mode", "version",
    "status": "active|paused|draining|stopping|dead|lost", "asked", "buckets": [{"lane", "priority",
    "state": "active|completing|lost|draining|ready to delete", "held", "overflowed"}], "held", "overflowed", "lease",
    "heartbeat_age", "started_at"}]}; times in seconds; overflowed: runs that went back unbegun, for others to begin;
    mode: null of a consumer
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast worker list", hints=False) as client:
        found = await client.workers.list(name=name, lane=lane)
    door.out.answer(
        {"workers": [as_json(one) for one in found]}, table(found) if found else Text("no workers: start one")
    )
    live = [one for one in found if one.status not in (WorkerStatus.DEAD, WorkerStatus.LOST)]
    modes = [Mode(one.mode) for one in live if one.mode is not None]
    if name is None and lane is None and modes and not any(mode.does(Duty.RECOVER) for mode in modes):
        door.out.note("nobody here takes over the runs of workers that die: start one in mode full or drain")


def as_json(worker: WorkerSummary) -> dict[str, object]:
    """All of it by its names in Python."""
    return {**asdict(worker), "held": worker.held, "overflowed": worker.overflowed}


def table(workers: Sequence[WorkerSummary]) -> Table:
    """A line for each."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "state", "lane", "mode", "buckets", "runs", "overflowed", "heartbeat", "version"):
        right = column in {"runs", "overflowed", "heartbeat"}
        drawn.add_column(column, no_wrap=True, justify="right" if right else "left")
    for one in workers:
        asked = f" → {one.asked}" if one.asked and one.status is WorkerStatus.ACTIVE else ""
        drawn.add_row(
            Text(one.name),
            Text(f"{one.status}{asked}", style=COLOURS[one.status]),
            Text(one.lane),
            one.mode or "consumer",
            bucket_words(one),
            str(one.held),
            str(one.overflowed),
            f"{one.heartbeat_age.total_seconds():.0f} s ago",
            one.version,
        )
    return drawn


def bucket_words(worker: WorkerSummary) -> str:
    """``5``, or ``5 (3 draining, 2 ready to delete)``; those of the lane itself, and not those beside it."""
    own = [bucket.state for bucket in worker.buckets if bucket.lane == worker.lane]
    others = {state: own.count(state) for state in own if state != "active"}
    words = ", ".join(f"{count} {state}" for state, count in others.items())
    return f"{len(own)} ({words})" if words else str(len(own))
