"""Journals that are replayed against the code at hand: from its journal alone each run comes to the end that it had."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.core.states import Ending, RunKind
from holdfast.workflow.replay import _recalled
from holdfast.workflow.workflow import Workflow
from tests.chaos.workload import app

if TYPE_CHECKING:
    from holdfast.core.export import RunExport

_FROM_OUTSIDE = {"poisoned", "idle"}
"""What kills whoever executes it, and what takes too long, have an end of which their journals know nothing."""


def differences(runs: Iterable[RunExport]) -> Iterator[tuple[UUID, str]]:
    """What is not as it was; to be called from outside of any task."""
    for run in runs:
        workflow = app.executables[run.name]
        if run.kind is RunKind.WORKFLOW and isinstance(workflow, Workflow) and run.name not in _FROM_OUTSIDE:
            found = _difference(workflow, run)
            if found is not None:
                yield run.run_id, found


def _difference(workflow: Workflow[..., object], run: RunExport) -> str | None:
    assert run.result is not None
    instance = _recalled(workflow, run)
    try:
        activation = instance.activate()
        if activation.blocked is not None:
            return f"its replay is blocked: {activation.blocked}"
        if run.result.ending is Ending.CANCELLED:
            # Perhaps from outside, before it had begun.
            return None
        end = activation.end
        if end is None:
            return f"it has ended, and its replay waits for {instance.waits_for!r}"
        if end.ending is not run.result.ending:
            return f"it has ended as {run.result.ending.name}, and its replay as {end.ending.name}"
        given, again = (json.loads(text or "null") for text in (run.result.output, end.output))
        if end.ending is Ending.SUCCEEDED and given != again:
            return f"it gave {given}, and its replay gives {again}"
        return None
    finally:
        instance.close()
