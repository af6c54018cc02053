"""``holdfast run export``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.target import Target, with_filters
from holdfast.cli.words import run_id
from holdfast.core.errors import ConfigurationError
from holdfast.core.export import RunExport


@click.command()
@click.argument("ids", type=run_id, nargs=-1, metavar="[ID]...")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="One file each.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="So many runs, spread over the workflows.")
@click.option(
    "--workflow",
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Of this workflow; may be repeated with --sample.",
)
@click.option("--ended", is_flag=True, help="With --sample: runs that have ended as well.")
@with_filters
@with_door()
async def export(
    door: Door,
    *,
    ids: Sequence[UUID],
    folder: Path | None,
    sample: int | None,
    names: Sequence[str],
    ended: bool,
    everything: bool,
    target: Target,
) -> None:
    """Export the runs ID, or all that fit the filters, with journals and results, to stdout or into files ID.json.

    \b
      holdfast run export 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 > run.json
      holdfast run export --all --workflow ship-order --status failed --since 1d --to failed
      holdfast run export --sample 200 --to tests/runs

    A file holds what `holdfast check` needs to replay the run, and the payloads as they were before any codec: name the
    app with --app if there is one, and mind who may read them.

    JSON, in a file and of one run on stdout: {"holdfast": "run", "format": 1, "run": {"id", "kind", "name", "version",
    "lane", "priority", "input", "tags", "options", "parent", "root", "created_at", "first_claim_at", "entered"},
    "journal": [{"seq", "kind", "key", "at", "digest", "output", "error", "attempts", "not_before"}],
    "result": {"status", "at", "output", "error"}}; with --to and --json: {"exported": [{"id", "file"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    _refuse(target, names, ids=bool(ids), sample=sample is not None, everything=everything, ended=ended)
    if folder is None and len(ids) != 1:
        raise ConfigurationError("several runs go into files: say where with --to DIR")
    async with door.app_as_it_is.client(application="holdfast run export", hints=False) as client:
        if everything:
            runs = await replace(target, name=next(iter(names), None)).runs(client).export(limit=target.limit)
        elif sample is None:
            runs = [await client.export(one) for one in ids]
        else:
            runs = list((await client.sample(sample, names=list(names) or None, ended=ended)).runs)
    if folder is None:
        sys.stdout.write(runs[0].to_json())
    else:
        files = _written(runs, folder)
        door.out.answer(
            {"exported": [{"id": run.run_id, "file": file} for run, file in zip(runs, files, strict=True)]},
            f"{len(files)} runs exported to {folder}",
        )


def _refuse(target: Target, names: Sequence[str], *, ids: bool, sample: bool, everything: bool, ended: bool) -> None:
    if [ids, sample, everything].count(True) != 1:
        raise ConfigurationError("which runs? Give their ids, or --all with filters, or --sample N")
    if everything and not (names or target.filtered):
        raise ConfigurationError("--all needs a filter, such as --workflow NAME, --status STATUS or --tag NAME=VALUE")
    if everything and len(names) > 1:
        raise ConfigurationError("--all takes one --workflow: several go with --sample")
    if target.filtered and not everything:
        raise ConfigurationError("filters go with --all; a sample is of workflows by --workflow, also --ended")
    if (names and ids) or (ended and not sample):
        raise ConfigurationError("--workflow goes with --all or --sample, --ended with --sample")


def _written(runs: Sequence[RunExport], folder: Path) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{run.run_id}.json" for run in runs]
        for run, file in zip(runs, files, strict=True):
            file.write_text(run.to_json(), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the runs cannot be written to {folder}: {error}") from error
    return files
