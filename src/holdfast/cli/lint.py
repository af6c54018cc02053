"""``holdfast lint``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.lint import Finding, LintReport


@click.command()
@click.argument("app", metavar="MODULE:APP", envvar="HOLDFAST_APP")
@with_door(app=False)
def lint(door: Door) -> int:
    """Read the workflows of MODULE:APP for what would not come out the same on a replay. It connects to nothing.

    \b
      holdfast lint shop.orders:app
      holdfast lint shop.orders:app --json | jq '.findings[] | select(.rule == "clock")'

    Clocks, random numbers, files, networks, databases, processes, threads, the environment, the order of sets, and
    state that runs share. Functions of the same package are followed; activities may do all this, so they are not. A
    comment `# holdfast: allow, with the reason` in the line, or alone above it, silences a finding. Exit code 1 with
    any.

    JSON: {"ok", "workflows", "findings": [{"file", "line", "column", "rule", "what", "instead", "workflow",
    "through"}], "allowed": [{"finding", "reason"}], "unread": [NAME]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    report = door.need_app().lint()
    door.out.answer({"ok": report.ok, **asdict(report)}, *_words(report))
    return ExitCode.OK if report.ok else ExitCode.REFUSED


def _words(report: LintReport) -> Iterator[Text | str]:
    for finding in report.findings:
        yield _told(finding)
    for name in report.unread:
        yield Text(f"workflow {name!r}: its source cannot be read", style="yellow")
    found, allowed = len(report.findings), len(report.allowed)
    yield (
        f"{report.workflows} workflow{_s(report.workflows)} read, {found} finding{_s(found)}"
        f"{f', {allowed} allowed' if allowed else ''}"
    )


def _told(finding: Finding) -> Text:
    through = f" through {' → '.join(finding.through[1:])}" if len(finding.through) > 1 else ""
    return Text.assemble(
        (f"{_near(finding.file)}:{finding.line}:{finding.column}", "bold"),
        (f"  {finding.rule}", "red"),
        f"  {finding.what}; {finding.instead}",
        (f"  (workflow {finding.workflow}{through})", "dim"),
    )


def _near(file: str) -> str:
    """The path as people write it who are in the project."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _s(count: int) -> str:
    return "" if count == 1 else "s"
