"""``holdfast run tag``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.target import Target, tell, with_target
from holdfast.cli.words import tag as read_tag


@click.command()
@with_target
@click.option("--set", "given", type=read_tag, multiple=True, metavar="NAME=VALUE", help="This tag; may be repeated.")
@click.option("--remove", multiple=True, metavar="NAME", help="Not this tag any more; may be repeated.")
@with_door()
async def tag(door: Door, *, target: Target, given: Sequence[tuple[str, str]], remove: Sequence[str]) -> int | None:
    """Set and remove tags of the run ID, or of all that fit the filters; of one run print all that it has then.

    \b
      holdfast run tag 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --set customer=acme --set seen-by=ada --remove new
      holdfast run tag --all --workflow ship-order --status failed --since 1d --set triage=ada

    `holdfast run list --tag customer=acme` finds them by it; --tag is what they have, --set what they get.

    JSON: {"id", "tags"}; with --all {"runs", "effects", "made", "refused", "more", "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    if target.id is None and not given and not remove:
        raise click.UsageError("say what to do with them: --set NAME=VALUE or --remove NAME")
    async with door.app_as_it_is.client(application="holdfast run tag", hints=False) as client:
        if target.id is None:
            runs = target.runs(client)
            tally = await runs.tag(dict(given), remove=remove, limit=target.limit, dry_run=target.dry_run)
            return tell(door, tally)
        now = await client.get(target.id).tag(dict(given), remove=remove)
    words = [f"{name}={value}" for name, value in now.items()]
    door.out.answer({"id": target.id, "tags": now}, *(words or ["no tags"]))
    return None
