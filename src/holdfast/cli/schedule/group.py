"""The group ``holdfast schedule``."""

from __future__ import annotations

import click

from holdfast.cli.schedule.change import delete, pause, resume, trigger
from holdfast.cli.schedule.create import create
from holdfast.cli.schedule.look import list_schedules, preview, show


@click.group()
def schedule() -> None:
    """Start runs by the clock: make schedules, look at them, pause them.

    \b
      holdfast schedule preview "every weekday at 18:00 in America/New_York"
      holdfast schedule create nightly clean-up "every day at 03:00 in Europe/Paris" days=30
      holdfast schedule list
      holdfast schedule trigger nightly

    Workers start the runs. Schedules that are written in the code of an app are listed here too, and can be paused
    and triggered; they are changed in the code.
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (list_schedules, create, show, pause, resume, trigger, delete, preview):
    schedule.add_command(command)
