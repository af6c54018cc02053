"""``holdfast run retry``, ``rewind`` and ``fork``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.target import Target, tell, with_target
from holdfast.cli.words import duration, read_input
from holdfast.client import RunHandle
from holdfast.core.states import RunKindName

with_timeout = click.option(
    "--timeout", type=duration, metavar="TIME", help="The new run fails if it has not ended by then."
)


@click.command()
@with_target
@with_timeout
@with_door()
async def retry(door: Door, *, target: Target, timeout: timedelta | None) -> int | None:
    """Try the failed or cancelled run ID, or all that fit the filters, again from its last good step.

    \b
      holdfast run retry 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run retry --all --workflow ship-order --status failed --since 1d --dry-run

    A new run takes its place, with what was recorded but for what led to the end. The old id means the new run.
    Exit code 1 when it has not ended, or has succeeded.

    JSON: {"id", "continued_from"}, the id of the new run; with --all {"runs", "effects", "made", "refused", "more",
    "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await retry_target(door, target, timeout)


async def retry_target(
    door: Door, target: Target, timeout: timedelta | None, kind: RunKindName | None = None
) -> int | None:
    """Tries them again, and answers; gives the exit code."""
    async with door.app_as_it_is.client(application="holdfast retry", hints=False) as client:
        if target.id is None:
            runs = target.runs(client, kind)
            return tell(door, await runs.retry(timeout=timeout, limit=target.limit, dry_run=target.dry_run))
        _answer(door, target.id, await client.get(target.id).retry(timeout=timeout))
    return None


@click.command()
@with_target
@click.option("--to", required=True, metavar="KEY", help="The first outcome that is not kept: charge#1.")
@with_timeout
@with_door()
async def rewind(door: Door, *, target: Target, to: str, timeout: timedelta | None) -> int | None:
    """Take the run ID, or all that fit the filters, back to before one of its outcomes.

    \b
      holdfast run rewind 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --to charge#1
      holdfast run rewind --all --workflow ship-order --since 1d --to pack#1

    A new run takes its place, with everything before that outcome; an open run is ended as cancelled. What follows is
    done once more. `holdfast run show` shows the keys. JSON: as `run retry`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run rewind", hints=False) as client:
        if target.id is None:
            runs = target.runs(client)
            return tell(door, await runs.rewind(to, timeout=timeout, limit=target.limit, dry_run=target.dry_run))
        _answer(door, target.id, await client.get(target.id).rewind(to, timeout=timeout))
    return None


@click.command()
@with_target
@click.option("--from", "from_", metavar="KEY", help="The first outcome that is not kept; without, none is.")
@click.option("--input", "document", metavar="JSON", help="Another input, as one JSON object.")
@with_timeout
@with_door()
async def fork(
    door: Door, *, target: Target, from_: str | None, document: str | None, timeout: timedelta | None
) -> int | None:
    """Make a new run from the run ID, or from each that fits the filters, beside it.

    \b
      holdfast run fork 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --from charge#1
      holdfast run fork 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --input '{"order": {"number": 18}}'

    The new run has everything before that outcome; the old one stays as it is. JSON: as `run retry`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    values = None if document is None else read_input(document, ())
    async with door.app_as_it_is.client(application="holdfast run fork", hints=False) as client:
        if target.id is None:
            tally = await target.runs(client).fork(
                from_, input=values, timeout=timeout, limit=target.limit, dry_run=target.dry_run
            )
            return tell(door, tally)
        _answer(door, target.id, await client.get(target.id).fork(from_, input=values, timeout=timeout))
    return None


def _answer(door: Door, old: UUID, new: RunHandle[Any]) -> None:
    door.out.answer({"id": new.id, "continued_from": old}, str(new.id))
