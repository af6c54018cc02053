"""The command line: ``./dev chaos``."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.chaos.broken import TRIALS, Caught, catch
from tests.chaos.report import as_json, lines
from tests.chaos.trial import Plan, run
from tests.rules.defects import DEFECTS

_SOUND_SECONDS = 20.0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--minutes", type=click.FloatRange(0.05), help="How long things break.  [default: 10]")
@click.option("--seed", type=int, help="Deals the same faults again.  [default: a new one]")
@click.option("--workers", type=click.IntRange(1), default=3, help="Worker processes.  [default: 3]")
@click.option(
    "--rate", type=click.FloatRange(0.1), default=15.0, help="Runs that are started per second.  [default: 15]"
)
@click.option("--only", multiple=True, metavar="FAULT", help="Deal only this fault, by its name; repeated for several.")
@click.option("--patience", type=float, default=90.0, help="Seconds in which all ends once faults stop.  [default: 90]")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the report to this file, too, as JSON.")
@click.option("--broken", is_flag=True, help="Break the engine on purpose, in each way in turn: is it found?")
@click.option("--defect", multiple=True, metavar="NAME", help="With --broken: only this one; repeated for several.")
@click.option("--sound", is_flag=True, help="With --broken: the same trials without the defects. Nothing may be found.")
@click.option("--list", "listed", is_flag=True, help="With --broken: list the defects.")
def chaos(
    *,
    minutes: float | None,
    seed: int | None,
    workers: int,
    rate: float,
    only: tuple[str, ...],
    patience: float,
    file: Path | None,
    broken: bool,
    defect: tuple[str, ...],
    sound: bool,
    listed: bool,
) -> None:
    """Break everything that can break, for some time, and see whether anything is lost or doubled.

    Worker processes, a Postgres and the network between them are real. A seed deals the faults. What was promised to
    callers, what the tables say and what the activities themselves wrote down has to agree at the end. The exit code
    says whether it does.

    With --broken it is the engine that is broken, in one way after the other, and each has to be found.
    """
    if broken:
        if listed:
            for name, one in DEFECTS.items():
                click.echo(f"{name:42} {one.seen}")
            return
        if unknown := set(defect) - TRIALS.keys():
            raise click.UsageError(f"there is no defect {min(unknown)!r}; --broken --list says which there are")
        seconds = None if minutes is None else minutes * 60
        sys.exit(asyncio.run(_break(defect or tuple(TRIALS), seconds, seed, sound=sound, file=file)))
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    plan = Plan(
        seed=seed,
        seconds=60 * (10.0 if minutes is None else minutes),
        workers=workers,
        rate=rate,
        patience=patience,
        only=frozenset(only),
    )
    try:
        outcome = asyncio.run(run(plan, lambda line: click.echo(line, err=True)))
    except ValueError as mistake:
        raise click.UsageError(str(mistake)) from None
    click.echo("")
    for line in lines(outcome):
        click.echo(line)
    if file is not None:
        file.write_text(as_json(outcome) + "\n", encoding="utf-8")
    sys.exit(0 if outcome.good else 1)


async def _break(
    defects: Sequence[str], seconds: float | None, seed: int | None, *, sound: bool, file: Path | None
) -> int:
    """Each of these in turn; the exit code says whether all were found, or, in a sound engine, none."""
    results: list[Caught] = []
    for name in defects:
        result = await catch(name, seconds=(seconds or _SOUND_SECONDS) if sound else seconds, seed=seed, sound=sound)
        results.append(result)
        click.echo(str(result))
        if sound or result.check is None:
            for line in lines(result.outcome):
                click.echo(f"    {line}", err=True)
    if file is not None:
        rows = [{"defect": one.defect, "check": one.check, "after": one.seconds, "took": one.took} for one in results]
        file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    good = [one for one in results if (one.check is None) == sound]
    click.echo(f"{len(good)} of {len(results)} {'trials found nothing' if sound else 'defects were found'}")
    return 0 if len(good) == len(results) else 1


if __name__ == "__main__":
    # As Ctrl-C: what it has started ends with it, and what it has written goes.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    chaos()
