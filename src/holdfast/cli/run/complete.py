"""``holdfast run complete`` and ``holdfast run fail``."""

from __future__ import annotations

import click

from holdfast.cli.options import Door, with_door
from holdfast.cli.words import read_json
from holdfast.core.errors import GiveUp
from holdfast.core.token import Token


@click.command()
@click.argument("token")
@click.argument("value", default="null", metavar="[JSON]")
@with_door()
async def complete(door: Door, *, token: str, value: str) -> None:
    """Complete the activity that waits for TOKEN: its result is the value, in JSON.

    \b
      holdfast run complete WyIwMTk3YjJmMC03YzNlLTdh... true

    A second completion is refused, with exit code 1. With --app the value is checked against what the activity returns.

    JSON: {"id", "key", "attempt"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    result = read_json(value, what="the value")
    async with door.app_as_it_is.client(application="holdfast run complete", hints=False) as client:
        await client.complete(token, result)
    _answer(door, token, "completed")


@click.command()
@click.argument("token")
@click.argument("message")
@click.option("--permanent", is_flag=True, help="It is not tried again, whatever its retry policy says.")
@with_door()
async def fail(door: Door, *, token: str, message: str, permanent: bool) -> None:
    """Fail the attempt at an activity that waits for TOKEN.

    \b
      holdfast run fail WyIwMTk3YjJmMC03YzNlLTdh... "the customer did not answer"

    It is tried again as its retry policy says.

    JSON: {"id", "key", "attempt"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run fail", hints=False) as client:
        await client.fail(token, GiveUp(message) if permanent else message)
    _answer(door, token, "failed")


def _answer(door: Door, text: str, what: str) -> None:
    token = Token.parse(text)
    door.out.answer(
        {"id": token.run_id, "key": token.key, "attempt": token.attempt},
        f"{token.key} of run {token.run_id}: attempt {token.attempt} is {what}",
    )
