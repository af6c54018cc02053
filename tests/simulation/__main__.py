"""The command line: ``./dev simulate``."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from holdfast.testing import shared_postgres
from tests.simulation.engines import CAUGHT, ENGINES
from tests.simulation.examination import Examined, examine_seeds
from tests.simulation.exercise import TOGETHER, exercise_seed
from tests.simulation.report import Report

_ALL = "all"
_BROKEN_SEEDS = 600
_BROKEN_MINUTES = 10.0
_TOLD_EVERY = 30.0
"""Seconds between two lines about how far it is."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--seeds", type=click.IntRange(1), default=200, help="How many schedules.  [default: 200]")
@click.option("--first", type=int, help="The first seed; the others follow.  [default: 1; of machines, a fresh one]")
@click.option("--seed", type=int, help="Only this one, twice, with its trace.")
@click.option(
    "--machines",
    type=click.IntRange(1),
    help=f"State machines in the place of schedules: so many, {TOGETHER} of each seed.",
)
@click.option("--minutes", type=float, help="Stop after so many minutes, however many seeds are left.")
@click.option(
    "--broken",
    is_flag=False,
    flag_value=_ALL,
    type=click.Choice([_ALL, *sorted(ENGINES)]),
    metavar="[NAME]",
    help="An engine from which a rule was taken out; without a name, each that is to be caught here.",
)
@click.option("--processes", type=click.IntRange(1), help="How many at once.  [default: one per processor]")
@click.option("--twice/--once", default=False, help="Every seed twice; otherwise one of twenty.")
def simulate(
    *,
    seeds: int,
    first: int | None,
    seed: int | None,
    machines: int | None,
    minutes: float | None,
    broken: str | None,
    processes: int | None,
    twice: bool,
) -> None:
    """Many workers in one process, on a clock of its own, in thousands of short schedules that seeds deal.

    Each await of a worker may be the place where another one goes on, each round trip the one at which it dies, is cut
    off, or waits. The same seed gives the same trace. The exit code says whether everything went as it must; with
    --broken, whether the engine was caught.
    """
    with shared_postgres(f"simulation-{os.getpid()}") as server:
        if machines is not None:
            if broken == _ALL:
                raise click.UsageError("--machines is for one engine at a time: --broken NAME")
            fresh = secrets.randbelow(1_000_000_000) if first is None else first
            of_machines = range(fresh, fresh + -(-machines // TOGETHER))
            sys.exit(_exercise(server.dsn, of_machines, broken=broken, processes=processes, minutes=minutes))
        first = first or 1
        if broken == _ALL:
            sys.exit(_go_through(server.dsn, first, processes))
        examined = examine_seeds(
            server.dsn,
            [seed] if seed is not None else range(first, first + seeds),
            broken=broken,
            processes=processes,
            twice=twice or seed is not None,
            minutes=minutes,
            each=_print_trace if seed is not None else _Progress(seeds),
        )
    caught = examined.caught
    if caught is not None:
        _show(caught, broken)
    for what, times in examined.befallen.most_common():
        click.echo(f"{times:7}  {what}")
    click.echo(f"{examined}{'' if caught else '; nothing is lost and nothing is doubled'}")
    if broken is not None:
        click.echo(f"{broken}: {'caught' if examined.shown else 'NOT caught'}")
    sys.exit(int(caught is not None if broken is None else not examined.shown))


def _exercise(dsn: str, seeds: range, *, broken: str | None, processes: int | None, minutes: float | None) -> int:
    """State machines, so many of each seed, until one shows something."""
    click.echo(f"seeds {seeds[0]} to {seeds[-1]}, {TOGETHER} machines each")
    examined = examine_seeds(
        dsn,
        seeds,
        broken=broken,
        processes=processes,
        minutes=minutes,
        each=_Progress(len(seeds)),
        examine=exercise_seed,
    )
    caught = examined.caught
    for what, times in sorted(examined.befallen.items()):
        click.echo(f"{times:7}  {what}")
    if caught is not None:
        click.echo(caught.tell(broken, again=f"--machines {TOGETHER} --first"))
    said = "" if caught else "; each has come to what the model has said"
    click.echo(f"{TOGETHER * examined.schedules} machines in {examined.seconds:.0f} s{said}")
    if broken is not None:
        click.echo(f"{broken}: {'caught' if examined.shown else 'NOT caught'}")
    return int(caught is not None if broken is None else not examined.shown)


def _go_through(dsn: str, first: int, processes: int | None) -> int:
    """Every broken engine that is to be caught here, each on the same seeds, until one shows it."""
    missed = 0
    for name in CAUGHT:
        seeds = range(first, first + _BROKEN_SEEDS)
        examined = examine_seeds(dsn, seeds, broken=name, processes=processes, minutes=_BROKEN_MINUTES)
        missed += not examined.shown
        click.echo(_line(name, examined))
    click.echo(f"{len(CAUGHT) - missed} passed, {missed} failed")
    return int(missed > 0)


def _line(name: str, examined: Examined) -> str:
    caught = examined.caught
    found = "NOT caught" if caught is None else f"seed {caught.seed}: {caught.wrong[0].splitlines()[0]}"
    if caught is not None and caught.fell:
        found = f"NOT caught, an accident: {found}"
    return f"{name:42} {examined.schedules:4} schedules {examined.seconds:6.1f} s  {found[:160]}"


class _Progress:
    """Says from time to time how far it is."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._began = self._told = time.monotonic()
        self._count = 0

    def __call__(self, _report: Report) -> None:
        self._count += 1
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            click.echo(f"{now - self._began:5.0f} s: {self._count} of {self._seeds}", err=True)


def _print_trace(report: Report) -> None:
    if not report.wrong:
        click.echo("\n".join(report.trace))


def _show(report: Report, broken: str | None) -> None:
    click.echo(report.tell(broken))
    if report.trace:
        file = Path(tempfile.gettempdir()) / f"holdfast-simulation-{report.seed}.trace"
        file.write_text("\n".join(report.trace) + "\n", encoding="utf-8")
        click.echo(f"the whole trace: {file}")


if __name__ == "__main__":
    # As Ctrl-C: its processes and its server end with it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    simulate()
