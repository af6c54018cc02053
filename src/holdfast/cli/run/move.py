"""``holdfast run reschedule``, and what it shares with ``holdfast job reschedule``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast, get_args

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Command, Door, with_door
from holdfast.cli.run.target import Target, tell, with_target
from holdfast.cli.words import duration, moment
from holdfast.client import Effect
from holdfast.core.priority import PriorityName
from holdfast.core.states import RunKindName


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where runs are to be moved."""

    to_time: datetime | None
    to_delay: timedelta | None
    to_priority: str | None
    to_lane: str | None


def with_place(fn: Callable[..., Any]) -> Command:
    """Gives a command its ``place``."""

    @functools.wraps(fn)
    def command(*args: Any, **kwargs: Any) -> Any:
        place = Place(**{name: kwargs.pop(name) for name in Place.__dataclass_fields__})
        return fn(*args, place=place, **kwargs)

    wrapped: Command = command
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS = (
    click.option("--at", "to_time", type=moment, metavar="TIME", help="Due at this time; one that has passed is now."),
    click.option("--after", "to_delay", type=duration, metavar="TIME", help="Due when so much time has passed."),
    click.option("--priority", "to_priority", type=click.Choice(get_args(PriorityName)), help="With this priority."),
    click.option("--to-lane", metavar="LANE", help="In this lane."),
)


@click.command()
@with_target
@with_place
@with_door()
async def reschedule(door: Door, *, target: Target, place: Place) -> int:
    """Move the run ID, or all that fit the filters, to another time, priority or lane.

    \b
      holdfast run reschedule 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 --after 1h
      holdfast run reschedule --all --lane default --tag customer=acme --to-lane slow --priority low

    What a worker holds and has not begun it gives back within a second; what runs is let run, and is there with its
    next attempt. A workflow that has begun has times of its own. Exit code 1 when the run had ended.

    JSON: {"id", "effect": "done|requested|ended"}; with --all {"runs", "effects", "made", "refused", "more", "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await reschedule_target(door, target, place)


async def reschedule_target(door: Door, target: Target, place: Place, kind: RunKindName | None = None) -> int:
    """Moves them, and answers; gives the exit code."""
    at, after, lane = place.to_time, place.to_delay, place.to_lane
    priority = cast("PriorityName | None", place.to_priority)
    async with door.app_as_it_is.client(application="holdfast reschedule", hints=False) as client:
        if target.id is None:
            tally = await target.runs(client, kind).reschedule(
                at=at, after=after, priority=priority, lane=lane, limit=target.limit, dry_run=target.dry_run
            )
            return tell(door, tally)
        effect = await client.get(target.id).reschedule(at=at, after=after, priority=priority, lane=lane)
    door.out.answer({"id": target.id, "effect": effect}, _WORDS[effect])
    return ExitCode.REFUSED if effect is Effect.ENDED else ExitCode.OK


_WORDS = {
    Effect.DONE: "moved",
    Effect.REQUESTED: "asked of the worker that holds it: there once it gives it back",
    Effect.NOTHING: "nothing to do",
    Effect.ENDED: "it had ended before",
}
