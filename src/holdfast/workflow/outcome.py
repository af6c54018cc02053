"""A recorded outcome as the code of the workflow gets it: a value, or an error to raise."""

from __future__ import annotations

from typing import Any

from holdfast.core.errors import ActivityFailed, ChildFailed, HoldfastError, MissingClass
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry
from holdfast.workflow.child import ChildStep
from holdfast.workflow.mismatch import other_type
from holdfast.workflow.step import Step


def read(step: Step | ChildStep, entry: Entry) -> tuple[Any, Exception | None] | HoldfastError:
    """Its value, or what to raise; or why the run cannot go on with this code."""
    try:
        return opened(step, entry)
    except MissingClass as missing:
        return missing
    except HoldfastError as misfit:
        return other_type(step, entry, misfit)


def opened(step: Step | ChildStep, entry: Entry) -> tuple[Any, Exception | None]:
    """What this entry says of the step.

    Raises:
        MissingClass: it was raised by a class that this process has not loaded.
        HoldfastError: the value does not fit the type that the step gives now.
    """
    if entry.error is None:
        return step.returns.decode(entry.output), None
    return None, _raised(Failure.from_json(entry.error), step)


def _raised(failure: Failure, step: Step | ChildStep) -> Exception:
    """What the workflow sees of a failure: never a class that ends a task or a loop instead of being raised."""
    error = step.exception(failure)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    of, what = (ChildFailed, step.workflow) if isinstance(step, ChildStep) else (ActivityFailed, step.activity)
    return of(what.name, failure.type, failure.message, failure.traceback)
