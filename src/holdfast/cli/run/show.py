"""``holdfast run show``."""

from __future__ import annotations

from uuid import UUID

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.timeline import draw
from holdfast.cli.run.view import as_json
from holdfast.cli.words import run_id


@click.command()
@click.argument("id", type=run_id)
@click.option("--all", "everything", is_flag=True, help="All steps and whole values, however long.")
@click.option("--exact", is_flag=True, help="The run with this very id, also where a retry or rewind took its place.")
@with_door()
async def show(door: Door, *, id: UUID, everything: bool, exact: bool) -> None:
    """Show the run ID: what it did step by step, how long each took, what failed, and what it waits for.

    \b
      holdfast run show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run show 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --json | jq '.journal[] | {key, attempts, output}'

    JSON: what `run list` gives of a run, and {"input", "output", "failure", "waits_for", "since", "deadline",
    "crashes", "cancel_requested", "blocked_reason", "parent", "root", "continued_from", "continuation",
    "state": {KEY: VALUE}, "progress": {KEY: {"fraction", "message", "key", "attempt", "at"}},
    "attempts": [{"key", "number", "started_at", "at", "next_at", "failure"}],
    "journal": [{"key", "kind", "attempts", "started_at", "at", "output", "failure", "failed", "child"}],
    "inbox": [{"number", "kind", "name", "key", "payload", "at"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    await show_run(door, id, everything=everything, exact=exact)


async def show_run(door: Door, id: UUID, *, everything: bool, exact: bool) -> None:
    """Answers with all that is known of it."""
    async with door.app_as_it_is.client(application="holdfast show", hints=False) as client:
        description = await client.get(id).describe(exact=exact)
    door.out.answer(as_json(description), draw(description, width=door.out.people.width, everything=everything))
