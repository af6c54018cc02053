"""``holdfast run start``, and what it shares with ``holdfast job start``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast, get_args

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Command, Door, with_door
from holdfast.cli.run.ending import tell_ending
from holdfast.cli.words import duration, header, moment, read_input, tag
from holdfast.core.errors import InvalidInput, UnknownName
from holdfast.core.key import Key, KeyWindow, WhenTaken
from holdfast.core.priority import PriorityName
from holdfast.core.retry import Retry

_IF_TAKEN: dict[str, WhenTaken] = {"return": "return_existing", "reject": "reject", "replace": "replace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be started, and how."""

    name: str
    arguments: tuple[str, ...]
    document: str | None
    key: str | None
    key_window: KeyWindow
    if_taken: str
    lane: str
    priority: str
    at: datetime | None
    after: timedelta | None
    timeout: timedelta | None
    tags: Sequence[tuple[str, str]]
    headers: Sequence[tuple[str, str]]
    wait: bool
    at_most: timedelta | None


def window(text: str) -> KeyWindow:
    """``forever``, ``open``, or a duration."""
    return text if text in ("forever", "open") else duration(text)  # type: ignore[return-value]


def with_start(fn: Callable[..., Any]) -> Command:
    """Gives a command what is ``asked`` for by its words and options."""

    @functools.wraps(fn)
    def command(*args: Any, **kwargs: Any) -> Any:
        asked = Asked(**{name: kwargs.pop(name) for name in Asked.__dataclass_fields__})
        return fn(*args, asked=asked, **kwargs)

    wrapped: Command = command
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS = (
    click.argument("name"),
    click.argument("arguments", nargs=-1, metavar="[PARAMETER=VALUE]..."),
    click.option(
        "--input", "document", metavar="JSON", help="The arguments as one JSON object; - reads it from stdin."
    ),
    click.option("--key", metavar="KEY", help="An idempotency key: a second start with it gives the same run."),
    click.option(
        "--key-window",
        type=window,
        default="forever",
        metavar="WINDOW",
        help="How long the key is that run's: forever, while it is open, or for a time such as 1h.  [default: forever]",
    ),
    click.option(
        "--if-taken",
        type=click.Choice(list(_IF_TAKEN)),
        default="return",
        help="Where the key is another run's: give that run, refuse, or cancel it and start.  [default: return]",
    ),
    click.option("--lane", default="default", metavar="LANE", help="[default: default]"),
    click.option("--priority", type=click.Choice(get_args(PriorityName)), default="medium", help="[default: medium]"),
    click.option("--at", type=moment, metavar="TIME", help="Not before this time."),
    click.option("--after", type=duration, metavar="TIME", help="Not before this much time has passed."),
    click.option("--timeout", type=duration, metavar="TIME", help="It fails if it has not ended by then."),
    click.option(
        "--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="To find it by; may be repeated."
    ),
    click.option(
        "--header",
        "headers",
        type=header,
        multiple=True,
        metavar="NAME=VALUE",
        help="Travels with it; may be repeated.",
    ),
    click.option("--wait", is_flag=True, help="Wait until it has ended, and give its result."),
    click.option(
        "--at-most", type=duration, metavar="TIME", help="With --wait: how long. Then exit code 5; the run goes on."
    ),
)


@click.command()
@with_start
@with_door()
async def start(door: Door, *, asked: Asked) -> int:
    """Start a run of the workflow or activity NAME, and print its id.

    \b
      holdfast run start ship-order number=17 express=true
      holdfast run start ship-order number=17 --key order:17 --after 1h --tag customer=acme
      holdfast run start ship-order --input '{"number": 17}' --wait --at-most 30s
      holdfast run start import-file --input - < arguments.json

    A VALUE that is JSON is taken as such, any other as text: express=true is a truth, zip=01067 a text.
    PARAMETER:=VALUE insists on JSON, so that number:='"17"' is a text too. A --header is seen by its code and by the
    middleware around it, goes on to its activities and children, and is stored as it is, whatever the codec.

    JSON: {"id", "existing"}; with --wait also {"status", "output", "failure"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await begin(door, asked, job=False)


async def begin(door: Door, asked: Asked, *, job: bool, retry: Retry | None = None) -> int:
    """Starts it, and answers; gives the exit code."""
    document = sys.stdin.read() if asked.document == "-" else asked.document
    values = read_input(document, asked.arguments)
    if door.has_app and asked.name not in door.app.definitions:
        raise UnknownName("workflow or activity", asked.name, list(door.app.definitions))
    if asked.key is None and (asked.key_window != "forever" or asked.if_taken != "return"):
        raise InvalidInput("--key-window and --if-taken go with --key")
    key = None if asked.key is None else Key(asked.key, asked.key_window, _IF_TAKEN[asked.if_taken])
    async with door.app.client(application="holdfast start", hints=asked.wait) as client:
        handle = await client.start_by_name(
            asked.name,
            values,
            key=key,
            lane=asked.lane,
            priority=cast("PriorityName", asked.priority),
            at=asked.at,
            after=asked.after,
            tags=dict(asked.tags) or None,
            timeout=asked.timeout,
            headers=dict(asked.headers) or None,
            retry=retry,
            job=job,
        )
        begun: dict[str, object] = {"id": handle.id, "existing": handle.existing}
        if handle.existing:
            door.out.note(f"there was a run with key {asked.key!r} already")
        if not asked.wait:
            door.out.answer(begun, str(handle.id))
        elif not door.out.as_json:
            door.out.note(str(handle.id))
        for words in (await handle.describe()).waits_for:
            door.out.note(f"it waits for {words}")
        return await tell_ending(door.out, handle, asked.at_most, begun) if asked.wait else ExitCode.OK
