"""The group ``holdfast worker``; without a command it runs one."""

from __future__ import annotations

import click

from holdfast.cli.worker.look import list_workers
from holdfast.cli.worker.run import run
from holdfast.cli.worker.tell import drain, pause, resume, stop


class Running(click.Group):
    """A group whose command is ``run`` where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Names the command, unless help is asked for."""
        return super().parse_args(ctx, self.named(args))

    def named(self, args: list[str]) -> list[str]:
        """These words with a command at their beginning."""
        if args and (args[0] in self.commands or args[0] in ("-h", "--help")):
            return args
        return ["run", *args]


@click.group(cls=Running)
def worker() -> None:
    """Run workers, see how they stand, and tell them what to do, from anywhere.

    \b
      holdfast worker --app shop.orders:app          runs one: `holdfast worker run`, with all its options
      holdfast worker list
      holdfast worker pause --lane reports
      holdfast worker drain payroll-01

    A worker executes what is started. `holdfast worker run --help` shows its options.
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (run, list_workers, pause, resume, drain, stop):
    worker.add_command(command)
