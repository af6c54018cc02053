"""``holdfast job list`` and ``holdfast job show``."""

from __future__ import annotations

from uuid import UUID

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.listing import Listing, answer_page, with_listing
from holdfast.cli.run.show import show_run
from holdfast.cli.words import run_id


@click.command("list")
@with_listing
@with_door()
async def list_jobs(door: Door, *, listing: Listing) -> None:
    """List jobs, newest first, page by page.

    \b
      holdfast job list --status failed --since 1d
      holdfast job list --name send_email --lane mail --status ready,scheduled

    JSON: as `run list`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    await answer_page(door, listing, "job")


@click.command()
@click.argument("id", type=run_id)
@click.option("--all", "everything", is_flag=True, help="All attempts and whole values, however long.")
@click.option("--exact", is_flag=True, help="The job with this very id, also where a retry took its place.")
@with_door()
async def show(door: Door, *, id: UUID, everything: bool, exact: bool) -> None:
    """Show the job ID: its attempts and their errors, how far it is, what it waits for.

    \b
      holdfast job show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast job show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --json | jq '.attempts[] | {number, at, failure}'

    JSON: as `run show`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    await show_run(door, id, everything=everything, exact=exact)
