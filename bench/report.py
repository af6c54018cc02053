"""What comes out: a table for people, a document for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.environment import Environment
from bench.figure import Figure, show
from bench.plan import Plan
from bench.record import Record

_WIDTH = 150


def write_json(file: Path, records: Sequence[Record], environment: Environment, plan: Plan) -> None:
    """One object per scenario and tuning, each with everything that it was measured with."""
    settings = {
        "seconds": plan.seconds,
        "long_seconds": plan.long,
        "warm_up": plan.warm_up,
        "cool_down": plan.cool_down,
        "repeat": plan.repeat,
        "samples": plan.samples,
        "parked": plan.parked,
        "days": plan.days,
        "minutes": plan.minutes,
        "profiled": plan.profile is not None,
    }
    objects = [record.as_json() | {"settings": settings, "environment": asdict(environment)} for record in records]
    file.write_text(json.dumps(objects, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def print_report(records: Sequence[Record], environment: Environment, plan: Plan) -> None:
    """Every figure with its target, and what it was measured with."""
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDTH)
    table = Table("scenario", "factor")
    for heading in ("figure", "median", "min – max", "target", "reached"):
        table.add_column(heading, justify="right" if heading in {"median", "min – max"} else "left")
    for record in records:
        _add(table, record)
    console.print(table)
    for line in _settings(environment, plan):
        console.print(line, markup=False, soft_wrap=True)


def _add(table: Table, record: Record) -> None:
    tuning = "–" if record.tuning is None else f"{record.tuning.parallelism_factor:g} ({record.tuning.name})"
    heads = [(record.scenario, tuning), *[("", "")] * max(0, len(record.figures) - 1)]
    if record.failure is not None:
        table.add_row(*heads[0], "[red]failed[/]", "", "", "", _last_line(record.failure), end_section=True)
        return
    for number, (head, figure) in enumerate(zip(heads, record.figures, strict=True)):
        table.add_row(*head, *_cells(record, figure), end_section=number == len(heads) - 1)


def _last_line(failure: str) -> str:
    """The whole of it has been told before, and is in the JSON."""
    return escape(failure.strip().splitlines()[-1])


def _cells(record: Record, figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    target = record.target(figure)
    shown = figure.name, show(figure.median), f"{show(low)} – {show(high)}"
    if target is None:
        return *shown, "", ""
    return *shown, str(target), "[green]yes[/]" if target.is_reached(figure.median) else "[red]no[/]"


def _settings(environment: Environment, plan: Plan) -> Sequence[str]:
    measured = (
        f"{plan.seconds:g} s after {plan.warm_up:g} s of warm-up ({plan.long:g} s where a decline is looked for), "
        f"{plan.repeat} times, {plan.samples} latencies each; one worker process"
    )
    if plan.profile is not None:
        measured += ", profiled, which slows it down a little"
    versions = (
        f"Holdfast {environment.holdfast}, Python {environment.python}, asyncpg {environment.asyncpg}, "
        f"uvloop {environment.uvloop or 'not installed'}, commit {environment.commit or 'unknown'}, {environment.date}"
    )
    postgres = ", ".join(f"{name}={value}" for name, value in environment.postgres.items() if name != "server_version")
    return (
        measured,
        versions,
        str(environment.machine),
        f"PostgreSQL {environment.postgres['server_version']}: {postgres}",
    )
