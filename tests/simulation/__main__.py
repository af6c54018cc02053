"""The command line: ``./dev simulate``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click

from holdfast.testing import shared_postgres
from tests.simulation.engines import ENGINES
from tests.simulation.laboratory import Report, examine, set_up

_SHOWN = 60
_TOGETHER = 5


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--seeds", type=click.IntRange(1), default=200, help="How many schedules.  [default: 200]")
@click.option("--first", type=int, default=1, help="The first seed; the others follow.  [default: 1]")
@click.option("--seed", type=int, help="Only this one, twice, with its trace.")
@click.option("--minutes", type=float, help="Stop after so many minutes, however many seeds are left.")
@click.option("--broken", type=click.Choice(sorted(ENGINES)), help="An engine from which a rule was taken out.")
@click.option("--processes", type=click.IntRange(1), help="How many at once.  [default: one per processor]")
@click.option("--twice/--once", default=False, help="Every seed twice; otherwise one of twenty.")
def simulate(
    *,
    seeds: int,
    first: int,
    seed: int | None,
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
    began = time.monotonic()
    chosen = [seed] if seed is not None else list(range(first, first + seeds))
    caught: Report | None = None
    done = trips = runs = deaths = waits = 0
    with shared_postgres(f"simulation-{os.getpid()}") as server:
        for report in _reports(server.dsn, chosen, broken, processes, twice=twice or seed is not None):
            done, trips = done + 1, trips + report.trips
            runs, deaths, waits = runs + report.runs, deaths + report.deaths, waits + report.waits
            if report.wrong:
                caught = report
                break
            if seed is not None:
                click.echo("\n".join(report.trace))
            if minutes is not None and time.monotonic() - began > minutes * 60:
                break
    seconds = time.monotonic() - began
    if caught is not None:
        _show(caught, broken)
    click.echo(
        f"{done} schedules in {seconds:.0f} s: {runs} runs, {trips} round trips, "
        f"{deaths} deaths, {waits} waits for locks"
        + ("" if caught is not None else "; nothing is lost and nothing is doubled")
    )
    if broken is not None:
        click.echo(f"{broken}: {'caught' if caught else 'NOT caught'}")
    sys.exit(int((caught is not None) != (broken is not None)))


def _reports(dsn: str, seeds: list[int], broken: str | None, processes: int | None, *, twice: bool) -> Iterator[Report]:
    count = min(processes or os.cpu_count() or 1, len(seeds))
    with ProcessPoolExecutor(count, get_context("spawn"), set_up, (dsn, broken)) as pool:
        waiting = iter(seeds)
        under_way: dict[Future[Report], int] = {}
        while True:
            while len(under_way) < count * _TOGETHER and (seed := next(waiting, None)) is not None:
                under_way[pool.submit(examine, seed, twice=twice or seed % 20 == 0)] = seed
            if not under_way:
                return
            ended = next(as_completed(under_way))
            del under_way[ended]
            report = ended.result()
            if report.wrong:
                pool.shutdown(wait=True, cancel_futures=True)
            yield report


def _show(report: Report, broken: str | None) -> None:
    file = Path(tempfile.gettempdir()) / f"holdfast-simulation-{report.seed}.trace"
    file.write_text("\n".join(report.trace) + "\n", encoding="utf-8")
    click.echo(f"seed {report.seed}, the end of its trace:")
    click.echo("\n".join(report.trace[-_SHOWN:]))
    for sentence in report.wrong:
        click.echo(f"WRONG: {sentence}")
    if report.suspect is not None:
        click.echo(report.suspect)
    again = f"./dev simulate --seed {report.seed}" + ("" if broken is None else f" --broken '{broken}'")
    click.echo(f"again: {again}; the whole trace: {file}")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Texts in sets have another order in each process otherwise.
        os.execve(  # noqa: S606 - this very program
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    simulate()
