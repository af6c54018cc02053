"""``holdfast run signal``, ``holdfast run update`` and ``holdfast run cancel``."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import click

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.options import Door, with_door
from holdfast.cli.run.target import Target, tell, with_target
from holdfast.cli.words import duration, read_json, run_id
from holdfast.client import Cancellation
from holdfast.core.states import RunKindName


@click.command()
@click.argument("id", type=run_id)
@click.argument("name")
@click.argument("payload", default="null", metavar="[JSON]")
@click.option("--key", metavar="KEY", help="With it the signal is stored once, however often it is sent.")
@with_door()
async def signal(door: Door, *, id: UUID, name: str, payload: str, key: str | None) -> None:
    """Send the signal NAME to the run ID, with a payload in JSON.

    \b
      holdfast run signal 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 upgrade '{"upgraded": true, "plan": "pro"}'

    It stays in the run's inbox until the run waits for it. Exit code 1 when the run has ended.

    JSON: {"id", "stored"}; stored is false when a signal with this key had been stored before
    """  # noqa: D301 - \b keeps click from wrapping the examples
    value = read_json(payload, what="the payload")
    async with door.app_as_it_is.client(application="holdfast run signal", hints=False) as client:
        stored = await client.get(id).signal_by_name(name, value, key=key)
    door.out.answer(
        {"id": id, "stored": stored}, "sent" if stored else f"key {key!r} had been sent before: nothing new"
    )


@click.command()
@click.argument("id", type=run_id)
@click.argument("name")
@click.argument("payload", default="null", metavar="[JSON]")
@click.option("--key", metavar="KEY", help="With it the update is sent once, and each call gives the same answer.")
@click.option("--at-most", type=duration, metavar="TIME", help="How long to wait. Then exit code 5.")
@with_door()
async def update(door: Door, *, id: UUID, name: str, payload: str, key: str | None, at_most: timedelta | None) -> None:
    """Send the update NAME to the run ID, with JSON, wait for its answer and print that.

    \b
      holdfast run update 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90 approve '{"by": "Ada"}' --key click-17 --at-most 30s

    Exit code 1 when the run refuses it, or ends without an answer.

    JSON: {"id", "answer"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    value = read_json(payload, what="the update")
    async with door.app_as_it_is.client(application="holdfast run update") as client:
        answer = await client.get(id).update_by_name(name, value, key=key, timeout=at_most)
    door.out.answer({"id": id, "answer": answer}, json.dumps(answer, indent=2, ensure_ascii=False))


_CANCELLED = {
    Cancellation.CANCELLED: "cancelled: nothing of it had begun",
    Cancellation.REQUESTED: "it will be told, and may clean up first; `holdfast run watch` shows its end",
    Cancellation.ENDED: "it had ended before",
}


@click.command()
@with_target
@with_door()
async def cancel(door: Door, *, target: Target) -> int:
    """Cancel the run ID, or all that fit the filters: at once where nothing has begun, else by asking.

    \b
      holdfast run cancel 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90
      holdfast run cancel --all --workflow trial-onboarding --tag plan=free --dry-run

    A workflow that has begun gets CancelledError where it waits, and may clean up. Exit code 1 when the run had ended.

    JSON: {"id", "cancellation": "cancelled|requested|ended"}; with --all {"runs", "effects", "made", "refused", "more",
    "dry_run"}
    """  # noqa: D301 - \b keeps click from wrapping the examples
    return await cancel_target(door, target)


async def cancel_target(door: Door, target: Target, kind: RunKindName | None = None) -> int:
    """Cancels them, and answers; gives the exit code."""
    async with door.app_as_it_is.client(application="holdfast cancel", hints=False) as client:
        if target.id is None:
            return tell(door, await target.runs(client, kind).cancel(limit=target.limit, dry_run=target.dry_run))
        became = await client.get(target.id).cancel()
    door.out.answer({"id": target.id, "cancellation": became}, _CANCELLED[became])
    return ExitCode.REFUSED if became is Cancellation.ENDED else ExitCode.OK
