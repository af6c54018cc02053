"""``holdfast job cancel``, ``retry`` and ``reschedule``."""

from __future__ import annotations

from datetime import timedelta

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.again import retry_target, with_timeout
from holdfast.cli.run.move import Place, reschedule_target, with_place
from holdfast.cli.run.send import cancel_target
from holdfast.cli.run.target import Target, with_target


@click.command()
@with_target
@with_door()
async def cancel(door: Door, *, target: Target) -> int:
    """Cancel the job ID, or all jobs that fit the filters.

    \b
      holdfast job cancel 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast job cancel --all --name send_email --tag customer=acme --dry-run

    One that has not begun ends at once, one that waits for its next attempt too; what runs is told within a second.
    Exit code 1 when the job had ended. JSON: as `run cancel`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await cancel_target(door, target, "job")


@click.command()
@with_target
@with_timeout
@with_door()
async def retry(door: Door, *, target: Target, timeout: timedelta | None) -> int | None:
    """Try the failed or cancelled job ID, or all jobs that fit the filters, again.

    \b
      holdfast job retry 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast job retry --all --name send_email --status failed --since 1d

    A new job takes its place, with attempts of its own; the old id means the new job. JSON: as `run retry`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await retry_target(door, target, timeout, "job")


@click.command()
@with_target
@with_place
@with_door()
async def reschedule(door: Door, *, target: Target, place: Place) -> int:
    """Move the job ID, or all jobs that fit the filters, to another time, priority or lane.

    \b
      holdfast job reschedule 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --at 2030-01-31T09:00
      holdfast job reschedule --all --name report --status scheduled --after 2h --priority low

    What runs is let run, and is there with its next attempt. Exit code 1 when the job had ended. JSON: as `run pause`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await reschedule_target(door, target, place, "job")
