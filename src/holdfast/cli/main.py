"""The command ``holdfast``: its groups, and how errors leave it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import click

from holdfast.cli.check import check
from holdfast.cli.config import config
from holdfast.cli.db import db
from holdfast.cli.demo import demo
from holdfast.cli.exit_code import ExitCode
from holdfast.cli.job import job
from holdfast.cli.limit import limit
from holdfast.cli.lint import lint
from holdfast.cli.queue import queue
from holdfast.cli.run import run
from holdfast.cli.schedule import schedule
from holdfast.cli.top import top
from holdfast.cli.worker import worker
from holdfast.core.errors import ConfigurationError, HoldfastError

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value:<4} {code.meaning}" for code in ExitCode)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: runs it, and ends the process with its exit code."""
    sys.exit(answer(arguments))


def answer(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit code. An error of Holdfast is one line on stderr, not a traceback."""
    try:
        code = holdfast.main(args=arguments, prog_name="holdfast", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except HoldfastError as error:
        return _complain(error)
    except ExceptionGroup as group:
        # From a task group: if all in it are errors of ours, they are told as such.
        ours, others = group.split(HoldfastError)
        if ours is None or others is not None:
            raise
        return max(_complain(error) for error in _leaves(ours))
    except BrokenPipeError:
        # Whoever read our stdout has seen enough; Python must not complain about it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    return code if isinstance(code, int) else ExitCode.OK


def _leaves(group: ExceptionGroup[HoldfastError]) -> Iterator[HoldfastError]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _complain(error: HoldfastError) -> ExitCode:
    if isinstance(error, ConfigurationError) and len(error.mistakes) > 1:
        click.echo("holdfast: these settings cannot work:", err=True)
        for mistake in error.mistakes:
            click.echo(f"  - {mistake}", err=True)
    else:
        click.echo(f"holdfast: {error}", err=True)
    return ExitCode.of(error)


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="holdfast", prog_name="holdfast", message="%(prog)s %(version)s")
def holdfast() -> None:
    """Durable workflows on Postgres: run workers, start runs and look at them, schedule them, set up the database.

    \b
      holdfast demo                                    a tour, with a Postgres of its own
      holdfast worker --app shop.orders:app            executes what is started
      holdfast run start ship-order number=17 --wait   starts a run, from anywhere
      holdfast run list --status failed                what went wrong
      holdfast check shop.orders:app                   does this code fit the runs under way?
      holdfast lint shop.orders:app                    is it deterministic?

    The database is the one in HOLDFAST_DATABASE_URL, DATABASE_URL, holdfast.toml or .env; without any of these, an
    embedded Postgres in the project. `holdfast config` says which, and `holdfast db check` whether all is well.
    """  # noqa: D301 - \b keeps click from wrapping the examples


for command in (worker, top, run, job, queue, limit, schedule, config, check, lint, db, demo):
    holdfast.add_command(command)
