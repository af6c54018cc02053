"""Replaying a recorded run against the code at hand: no activity is called, and nothing is written anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core.errors import HoldfastError, NonDeterminismError
from holdfast.core.export import RunExport
from holdfast.core.headers import headers_of
from holdfast.core.lineage import first_tags, lineage_of
from holdfast.core.states import Ending
from holdfast.workflow.info import RunInfo
from holdfast.workflow.instance import Activation, Instance, RunActivity
from holdfast.workflow.workflow import Workflow

Fault = Literal["blocks", "left over", "fails", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What would become of a run under this code, as far as its journal goes.

    ``fault`` is None where the code fits. ``blocks``: it asks for something else than is recorded. ``left over``: it
    waits for something new while something recorded has not been asked for. ``fails``: it ends the run as failed, which
    had not failed. ``stuck``: it waits for nothing that could come.
    """

    fault: Fault | None = None
    reason: str | None = None
    error: HoldfastError | None = None
    """The difference itself, where the code does not fit what is recorded."""


FITS = Verdict()


def replay(workflow: Workflow[..., Any], run: RunExport, *, added: Collection[str] = ()) -> Verdict:
    """Executes the code on what the run has seen, as the next worker to claim the run would, and no further.

    To be called from outside of any task. What the code asks for beyond the journal is fine. ``added`` names activities
    that are new before recorded steps: where the code waits for one of them, nothing is held to be left over.
    """
    try:
        instance = _recalled(workflow, run)
    except HoldfastError as error:
        return _blocked(error)
    try:
        return _verdict(instance, instance.activate(), run, added)
    finally:
        instance.close()


def _recalled(workflow: Workflow[..., Any], run: RunExport) -> Instance:
    lineage = lineage_of(run.options, run.run_id, run.created_at)
    info = RunInfo(
        run_id=lineage.identity,
        name=run.name,
        lane=run.lane,
        priority=run.priority,
        created_at=lineage.created_at,
        tags=first_tags(run.options, json.dumps(dict(run.tags))),
        parent=run.parent,
        root=run.root or run.run_id,
        headers=headers_of(run.options),
    )
    return Instance(
        workflow,
        info,
        run.input,
        run.first_claim_at or run.created_at,
        run.journal,
        resumed=run.entered,
        earlier=[(dataclasses.replace(info, run_id=run_id), until) for run_id, until in lineage.earlier],
    )


def _verdict(instance: Instance, activation: Activation, run: RunExport, added: Collection[str]) -> Verdict:
    if activation.blocked is not None:
        return _blocked(activation.blocked)
    end = activation.end
    if end is not None:
        failed_before = run.result is not None and run.result.ending is Ending.FAILED
        if end.ending is not Ending.FAILED or failed_before or end.failure is None:
            return FITS
        return Verdict(
            fault="fails", reason=f"the code would end the run as failed: {end.failure.type}: {end.failure.message}"
        )
    left_over = instance.left_over
    if left_over is not None and not _waits_for_any(instance, added):
        difference = NonDeterminismError(
            ", ".join(instance.waits_for.split("\n")) or "nothing more",
            left_over.recorded,
            "a step may be removed or renamed only when no open run has taken it; one that was added before it is to "
            "be named as added",
        )
        return Verdict(fault="left over", reason=f"NonDeterminismError: {difference}", error=difference)
    if not instance.waits_for:
        return Verdict(fault="stuck", reason="the code waits for something that nothing in it will ever do")
    return FITS


def _waits_for_any(instance: Instance, names: Collection[str]) -> bool:
    return any(
        isinstance(command, RunActivity) and command.activity.name in names for command in instance.open_commands()
    )


def _blocked(error: HoldfastError) -> Verdict:
    return Verdict(fault="blocks", reason=f"{type(error).__name__}: {error}", error=error)
