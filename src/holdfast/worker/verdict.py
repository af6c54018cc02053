"""What follows from an attempt at an activity: its outcome, or another attempt."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.core.seal import Seal
    from holdfast.worker.attempt import Outcome
    from holdfast.worker.calls import Call
    from holdfast.worker.clock import DatabaseClock


class Conclusion(NamedTuple):
    """The activity's outcome: a value as stored, or how it failed for good."""

    output: str | None
    failure: Failure | None


class Again(NamedTuple):
    """The attempt failed, and another follows after ``delay``."""

    failure: Failure
    delay: timedelta


def judge(call: Call, outcome: Outcome, seal: Seal, clock: DatabaseClock) -> Conclusion | Again:
    """Decides it by the activity's policy."""
    activity = call.command.activity
    if outcome.error is None:
        try:
            return Conclusion(seal.close(outcome.output or "null", what=f"the result of {activity.what}"), None)
        except HoldfastError as refusal:
            return Conclusion(None, Failure.of(refusal))
    failure = outcome.as_failure(outcome.error)
    delay = activity.retry.decide(outcome.error, call.failed + 1, random.random())
    left = call.left(clock.now())
    if delay is None or (left is not None and delay.total_seconds() >= left):
        return Conclusion(None, failure)
    return Again(failure, delay)
