"""``holdfast db prune`` and ``holdfast db index-tags``."""

from __future__ import annotations

from datetime import timedelta

import click

from holdfast.app.database import reach_database
from holdfast.cli.options import Door, with_door
from holdfast.cli.words import duration
from holdfast.core.settings import KEEP_KEYS
from holdfast.core.states import Ending
from holdfast.store.connect import connect, translated
from holdfast.store.retention import drop_tags_index, make_tags_index, tags_are_indexed
from holdfast.store.session import Session

_ENDINGS = ", ".join(ending.name.lower() for ending in Ending)


@click.command()
@click.option(
    "--older-than", type=duration, required=True, metavar="TIME", help="That ended longer ago than this: 30d."
)
@click.option("--status", metavar="STATUS,...", help=f"That ended so: one or more of {_ENDINGS}.  [default: all]")
@click.option(
    "--keep-keys",
    type=duration,
    default=f"{KEEP_KEYS.days}d",
    metavar="TIME",
    help=f"How long their keys are still refused.  [default: {KEEP_KEYS.days}d]",
)
@click.option("--dry-run", is_flag=True, help="Say how many there are, and remove nothing.")
@with_door()
async def prune(door: Door, *, older_than: timedelta, status: str | None, keep_keys: timedelta, dry_run: bool) -> None:
    """Remove all that is recorded of runs that ended long ago.

    \b
      holdfast db prune --older-than 30d --status succeeded
      holdfast db prune --older-than 1d --dry-run

    A tree goes when its root is old enough and all of it has ended, dispatched activities with it; a run that was
    retried or rewound when the run in its place is. In batches, beside whatever else is done; interrupted, it has
    removed some and nothing in part. Workers do it by themselves with --keep.
    JSON: {"runs", "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    words = None if status is None else [word.strip() for word in status.split(",")]
    async with door.app_as_it_is.client(application="holdfast db prune", hints=False) as client:
        removed = await client.records.prune(older_than, status=words, keep_keys=keep_keys, dry_run=dry_run)
    did = "would be removed" if dry_run else "removed"
    door.out.answer({"runs": removed, "dry_run": dry_run}, f"{removed} run{'' if removed == 1 else 's'} {did}")


@click.command("index-tags")
@click.option("--drop", is_flag=True, help="Remove the index.")
@with_door()
async def index_tags(door: Door, *, drop: bool) -> None:
    """Make an index on the tags of runs, so that a search by them is quick among millions.

    \b
      holdfast db index-tags
      holdfast db index-tags --drop

    It is made beside everything else that is done, and makes each start with tags a little dearer. Only the owner of
    the schema can. JSON: {"indexed"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with reach_database(door.app_as_it_is.settings()) as database:
        connection = await connect(database.dsn, application="holdfast db index-tags")
        try:
            async with translated(database.dsn):
                session = Session(connection, database.statements)
                if drop or not await tags_are_indexed(session):
                    await drop_tags_index(session)
                if not drop:
                    await make_tags_index(session)
                indexed = await tags_are_indexed(session)
        finally:
            await connection.close()
    door.out.answer({"indexed": indexed}, "tags have an index" if indexed else "tags have no index")
