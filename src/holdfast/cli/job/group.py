"""The group ``holdfast job``."""

from __future__ import annotations

import click

from holdfast.cli.job.change import cancel, reschedule, retry
from holdfast.cli.job.look import list_jobs, show
from holdfast.cli.job.start import start


@click.group()
def job() -> None:
    """Start jobs, look at them, move and end them: runs of a single activity.

    \b
      holdfast job start send_email to=ada@acme.dev subject=Hello --key welcome:17
      holdfast job list --status failed --since 1d
      holdfast job show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast job retry --all --name send_email --status failed

    What else can be done to a run, `holdfast run` does to jobs too. The code of the activities is not needed for any of
    it; with --app, input is checked before it is sent.
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (start, list_jobs, show, cancel, retry, reschedule):
    job.add_command(command)
