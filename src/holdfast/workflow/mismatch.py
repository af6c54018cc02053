"""How a difference between the code and the journal is told to people."""

from __future__ import annotations

import json

from holdfast.core.errors import NonDeterminismError
from holdfast.core.journal import Entry, EntryKind
from holdfast.workflow.child import ChildStep
from holdfast.workflow.handle import Timer
from holdfast.workflow.step import Step

_LONGEST = 200
_WORDS = {
    EntryKind.ACTIVITY: "the outcome of an activity",
    EntryKind.TIMER: "a timer that fired",
    EntryKind.CHILD: "the outcome of a child",
    EntryKind.STARTED: "the start of a child",
}


def other_step(step: Step | ChildStep, entry: Entry) -> NonDeterminismError:
    """The code calls an activity or a child, and its key stands in the journal for something else."""
    child = isinstance(step, ChildStep)
    kinds = (EntryKind.CHILD, EntryKind.STARTED) if child else (EntryKind.ACTIVITY,)
    same = entry.kind in (*kinds, EntryKind.PATCH)
    return NonDeterminismError(
        f"{'child' if child else 'activity'} {step.key} with the input {_shortened(step.input)}",
        f"{_recorded(entry)}{' with another input' if same else ''}",
        "deploy code that asks for what was recorded, and the run goes on; steps may be added under other names",
    )


def other_timer(timer: Timer, entry: Entry) -> NonDeterminismError:
    """The code waits until a time before which its key stands in the journal."""
    return NonDeterminismError(
        f"{timer.key} to fire at {timer.deadline.isoformat()}",
        _recorded(entry),
        "deploy code that waits no longer than it did, and the run goes on; for a longer wait let the code tell runs "
        "apart by run_info().created_at",
    )


def other_type(step: Step | ChildStep, entry: Entry, problem: Exception) -> NonDeterminismError:
    """The recorded outcome does not fit the type that the activity gives now."""
    return NonDeterminismError(
        f"{step.key} as {step.declared} declares its result",
        f"{_recorded(entry)}, {_shortened(entry.output or 'null')} ({problem})",
        "deploy code whose types take what was recorded, and the run goes on",
    )


def other_update(name: str, entry: Entry, problem: Exception) -> NonDeterminismError:
    """An update that the code has taken is none to it any more."""
    return NonDeterminismError(
        f"update {name!r} as it is declared now",
        f"{_recorded(entry)}, {_shortened(entry.output or 'null')} ({problem})",
        "deploy code whose types and validator take what was taken, and the run goes on",
    )


def left_over(entry: Entry) -> NonDeterminismError:
    """The code has ended, and something stands in the journal that it has never asked for."""
    return NonDeterminismError(
        "nothing more: the workflow has ended",
        _recorded(entry),
        "a step may be removed or renamed only when no open run has taken it; deploy code that takes it, and the run "
        "goes on",
    )


def _recorded(entry: Entry) -> str:
    word = _WORDS.get(entry.kind, "something else")
    if entry.kind is EntryKind.PATCH:
        word = f"a new way of the code that begins with {json.loads(entry.output or 'null')}"
    return f"{entry.key}, {word}, recorded at {entry.at.isoformat()} as entry {entry.seq}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
