"""Which runs a command is about: one by its id, or all that fit some filters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Command, Door
from holdfast.cli.words import duration, moment, run_id, tag
from holdfast.client import Client, Effect, Runs, Tally
from holdfast.client.selection import LIMIT
from holdfast.core.states import RunKindName, RunStatus


def time_or_age(text: str) -> datetime:
    """A time, or how long ago it was: ``2d``."""
    try:
        age: timedelta | None = duration(text)
    except click.BadParameter:
        age = None
    return moment(text) if age is None else datetime.now(UTC) - age


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One run, or a selection of them."""

    id: UUID | None
    name: str | None
    version: str | None
    status: Sequence[str] | None
    lane: str | None
    tags: dict[str, str] | None
    parent: UUID | None
    root: UUID | None
    since: datetime | None
    until: datetime | None
    limit: int
    dry_run: bool

    @property
    def filtered(self) -> bool:
        """Whether it says which runs by anything but an id."""
        filters = (self.name, self.version, self.status, self.lane, self.tags, self.parent, self.root)
        return any(one is not None for one in (*filters, self.since, self.until))

    def runs(self, client: Client, kind: RunKindName | None = None) -> Runs:
        """All of them, or of a kind."""
        return client.runs(
            kind=kind,
            name=self.name,
            version=self.version,
            status=self.status,
            lane=self.lane,
            tags=self.tags,
            parent=self.parent,
            root=self.root,
            since=self.since,
            until=self.until,
        )


def with_target(fn: Callable[..., Any]) -> Command:
    """Gives a command its ``target``: an id, or ``--all`` and filters."""

    @functools.wraps(fn)
    def command(*args: Any, id: UUID | None, everything: bool, dry_run: bool, **kwargs: Any) -> Any:
        target = _target(kwargs, id, dry_run=dry_run)
        if everything == (id is not None):
            raise click.UsageError("say which run by its id, or --all with filters for all that fit them")
        if everything and not target.filtered:
            raise click.UsageError("--all needs a filter, such as --workflow NAME, --status STATUS or --tag NAME=VALUE")
        if not everything and (target.filtered or dry_run):
            raise click.UsageError("filters and --dry-run go with --all; a single run is found by its id")
        return fn(*args, target=target, **kwargs)

    return _with(command, (_ID, _ALL, _NAME, *_FILTERS, _DRY_RUN))


def with_filters(fn: Callable[..., Any]) -> Command:
    """Gives a command that knows its runs by other ways too its ``target``: all that fit some filters, with ``--all``.

    ``everything`` says whether it was told so. Names are options of its own.
    """

    @functools.wraps(fn)
    def command(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, target=_target(kwargs, None, dry_run=False), **kwargs)

    return _with(command, (_ALL, *_FILTERS))


def _target(options: dict[str, Any], id: UUID | None, *, dry_run: bool) -> Target:
    """The target that these options say; takes them out."""
    status, tags = options.pop("status"), options.pop("tags")
    return Target(
        id=id,
        name=options.pop("name", None),
        version=options.pop("version"),
        status=[word.strip() for word in status.split(",")] if status else None,
        lane=options.pop("lane"),
        tags=dict(tags) or None,
        parent=options.pop("parent"),
        root=options.pop("root"),
        since=options.pop("since"),
        until=options.pop("until"),
        limit=options.pop("limit"),
        dry_run=dry_run,
    )


def _with(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


_ID = click.argument("id", type=run_id, required=False, metavar="[ID]")
_ALL = click.option("--all", "everything", is_flag=True, help="All runs that fit the filters.")
_NAME = click.option("--workflow", "--name", "name", metavar="NAME", help="Of this workflow or activity.")
_FILTERS = (
    click.option("--version", metavar="VERSION", help="Begun with this version of its workflow."),
    click.option("--status", metavar="STATUS,...", help=f"One or more of: {', '.join(RunStatus)}."),
    click.option("--lane", metavar="LANE", help="In this lane."),
    click.option(
        "--tag", "tags", type=tag, multiple=True, metavar="NAME=VALUE", help="With this tag; may be repeated."
    ),
    click.option("--parent", type=run_id, metavar="ID", help="Children of this run."),
    click.option("--root", type=run_id, metavar="ID", help="Below this run, which is nobody's child."),
    click.option("--since", type=time_or_age, metavar="TIME", help="Started then or later; 2d is two days ago."),
    click.option("--until", type=time_or_age, metavar="TIME", help="Started before then."),
    click.option(
        "--limit", type=click.IntRange(1), default=LIMIT, metavar="N", help=f"So many at most.  [default: {LIMIT}]"
    ),
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say how many there are, and do nothing.")


def tell(door: Door, tally: Tally) -> int:
    """Answers with what became of many runs; gives the exit code."""
    count = len(tally.runs)
    words = [f"{count} run{'' if count == 1 else 's'} found{', nothing done' if tally.dry_run else ''}"]
    words += [f"{number} {_EFFECTS[effect]}" for effect, number in tally.effects.items()]
    words += [f"{len(tally.refused)} refused"] if tally.refused else []
    door.out.answer(
        {
            "runs": tally.runs,
            "effects": {effect.value: number for effect, number in tally.effects.items()},
            "made": tally.made,
            "refused": [{"id": one.run_id, "reason": one.reason} for one in tally.refused],
            "more": tally.more,
            "dry_run": tally.dry_run,
        },
        ", ".join(words),
        *(f"  {one.run_id}: {one.reason}" for one in tally.refused[:20]),
    )
    if tally.more:
        door.out.note("there are more than --limit: say it again for those")
    return ExitCode.REFUSED if tally.refused else ExitCode.OK


_EFFECTS = {
    Effect.DONE: "done",
    Effect.REQUESTED: "asked of the worker that holds it",
    Effect.NOTHING: "with nothing to do",
    Effect.ENDED: "ended before",
}
