"""``holdfast job start``."""

from __future__ import annotations

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.run.start import Asked, begin, with_start
from holdfast.core.retry import Retry


@click.command()
@with_start
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    metavar="N",
    help="Try it so often at most, with rests of 1 s, 2 s, 4 s, ...  [default: as its activity says]",
)
@with_door()
async def start(door: Door, *, asked: Asked, max_attempts: int | None) -> int:
    """Start a job, a run of the activity NAME, and print its id.

    \b
      holdfast job start send_email to=ada@acme.dev subject=Hello
      holdfast job start report day=2030-01-31 --key report --key-window open --if-taken replace
      holdfast job start send_email --input '{"to": "ada@acme.dev"}' --after 1h --priority low --max-attempts 10
      holdfast job start send_email to=ada@acme.dev --wait --at-most 30s

    Its arguments are those of `run start`. Exit code 1 when the key is taken and it is to be refused then.

    JSON: {"id", "existing"}; with --wait also {"status", "output", "failure"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    retry = None if max_attempts is None else Retry(max_attempts=max_attempts)
    return await begin(door, asked, job=True, retry=retry)
