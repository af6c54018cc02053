"""An overview for programs, and as tables for people. The names of the JSON form stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.worker.look import as_json as worker_as_json
from holdfast.cli.worker.look import table as worker_table
from holdfast.client import Line, Overview, Rates


def as_json(one: Overview, rates: Rates | None) -> dict[str, object]:
    """All of it by its names in Python."""
    return {
        "at": one.at,
        "open": one.open,
        "rates": None if rates is None else asdict(rates),
        "lines": [
            {**asdict(line), "due_is_more": line.due_is_more, "parked_is_more": line.parked_is_more}
            for line in one.lines
        ],
        "more_lines": one.more_lines,
        "workers": [worker_as_json(worker) for worker in one.workers],
    }


def shown(one: Overview, rates: Rates | None) -> RenderableType:
    """A line on what is done, a table of the lines, a table of the workers."""
    return Group(*_parts(one, rates))


def _parts(one: Overview, rates: Rates | None) -> Iterator[RenderableType]:
    done = (
        "…"
        if rates is None
        else f"{rates.started:,.1f} started/s   {rates.ended:,.1f} ended/s   {rates.recorded:,.1f} recorded/s"
    )
    yield Text(f"{one.at:%H:%M:%S} UTC   about {one.open:,} open   {done}")
    yield Text()
    yield _table(one) if one.lines else Text("nothing stands in line, and nobody takes anything", style="dim")
    if one.more_lines:
        yield Text("there are more lines: look at one lane with --lane", style="dim")
    yield Text()
    yield worker_table(one.workers) if one.workers else Text("no workers: what is started waits", style="yellow")


def _table(one: Overview) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("lane", "priority", "in line", "oldest", "held", "waiting", "workers"):
        table.add_column(column, no_wrap=True, justify="left" if column in {"lane", "priority"} else "right")
    for line in one.lines:
        table.add_row(
            Text(line.lane if line.beside is None else f"{line.lane} ({line.beside})"),
            line.priority,
            _number(line.due, more=line.due_is_more),
            _age(line),
            f"{line.held:,}",
            _number(line.parked, more=line.parked_is_more),
            str(line.workers),
            # Nobody takes what stands there.
            style="yellow" if line.due and not line.workers else "",
        )
    return table


def _number(count: int, *, more: bool) -> str:
    return f"{count:,}+" if more else f"{count:,}"


def _age(line: Line) -> str:
    if not line.due:
        return ""
    seconds = line.oldest.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))
