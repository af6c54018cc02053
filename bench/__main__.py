"""The command line: ``python -m bench``, or ``./dev bench``."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from bench.catalogue import SCENARIOS
from bench.environment import look_around
from bench.peers.comparison import chosen, compare
from bench.peers.scenario import SCENARIOS as PEER_SCENARIOS
from bench.plan import Plan
from bench.record import Record
from bench.report import print_report, write_json
from bench.scenario import Scenario
from bench.server import open_server
from bench.sitting import Sitting
from bench.tuning import DEFAULT, HIGH, Tuning

T = TypeVar("T")

_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_SECONDS, _SECONDS_OF_PEERS = 10.0, 3.0
_TUNINGS = {"high": [HIGH], "default": [DEFAULT], "both": [HIGH, DEFAULT]}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1),
    help=f"How long each is measured.  [default: {_SECONDS:g}; {_SECONDS_OF_PEERS:g} with --peers]",
)
@click.option("--repeat", type=click.IntRange(1), default=2, help="How often each is measured.  [default: 2]")
@click.option(
    "--factor",
    type=click.Choice(list(_TUNINGS)),
    default="both",
    help=f"The parallelism factor: {HIGH.parallelism_factor:g}, {DEFAULT.parallelism_factor:g}, or each in turn.  "
    "[default: both]",
)
@click.option(
    "--database-url",
    metavar="URL",
    help="A server to make scratch databases on.  [default: an embedded one, in TMPDIR]",
)
@click.option(
    "--parked", type=click.IntRange(1), default=1_000_000, metavar="N", help="Parked runs.  [default: 1000000]"
)
@click.option(
    "--days",
    type=click.IntRange(0, 3650),
    default=0,
    metavar="N",
    help="Divide the tables by day, with so many days.  [default: 0, not divided]",
)
@click.option("--minutes", type=click.FloatRange(0.01), default=30.0, help="How long a soak lasts.  [default: 30]")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."
)
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write into this folder where the time of workers, clients and server goes; needs py-spy.",
)
@click.option("--peers", "against_peers", is_flag=True, help="Measure Holdfast beside its peers.")
@click.option("--system", "systems", multiple=True, metavar="NAME", help="With --peers: only this one; repeatable.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --peers: write the page about it here.  [default: docs/benchmarks.md, and the figures beside it, where "
    "nobody and nothing is left out]",
)
@click.option("--list", "only_list", is_flag=True, help="Name the scenarios, and measure nothing.")
def bench(
    *,
    names: tuple[str, ...],
    seconds: float | None,
    repeat: int,
    factor: str,
    database_url: str | None,
    parked: int,
    days: int,
    minutes: float,
    json_file: Path | None,
    profile: Path | None,
    against_peers: bool,
    systems: tuple[str, ...],
    page: Path | None,
    only_list: bool,
) -> None:
    """Measure the engine beside the ceiling of the bare database, or beside its peers.

    Without a SCENARIO all are measured but the soak, which takes half an hour. The exit code says whether all could be
    run without losing a run, and nothing about the figures. A peer that is not installed, as those for Node where there
    is none, is no failure, and the table says so; one that is installed and fails is one.
    """
    if only_list:
        for scenario in PEER_SCENARIOS if against_peers else SCENARIOS:
            click.echo(f"{scenario.name:<16}{scenario.title}")
        return
    if against_peers:
        if profile is not None:
            raise click.UsageError("--profile is for Holdfast alone: it would slow down one of those that are compared")
        plan = Plan(seconds=_SECONDS_OF_PEERS if seconds is None else seconds, repeat=repeat)
        work = _compared(names, systems, plan, database_url=database_url, json_file=json_file, page=page)
        sys.exit(not _executed(work))
    if systems or page is not None:
        raise click.UsageError("--system and --page are for --peers")
    if profile is not None:
        profile = profile.absolute()
        profile.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        seconds=_SECONDS if seconds is None else seconds,
        repeat=repeat,
        parked=parked,
        days=days,
        minutes=minutes,
        profile=profile,
    )
    records = _executed(_run(_chosen(names), _TUNINGS[factor], plan, database_url, json_file))
    sys.exit(any(record.failure for record in records))


def _executed(work: Coroutine[Any, Any, T]) -> T:
    # So that whoever ends it in order ends the worker and the server too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _compared(
    names: Sequence[str],
    systems: Sequence[str],
    plan: Plan,
    *,
    database_url: str | None,
    json_file: Path | None,
    page: Path | None,
) -> Coroutine[Any, Any, bool]:
    try:
        scenarios, peers = chosen(names, systems)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if page is None and not names and not systems and plan.seconds >= _SECONDS_OF_PEERS:
        page = _PAGE
    if json_file is None and page is not None:
        json_file = page.with_suffix(".json")
    return compare(scenarios, peers, plan, database_url=database_url, json_file=json_file, page_file=page)


async def _run(
    scenarios: Sequence[Scenario],
    tunings: Sequence[Tuning],
    plan: Plan,
    database_url: str | None,
    json_file: Path | None,
) -> Sequence[Record]:
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    records: list[Record] = []
    async with open_server(database_url, days=plan.days) as server:
        environment = look_around(server.settings, data=server.data)
        sitting = Sitting(server=server, plan=plan, notes=notes)
        try:
            for scenario in scenarios:
                async for record in scenario.run(sitting, tunings):
                    records.append(record)
                    if json_file is not None:
                        # After each, so that what has been measured is kept whatever happens to the rest.
                        write_json(json_file, records, environment, plan)
        finally:
            print_report(records, environment, plan)
    return records


def _chosen(names: Sequence[str]) -> Sequence[Scenario]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"no scenario {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else [one for one in SCENARIOS if not one.only_named]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that the worker and the ceiling have, too."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    bench(prog_name="bench")
