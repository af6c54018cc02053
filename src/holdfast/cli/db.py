"""``holdfast db``: the schema, and whether all is well."""

from __future__ import annotations

import sys

import click
from rich.table import Table
from rich.text import Text

from holdfast.app.database import reach_database
from holdfast.cli.exit_code import ExitCode
from holdfast.cli.findings import Finding, Level
from holdfast.cli.inspection import inspect
from holdfast.cli.options import Door, with_door
from holdfast.cli.partition import partition
from holdfast.cli.prune import index_tags, prune
from holdfast.store.connect import connect, hide_password, translated
from holdfast.store.migrate import code_version, migrate, setup_sql
from holdfast.store.partitions import make_days, partition_by_day
from holdfast.store.roles import roles_sql
from holdfast.store.session import Session

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red"}
_MARKS = {Level.OK: "ok", Level.WARNING: "note", Level.FAULT: "FAULT"}


@click.group()
def db() -> None:
    """Set up Holdfast's tables, and see whether all is well.

    \b
      holdfast db setup
      holdfast db check
      holdfast db sql --roles
      holdfast db prune --older-than 30d --status succeeded
    """  # noqa: D301 - \b keeps click from wrapping the examples


@db.command()
@click.option(
    "--partition-by",
    type=click.Choice(["day"]),
    help="Divide what is recorded of runs by day, for good: see holdfast db partition.  [default: not divided]",
)
@with_door()
async def setup(door: Door, *, partition_by: str | None) -> None:
    """Make the schema, or bring it up to the version of this code. Safe to run at any time, from many places.

    \b
      holdfast db setup
      holdfast db setup --database-url postgresql://owner@db/shop --schema orders
      holdfast db setup --partition-by day

    Each migration is one transaction, under a lock. JSON: {"schema", "version", "applied": [{"version", "name"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with reach_database(door.app.settings()) as database:
        connection = await connect(database.dsn, application="holdfast setup")
        try:
            async with translated(database.dsn):
                session = Session(connection, database.statements)
                done = await migrate(session)
                if partition_by == "day":
                    await partition_by_day(session)
                    await make_days(session)
        finally:
            await connection.close()
    schema = database.statements.schema
    applied = [{"version": migration.version, "name": migration.name} for migration in done]
    words = f"applied {', '.join(migration.name for migration in done)}" if done else "nothing to do"
    door.out.answer(
        {"schema": schema, "version": code_version(), "applied": applied},
        f"schema {schema} is at version {code_version()}: {words} ({hide_password(database.dsn)})",
    )


@db.command()
@with_door()
async def check(door: Door) -> int:
    """See whether all is well: settings and where each came from, server, schema, rights, connections, workers.

    \b
      holdfast db check
      holdfast db check --json | jq '.findings[] | select(.level == "fault")'

    Exit code 1 when something is at fault, 3 when the database cannot be reached. It changes nothing; an embedded
    Postgres is started for it if need be.
    JSON: {"ok", "findings": [{"topic", "level": "ok|warning|fault", "text", "advice", "data"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    inspection = await inspect(door.app)
    findings = inspection.findings
    ok = all(finding.level is not Level.FAULT for finding in findings)
    door.out.answer({"ok": ok, "findings": [finding.as_json() for finding in findings]}, _table(findings))
    if not inspection.reached:
        return ExitCode.DATABASE
    return ExitCode.OK if ok else ExitCode.REFUSED


@db.command()
@click.option("--roles", is_flag=True, help="The grants for client, worker and consumer roles instead.")
@with_door()
def sql(door: Door, *, roles: bool) -> None:
    """Print the SQL of the setup, for those who apply SQL by other means. It connects to nothing.

    \b
      holdfast db sql | psql "$DATABASE_URL" --set ON_ERROR_STOP=1
      holdfast db sql --roles > grants.sql

    The first is for a database without the schema; `holdfast db setup` also upgrades. JSON: {"schema", "sql"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    schema = door.app.settings().schema.value
    text = roles_sql(schema) if roles else setup_sql(schema)
    if door.out.as_json:
        door.out.answer({"schema": schema, "sql": text})
    else:
        sys.stdout.write(text)


for command in (prune, index_tags, partition):
    db.add_command(command)


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        words = Text(finding.text)
        if finding.advice:
            words.append(f"\n→ {finding.advice}", style=_STYLES[finding.level])
        table.add_row(Text(_MARKS[finding.level], style=_STYLES[finding.level]), finding.topic, words)
    return table
