"""``holdfast run pause``, ``resume``, ``wake`` and ``terminate``."""

from __future__ import annotations

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.cli.run.target import Target, tell, with_target
from holdfast.client import Effect

_REQUESTED = "asked of the worker that holds it, which obeys within a second"
_ENDED = "it had ended before"


@click.command()
@with_target
@click.option("--at-once", is_flag=True, help="Abandon what runs of it; it begins again when the run is resumed.")
@with_door()
async def pause(door: Door, *, target: Target, at_once: bool) -> int:
    """Pause the run ID, or all that fit the filters, until it is resumed.

    \b
      holdfast run pause 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run pause --all --workflow ship-order --tag customer=acme --dry-run

    Activities that run are finished and recorded, and nothing new begins. Signals are kept. Timers and timeouts do not
    stand still. Exit code 1 when the run had ended.

    JSON: {"id", "effect": "done|requested|nothing|ended"}; with --all {"runs", "effects", "made", "refused", "more",
    "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run pause", hints=False) as client:
        if target.id is None:
            runs = target.runs(client)
            return tell(door, await runs.pause(at_once=at_once, limit=target.limit, dry_run=target.dry_run))
        effect = await client.get(target.id).pause(at_once=at_once)
    return _answer(door, target, effect, done="paused", nothing="it was paused before")


@click.command()
@with_target
@with_door()
async def resume(door: Door, *, target: Target) -> int:
    """Let the paused run ID, or all that fit the filters, go on.

    \b
      holdfast run resume 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run resume --all --workflow ship-order

    Exit code 1 when the run had ended. JSON: as `run pause`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run resume", hints=False) as client:
        if target.id is None:
            return tell(door, await target.runs(client).resume(limit=target.limit, dry_run=target.dry_run))
        effect = await client.get(target.id).resume()
    return _answer(door, target, effect, done="it goes on", nothing="it was not paused")


@click.command()
@with_target
@with_door()
async def wake(door: Door, *, target: Target) -> int:
    """End the sleep of the run ID, or of all that fit the filters, early.

    \b
      holdfast run wake 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run wake --all --status waiting --workflow trial-onboarding

    The earliest timer that is open rings now, that of a timeout too; or the next attempt of a back-off begins. One that
    has not begun begins. Exit code 1 when the run had ended. JSON: as `run pause`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run wake", hints=False) as client:
        if target.id is None:
            return tell(door, await target.runs(client).wake(limit=target.limit, dry_run=target.dry_run))
        effect = await client.get(target.id).wake()
    return _answer(
        door, target, effect, done="woken", nothing="it does not sleep; `holdfast run why` says what it does"
    )


@click.command()
@with_target
@with_door()
async def terminate(door: Door, *, target: Target) -> int:
    """End the run ID, or all that fit the filters, at once and without their clean-up code.

    \b
      holdfast run terminate 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run terminate --all --workflow ship-order --status blocked

    It counts as cancelled; `run cancel` lets it clean up. Exit code 1 when the run had ended. JSON: as `run pause`
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run terminate", hints=False) as client:
        if target.id is None:
            return tell(door, await target.runs(client).terminate(limit=target.limit, dry_run=target.dry_run))
        effect = await client.get(target.id).terminate()
    return _answer(door, target, effect, done="ended", nothing="nothing to do")


def _answer(door: Door, target: Target, effect: Effect, *, done: str, nothing: str) -> int:
    words = {Effect.DONE: done, Effect.REQUESTED: _REQUESTED, Effect.NOTHING: nothing, Effect.ENDED: _ENDED}
    door.out.answer({"id": target.id, "effect": effect}, words[effect])
    return ExitCode.REFUSED if effect is Effect.ENDED else ExitCode.OK
