"""``holdfast run why``."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

import click
from rich.text import Text

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.colours import COLOURS
from holdfast.cli.words import run_id


@click.command()
@click.argument("id", type=run_id)
@with_door()
async def why(door: Door, *, id: UUID) -> None:
    """Say why the run ID stands where it stands: what it waits for, and what would move it.

    \b
      holdfast run why 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90

    JSON: {"run_id", "name", "status", "reasons": [{"kind", "text", "what", "since", "until", "remedy"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run why", hints=False) as client:
        found = await client.why(id)
    head = Text.assemble((found.name, "bold"), f"  {found.run_id}  ", (str(found.status), COLOURS[found.status]))
    door.out.answer(asdict(found), head, *(f"  {line}" for line in str(found).splitlines()))
