"""The command ``holdfast demo``."""

from __future__ import annotations

import click

from holdfast.cli.demo.story import SCHEMA, tell
from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door


@click.command()
@with_door(app=False)
async def demo(door: Door) -> int:
    """A tour in under a minute: two workers, a few hundred runs, one of the workers killed with -9, and nothing lost.

    \b
      holdfast demo

    It runs the examples of the project on an embedded Postgres in .holdfast/, or on the database that is configured, in
    a schema of its own (holdfast_demo). At the end it compares what was called with what was recorded, and prints what
    the runs found out. Exit code 0 only if every check holds.

    JSON: {"ok", "seconds", "killed": {"name", "pid", "held", "recovered_after"}, "checks": [{"name", "ok", "detail"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    from holdfast.cli.demo.examples import app

    app.override(origin="the demo", schema=SCHEMA)
    app.override(origin="--database-url", database_url=door.database_url)
    app.override(origin="--schema", schema=door.schema)
    verdict = await tell(app, door.out)
    door.out.answer(verdict.as_json())
    return ExitCode.OK if verdict.ok else ExitCode.REFUSED
