"""What comes of an attempt that was handed over: what came from outside, or nothing in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ActivityFailed, ActivityTimedOut, HoldfastError, InvalidInput
from holdfast.core.failure import Failure
from holdfast.core.remake import type_name
from holdfast.worker.attempt import Outcome
from holdfast.worker.raised import as_raised

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.workflow.activity import Activity
    from holdfast.workflow.outside import Outside


def outcome_of(outside: Outside, activity: Activity[..., Any], now: datetime) -> Outcome | None:
    """Its outcome; None while there is none."""
    elapsed = 0.0 if outside.handed_at is None else max(0.0, (now - outside.handed_at).total_seconds())
    if outside.came is not None:
        return completed(activity, outside.came.output, outside.came.error, elapsed)
    return out_of_time(activity, elapsed) if is_over(outside, now) else None


def is_over(outside: Outside, now: datetime) -> bool:
    """Whether its time is over."""
    return outside.handed_at is not None and outside.until is not None and outside.until <= now


def completed(activity: Activity[..., Any], output: str | None, error: str | None, elapsed: float) -> Outcome:
    """The outcome that this completion makes, as JSON text: checked, since anybody may have sent it."""
    if error is not None:
        failure = _failure(error)
        return Outcome(None, as_raised(failure), elapsed, failure=failure)
    try:
        text, _ = activity.returns.encode(activity.returns.decode(output))
    except HoldfastError as misfit:
        refusal = InvalidInput(f"what {activity.what} was completed with from outside is of another type: {misfit}")
        return Outcome(None, refusal, elapsed)
    return Outcome(text, None, elapsed)


def out_of_time(activity: Activity[..., Any], elapsed: float) -> Outcome:
    """The outcome of nothing."""
    error = ActivityTimedOut(activity.name, "TimeoutError", "was not completed from outside within its timeout")
    return Outcome(None, error, elapsed, timed_out=True)


def _failure(text: str) -> Failure:
    try:
        return Failure.from_json(text)
    except Exception:
        return Failure(type=type_name(ActivityFailed), message=text)
