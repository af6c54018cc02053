"""The group ``holdfast run``."""

from __future__ import annotations

import click

from holdfast.cli.run.again import fork, retry, rewind
from holdfast.cli.run.complete import complete, fail
from holdfast.cli.run.export import export
from holdfast.cli.run.listing import list_runs
from holdfast.cli.run.move import reschedule
from holdfast.cli.run.operate import pause, resume, terminate, wake
from holdfast.cli.run.send import cancel, signal, update
from holdfast.cli.run.show import show
from holdfast.cli.run.start import start
from holdfast.cli.run.tag import tag
from holdfast.cli.run.watch import watch
from holdfast.cli.run.why import why


@click.group()
def run() -> None:
    """Start runs, send to them, look at them, and operate them.

    \b
      holdfast run start trial-onboarding --input '{"signup": {"company": "Acme", "email": "ada@acme.dev"}}'
      holdfast run list --status waiting,blocked --since 2d
      holdfast run show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run signal 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 upgrade '{"upgraded": true, "plan": "pro"}'
      holdfast run why 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run retry --all --workflow trial-onboarding --status failed --since 1d

    The code of the workflows is not needed for any of it. With --app, input is checked before it is sent, and what a
    codec has written can be read.
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (
    start,
    show,
    list_runs,
    why,
    signal,
    complete,
    fail,
    update,
    cancel,
    watch,
    export,
    tag,
    retry,
    rewind,
    fork,
    pause,
    resume,
    wake,
    reschedule,
    terminate,
):
    run.add_command(command)
