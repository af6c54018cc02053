"""Whether the code at hand fits runs that are on their way: recorded runs are replayed, and what would break told."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from holdfast.core.definition import Definition
from holdfast.core.errors import HoldfastError
from holdfast.core.export import RunExport
from holdfast.core.states import RunKind
from holdfast.core.version import task_name
from holdfast.worker.repertoire import Repertoire
from holdfast.workflow.replay import Fault, replay
from holdfast.workflow.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A run that the code does not fit; ``fault`` says how, ``reason`` in words.

    ``blocks``: it asks for something else than is recorded. ``left over``: it waits for something new while something
    recorded has not been asked for. ``fails``: the run would fail. ``stuck``: it would wait for nothing that could
    come. ``no code``: the app has the workflow, and not the version that the run began with.
    """

    run_id: UUID
    name: str
    version: str | None
    fault: Fault | Literal["no code"]
    reason: str
    error: HoldfastError | None = field(default=None, repr=False, compare=False)
    """The difference itself, where the code does not fit what is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of the runs of one workflow and version. ``runs`` of them there are, if that is known."""

    name: str
    version: str | None
    replayed: int
    breaks: Sequence[Break]
    runs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check has found. ``unknown`` counts the runs of workflows that the app does not have."""

    workflows: Sequence[Checked]
    unknown: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def breaks(self) -> list[Break]:
        """Every run that would break."""
        return [one for checked in self.workflows for one in checked.breaks]

    @property
    def replayed(self) -> int:
        """How many runs were replayed."""
        return sum(checked.replayed for checked in self.workflows)

    @property
    def ok(self) -> bool:
        """Whether the code fits them all."""
        return not self.breaks


def check_runs(
    executables: Mapping[str, Definition[..., Any]],
    runs: Iterable[RunExport],
    *,
    counts: Mapping[str, int] | None = None,
    added: Collection[str] = (),
) -> CheckReport:
    """Replays the runs, on a thread of its own where this one is at work for an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _check(executables, runs, counts or {}, added)
    # Workflow code has tasks of its own, and a thread has one current task at a time.
    with ThreadPoolExecutor(1, "holdfast check") as thread:
        return thread.submit(_check, executables, runs, counts or {}, added).result()


def _check(
    executables: Mapping[str, Definition[..., Any]],
    runs: Iterable[RunExport],
    counts: Mapping[str, int],
    added: Collection[str],
) -> CheckReport:
    repertoire = Repertoire.of(executables)
    known = {definition.name for definition in executables.values() if isinstance(definition, Workflow)}
    found: dict[tuple[str, str | None], list[Break | None]] = {}
    unknown: dict[str, int] = {}
    for run in runs:
        if run.kind is not RunKind.WORKFLOW:
            continue
        if run.name not in known:
            unknown[run.name] = unknown.get(run.name, 0) + 1
            continue
        code = repertoire.task_name(run.name, run.version, begun=run.first_claim_at is not None)
        found.setdefault((run.name, run.version), []).append(_break(executables.get(code), run, added))
    return CheckReport(
        workflows=[
            Checked(
                name=name,
                version=version,
                replayed=len(outcomes),
                breaks=[one for one in outcomes if one is not None],
                runs=counts.get(task_name(name, version)),
            )
            for (name, version), outcomes in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        ],
        unknown=unknown,
    )


def _break(definition: Definition[..., Any] | None, run: RunExport, added: Collection[str]) -> Break | None:
    fault: Fault | Literal["no code"] | None = "no code"
    reason: str | None = (
        f"the app has the workflow {run.name!r} and not its version {run.version}: the run would wait for a worker "
        "that carries it"
    )
    error: HoldfastError | None = None
    if isinstance(definition, Workflow):
        verdict = replay(definition, run, added=added)
        fault, reason, error = verdict.fault, verdict.reason, verdict.error
    if fault is None:
        return None
    return Break(run_id=run.run_id, name=run.name, version=run.version, fault=fault, reason=reason or "", error=error)
