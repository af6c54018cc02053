"""``holdfast run watch``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import UUID

import click
from rich.live import Live

from holdfast.cli.options import Door, with_door
from holdfast.cli.output import Output
from holdfast.cli.run.ending import exit_code_of, failure_words
from holdfast.cli.run.timeline import draw, progress_words, step_line
from holdfast.cli.run.view import as_json
from holdfast.cli.words import run_id
from holdfast.client import RunDescription, RunHandle
from holdfast.core.errors import RunCancelled, RunFailed
from holdfast.core.progress import Progress

_PACE = 0.5
"""Seconds between two looks."""


@click.command()
@click.argument("id", type=run_id)
@with_door()
async def watch(door: Door, *, id: UUID) -> int:
    """Watch the run ID until it ends. Exit code 0 when it succeeded, 1 when it failed or was cancelled.

    \b
      holdfast run watch 0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90

    On a terminal the timeline grows; elsewhere each step is a line. JSON: what `run show` gives, one line per change
    """  # noqa: D301 - \b keeps click from wrapping the examples
    async with door.app_as_it_is.client(application="holdfast run watch") as client:
        handle: RunHandle[Any] = client.get(id)
        if door.out.as_json:
            return exit_code_of((await _json_lines(door.out, handle)).status)
        if door.out.people.is_terminal:
            run = await _live(door.out, handle)
        else:
            run = await _lines(door.out, handle)
        if run.failure is not None:
            door.out.note(failure_words(run))
        return exit_code_of(run.status)


async def _json_lines(out: Output, handle: RunHandle[Any]) -> RunDescription:
    async for run in _changes(handle):
        out.answer(as_json(run))
        if run.status.ended:
            return run
    raise AssertionError("changes end with the run")


async def _live(out: Output, handle: RunHandle[Any]) -> RunDescription:
    with Live(console=out.people, auto_refresh=False) as live:
        async for run in _changes(handle, every_look=True):
            live.update(draw(run, width=out.people.width), refresh=True)
            if run.status.ended:
                return run
    raise AssertionError("changes end with the run")


async def _lines(out: Output, handle: RunHandle[Any]) -> RunDescription:
    told = 0
    status = None
    progress: Mapping[str, Progress] = {}
    async for run in _changes(handle):
        ended = [step for step in run.journal if step.at is not None]
        for step in ended[told:]:
            out.people.print(step_line(step))
        told = len(ended)
        for key, one in run.progress.items():
            if progress.get(key) != one:
                out.people.print(f"  {key}  {progress_words(one)}")
        progress = run.progress
        if run.status is not status:
            status = run.status
            waits = f", waits for {', '.join(run.waits_for)}" if run.waits_for else ""
            out.people.print(f"{run.status}{waits}")
        if run.status.ended:
            return run
    raise AssertionError("changes end with the run")


async def _changes(handle: RunHandle[Any], *, every_look: bool = False) -> AsyncGenerator[RunDescription]:
    """The run whenever something about it has changed, the last time when it has ended."""
    ended = asyncio.create_task(_end(handle))
    try:
        seen: object = None
        while True:
            run = await handle.describe()
            steps = [step.attempts for step in run.journal]
            look = (run.status, run.worker, len(run.journal), len(run.inbox), steps, run.progress)
            if look != seen or every_look:
                seen = look
                yield run
            if run.status.ended:
                return
            await asyncio.wait({ended}, timeout=_PACE)
            if ended.done():
                ended.result()
    finally:
        ended.cancel()


async def _end(handle: RunHandle[Any]) -> None:
    try:
        await handle.result()
    except (RunFailed, RunCancelled):
        # How it ended is read with the rest of it.
        return
