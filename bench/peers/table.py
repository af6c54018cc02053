"""What came out of a sitting, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.figure import show
from bench.peers.document import Sat
from bench.peers.peer import Batch, name_all
from bench.peers.record import CEILING, PeerRecord
from bench.peers.scenario import CREW, PINNED, SCENARIOS
from bench.peers.verdict import judge, pinned_share

_WIDTH = 170


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of everybody.

    Attributes:
        scenario: What was measured.
        batch: With what size of batches; empty where that does not matter.
        figure: What is said of it.
        cells: For each system, the ceiling first, what is known of it.
    """

    scenario: str
    batch: str
    figure: str
    cells: Sequence[str]


def rows(sat: Sat, *, separator: str) -> Iterator[Row]:
    """The table: median, and the least and the most of the repetitions behind the separator."""
    systems = [CEILING, *(peer.name for peer in sat.peers)]
    for scenario in SCENARIOS:
        for batch in scenario.batches:
            found = [sat.records.of(scenario.name, batch, system) for system in systems]
            names = dict.fromkeys(figure.name for record in found if record for figure in record.figures)
            if not names and any(found):
                names = {"–": None}
            label = batch if scenario.has_worker else ""
            for name in names:
                cells = [_cell(record, name, separator, sat.plan.repeat) for record in found]
                yield Row(scenario=scenario.name, batch=label, figure=name, cells=cells)
            if scenario is PINNED and names:
                shares = [_share(sat, batch, system) for system in systems]
                yield Row(scenario=scenario.name, batch=label, figure="÷ jobs", cells=shares)


def settings(sat: Sat) -> Sequence[str]:
    """What it was measured with, a line for each."""
    plan, environment = sat.plan, sat.environment
    postgres = ", ".join(f"{name}={value}" for name, value in environment.postgres.items() if name != "server_version")
    versions = (
        f"Python {environment.python}, asyncpg {environment.asyncpg}, uvloop {environment.uvloop or 'not installed'}, "
        f"Node {sat.installation.node or 'not here'}, Holdfast's commit {environment.commit or 'unknown'}, "
        f"{environment.date}"
    )
    measured = f"{plan.seconds:g} s each, {plan.repeat} times, {plan.samples} latencies at most"
    lines = [
        f"{measured}; one worker process each, but in {CREW.name}",
        versions,
        str(environment.machine),
        f"PostgreSQL {environment.postgres['server_version']}: {postgres}",
    ]
    for peer in sat.peers:
        told = "; ".join(f"{whom}: {name_all(options)}" for whom, options in peer.told.items())
        missing = sat.installation.lack(peer)
        lines.append(f"{peer.title} {sat.version(peer)}: " + (f"not installed: {missing}" if missing else told))
    return lines


def print_table(sat: Sat) -> None:
    """Every figure of everybody, what was to be reached, the failures, and what it was measured with."""
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDTH)
    table = Table("scenario", "batch", "figure")
    for title in ("ceiling", *(peer.title for peer in sat.peers)):
        table.add_column(title, justify="right")
    for row in rows(sat, separator="\n"):
        table.add_row(row.scenario, row.batch, row.figure, *row.cells)
    console.print(table)
    targets = Table("compared", "Holdfast", "best peer", "ratio", "target", "reached")
    for verdict in judge(sat.records, sat.peers):
        ratio = "–" if verdict.ratio is None else show(verdict.ratio)
        targets.add_row(verdict.what, verdict.ours, verdict.theirs, ratio, str(verdict.target), verdict.reached)
    console.print(targets)
    for record in sat.records.failures:
        console.print(f"{record.scenario} {record.batch} {record.system}: {record.failure}", markup=False)
    for line in settings(sat):
        console.print(line, markup=False, soft_wrap=True)


def _cell(record: PeerRecord | None, name: str, separator: str, repeat: int) -> str:
    if record is None:
        return "–"
    if record.absent is not None:
        return record.absent.partition(":")[0]
    if record.failure is not None:
        return "failed"
    figure = record.figure(name)
    if figure is None:
        return "–"
    low, high = figure.spread
    times = "" if len(figure.values) == repeat else f" ({len(figure.values)}×)"
    spread = f"{show(low)} – {show(high)}{times}" if len(figure.values) > 1 else times.strip()
    return f"{show(figure.median)}{separator}{spread}" if spread else show(figure.median)


def _share(sat: Sat, batch: Batch, system: str) -> str:
    share = pinned_share(sat.records, batch, system)
    return "–" if share is None else show(share)
