"""How a run ended, as its caller gets it: its result, or an error that says why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from holdfast.core.errors import MissingClass, RunCancelled, RunFailed, RunTimedOut
from holdfast.core.failure import Failure
from holdfast.core.states import Ending

if TYPE_CHECKING:
    from holdfast.core.returns import Returns
    from holdfast.core.seal import Seal
    from holdfast.store.runs import Ended

R = TypeVar("R")

TIMED_OUT = f"{RunTimedOut.__module__}:{RunTimedOut.__qualname__}"
"""The type of the failure of a run whose timeout has passed."""


def open_outcome(run_id: UUID, ended: Ended, returns: Returns[R], seal: Seal) -> R:
    """The result of the run.

    Raises:
        RunFailed, RunTimedOut: caused by what the code raised, where its class can be made again here.
        RunCancelled: the run was cancelled.
        Unreadable: the codec that it was written with is missing here.
    """
    match ended.ending:
        case Ending.SUCCEEDED:
            return returns.decode(None if ended.output is None else seal.open(ended.output))
        case Ending.FAILED:
            failure = read_failure(ended.error, seal)
            raise _failed(run_id, failure) from _cause(failure)
        case Ending.CANCELLED:
            raise RunCancelled(run_id, None if ended.error is None else read_failure(ended.error, seal).message)
        case Ending.CONTINUED:
            raise AssertionError("who waits for a run that was continued waits for the one that goes on for it")


def read_failure(stored: str | None, seal: Seal) -> Failure:
    """The failure that was recorded."""
    if stored is None:
        return Failure(type="unknown", message="no error was recorded")
    return Failure.from_json(seal.open(stored))


def _failed(run_id: UUID, failure: Failure) -> RunFailed:
    kind = RunTimedOut if failure.type == TIMED_OUT else RunFailed
    return kind(run_id, failure.type, failure.message, failure.traceback)


def _cause(failure: Failure) -> BaseException | None:
    if failure.type == TIMED_OUT:
        return None
    try:
        return failure.exception("")
    except MissingClass:
        # Nobody branches on a cause: what is known of it stands in the error itself.
        return None
