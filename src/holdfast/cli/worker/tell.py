"""``holdfast worker pause``, ``resume``, ``drain`` and ``stop``."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import click
from rich.text import Text

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.cli.words import duration
from holdfast.cli.worker.look import COLOURS
from holdfast.client import Client, WorkerAnswer, WorkerStatus

_GONE = (WorkerStatus.DEAD, WorkerStatus.LOST, WorkerStatus.LEFT)


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the arguments that say which workers are meant."""

    @functools.wraps(command)
    def checked(*args: Any, name: str | None, lane: str | None, everywhere: bool, **kwargs: Any) -> Any:
        if (name is None and lane is None) is not everywhere:
            raise click.UsageError("which workers? Give a name, a lane or both; or --all, and neither of them")
        return command(*args, name=name, lane=lane, everywhere=everywhere, **kwargs)

    for option in (
        click.option(
            "--wait",
            type=duration,
            default="15s",
            metavar="TIME",
            help="How long to wait until they have obeyed; 0 for not at all.  [default: 15s]",
        ),
        click.option("--all", "everywhere", is_flag=True, help="All workers of this database and schema."),
        click.option("--lane", metavar="LANE", help="The workers of this lane."),
        click.argument("name", required=False),
    ):
        checked = option(checked)
    return checked


@click.command()
@_which
@with_door(app=False)
async def pause(door: Door, *, name: str | None, lane: str | None, everywhere: bool, wait: timedelta) -> int:
    """Have workers begin no run any more: those of NAME, with or without its suffix, of a lane, or all.

    \b
      holdfast worker pause payroll-01
      holdfast worker pause --lane reports

    What they have begun goes on; what stood in line with them goes to others. It holds until they are resumed, or their
    processes end. Exit code 4 when there is no such worker, 5 when one has not obeyed yet, 1 when one is dead or about
    to leave. JSON: {"workers": [{"name", "lane", "status", "told", "obeyed", "problem"}]}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await _tell(door, lambda client: client.workers.pause(name, lane=lane, all=everywhere, wait=wait))


@click.command()
@_which
@with_door(app=False)
async def resume(door: Door, *, name: str | None, lane: str | None, everywhere: bool, wait: timedelta) -> int:
    """Have paused workers work again: those of NAME, with or without its suffix, of a lane, or all.

    \b
      holdfast worker resume --lane reports

    JSON and exit codes are those of `holdfast worker pause`.
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await _tell(door, lambda client: client.workers.resume(name, lane=lane, all=everywhere, wait=wait))


@click.command()
@_which
@with_door(app=False)
async def drain(door: Door, *, name: str | None, lane: str | None, everywhere: bool, wait: timedelta) -> int:
    """Have workers finish what they have begun, however long it takes, give back the rest, and leave.

    \b
      holdfast worker drain payroll-01-3c1a8b2
      holdfast worker list payroll-01

    One that has left ends its process, if nothing else runs there. JSON and exit codes are those of `holdfast worker
    pause`.
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await _tell(door, lambda client: client.workers.drain(name, lane=lane, all=everywhere, wait=wait))


@click.command()
@click.option("--now", is_flag=True, help="Without waiting for what runs: it is given back at once.")
@_which
@with_door(app=False)
async def stop(door: Door, *, name: str | None, lane: str | None, everywhere: bool, wait: timedelta, now: bool) -> int:
    """Have workers leave in order, as SIGTERM does: what runs may end within their grace, the rest is given back.

    \b
      holdfast worker stop payroll-01
      holdfast worker stop --all --now

    JSON and exit codes are those of `holdfast worker pause`.
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await _tell(door, lambda client: client.workers.stop(name, lane=lane, all=everywhere, now=now, wait=wait))


async def _tell(door: Door, verb: Callable[[Client], Awaitable[Sequence[WorkerAnswer]]]) -> int:
    async with door.app_as_it_is.client(application="holdfast worker") as client:
        answers = await verb(client)
    lines = [
        Text.assemble(one.name, "  ", (str(one.status), COLOURS[one.status]), f"  {one.problem}" if one.problem else "")
        for one in answers
    ]
    door.out.answer({"workers": [_as_json(one) for one in answers]}, *lines)
    if all(one.obeyed or one.problem is None for one in answers):
        return ExitCode.OK
    refused = any(not one.obeyed and (not one.told or one.status in _GONE) for one in answers)
    return ExitCode.REFUSED if refused else ExitCode.NOT_ENDED


def _as_json(answer: WorkerAnswer) -> dict[str, object]:
    return {
        "name": answer.name,
        "lane": answer.lane,
        "status": answer.status,
        "told": answer.told,
        "obeyed": answer.obeyed,
        "problem": answer.problem,
    }
