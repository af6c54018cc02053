"""``holdfast check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from holdfast.app.check import Break, CheckReport, check_runs
from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.client import Sample
from holdfast.core.errors import ConfigurationError, InvalidInput
from holdfast.core.export import RunExport

_SHOWN = 20
"""Of each workflow at most so many runs are named for people."""


@click.command()
@click.argument("app", metavar="MODULE:APP", envvar="HOLDFAST_APP")
@click.option("--sample", type=click.IntRange(1), default=200, metavar="N", help="So many runs.  [default: 200]")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Of this workflow only; may be repeated.")
@click.option("--ended", is_flag=True, help="Replay runs that have ended as well: half of the sample.")
@click.option(
    "--from",
    "places",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Exported runs, a file or a folder of them, instead of the database; may be repeated.",
)
@click.option(
    "--added",
    multiple=True,
    metavar="ACTIVITY",
    help="New in the code, before steps that are recorded: runs whose code waits for it are not held against it.",
)
@with_door(app=False)
async def check(
    door: Door,
    *,
    sample: int,
    names: Sequence[str],
    ended: bool,
    places: Sequence[Path],
    added: Sequence[str],
) -> int:
    """Replay recorded runs against the code of MODULE:APP, and tell which of them would break.

    \b
      holdfast check shop.orders:app --sample 200
      holdfast check shop.orders:app --from tests/runs --json

    Open runs are taken from the database, spread over the workflows and their versions. No activity is called and
    nothing is written. That the code asks for more than is recorded is fine; what breaks is code that asks for
    something else, that leaves something recorded unasked, or that fails. Exit code 1 when a run would break.

    JSON: {"ok", "replayed", "breaks", "workflows": [{"name", "version", "runs", "replayed",
    "breaks": [{"run_id", "name", "version", "fault": "blocks|left over|fails|stuck|no code", "reason"}]}],
    "unknown": {NAME: count}}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    app = door.need_app()
    if places:
        runs = [run for run in _read(places) if not names or run.name in names]
        chosen = Sample(runs=runs, counts={})
    else:
        async with door.app_as_it_is.client(application="holdfast check", hints=False) as client:
            chosen = await client.sample(sample, names=list(names) or None, ended=ended)
    report = check_runs(app.executables, chosen.runs, counts=chosen.counts, added=added)
    door.out.answer(_as_json(report), *_words(report))
    return ExitCode.OK if report.ok else ExitCode.REFUSED


def _read(places: Sequence[Path]) -> Iterator[RunExport]:
    for place in places:
        files = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not files:
            raise ConfigurationError(f"there are no exported runs (*.json) in {place}")
        for file in files:
            try:
                yield RunExport.from_json(file.read_bytes())
            except InvalidInput as error:
                raise InvalidInput(f"{file}: {error}") from error
            except OSError as error:
                raise ConfigurationError(f"{file} cannot be read: {error}") from error


def _as_json(report: CheckReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "replayed": report.replayed,
        "breaks": len(report.breaks),
        "workflows": [asdict(checked, dict_factory=_without_errors) for checked in report.workflows],
        "unknown": dict(report.unknown),
    }


def _without_errors(fields: list[tuple[str, object]]) -> dict[str, object]:
    """A break says in words what its error says."""
    return {name: value for name, value in fields if name != "error"}


def _words(report: CheckReport) -> Iterator[Table | Text | str]:
    if not report.workflows and not report.unknown:
        yield "there are no runs of workflows to replay"
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("workflow", "runs", "replayed", "would break"):
        table.add_column(column, justify="left" if column == "workflow" else "right", no_wrap=True)
    for checked in report.workflows:
        name = checked.name if checked.version is None else f"{checked.name}@{checked.version}"
        broken = len(checked.breaks)
        table.add_row(
            Text(name),
            "" if checked.runs is None else str(checked.runs),
            str(checked.replayed),
            Text(str(broken), style="red" if broken else "green"),
        )
    yield table
    for checked in report.workflows:
        for one in checked.breaks[:_SHOWN]:
            yield _told(one)
        if len(checked.breaks) > _SHOWN:
            yield f"… and {len(checked.breaks) - _SHOWN} more runs of {checked.name}; --json names them all"
    for name, count in sorted(report.unknown.items()):
        yield Text(f"{count} of {name!r}, which this app does not have: not replayed", style="yellow")


def _told(one: Break) -> Text:
    name = one.name if one.version is None else f"{one.name}@{one.version}"
    return Text.assemble("\n", (f"{name} {one.run_id} ", "bold"), (one.fault, "red"), f"\n  {one.reason}")
