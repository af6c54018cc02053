"""Waiting for the end of a run, and telling it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from holdfast.cli.exit_code import ExitCode
from holdfast.cli.output import Output, plain
from holdfast.cli.run.view import as_json
from holdfast.client import RunDescription, RunHandle
from holdfast.core.errors import RunCancelled, RunFailed
from holdfast.core.failure import Failure
from holdfast.core.states import RunStatus


async def tell_ending(
    out: Output, handle: RunHandle[Any], at_most: timedelta | None, begun: Mapping[str, object]
) -> int:
    """Waits, and answers with how the run ended; gives the exit code.

    Raises:
        ResultTimeout: it has not ended after ``at_most``.
    """
    # How it failed is told below, with all that is known of it.
    with suppress(RunFailed, RunCancelled):
        await handle.result(at_most)
    run = await handle.describe()
    view = as_json(run)
    out.answer({**begun, **{name: view[name] for name in ("status", "output", "failure")}}, *_words(run))
    return exit_code_of(run.status)


def exit_code_of(status: RunStatus) -> ExitCode:
    """The exit code for a run that ended so."""
    return ExitCode.OK if status is RunStatus.SUCCEEDED else ExitCode.REFUSED


def failure_words(run: RunDescription) -> str:
    """Why it failed, with the traceback from where it was raised."""
    if not isinstance(run.failure, Failure):
        return run.failure.reason if run.failure else ""
    # A traceback ends with the class and the message.
    return (run.failure.traceback or f"{run.failure.type}: {run.failure.message}").rstrip()


def _words(run: RunDescription) -> list[str]:
    if run.status is RunStatus.SUCCEEDED:
        return [json.dumps(run.output, indent=2, ensure_ascii=False, default=plain)]
    return [f"{run.status}\n{failure_words(run)}".strip()]
