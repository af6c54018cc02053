"""How a workflow run ended, as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.store.writes import End

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.worker.desk import Desk
    from holdfast.worker.held import Unit
    from holdfast.workflow.instance import Ended

OUT_OF_TIME = Failure(type="holdfast.core.errors:RunTimedOut", message="the run's timeout has passed", reason="timeout")


def as_stored(end: Ended, desk: Desk, *, name: str, parent: UUID | None) -> End:
    """The end of a run of the workflow ``name``, a child of ``parent``; a result that cannot be stored is a failure."""
    ending, output, failure = end.ending, end.output, end.failure
    if output is not None:
        try:
            output = desk.seal.close(output, what=f"the result of workflow {name!r}")
        except HoldfastError as refusal:
            ending, output, failure = Ending.FAILED, None, Failure.of(refusal)
    return End(ending, output, None if failure is None else desk.sealed(failure), parent)


def refused(unit: Unit, error: BaseException, desk: Desk, *, name: str, parent: UUID | None) -> End:
    """The end of a run of which the database refuses, for good, what it wants written."""
    if unit.end is not None and unit.end.output is None:
        failure = Failure(type="holdfast.core.errors:HoldfastError", message="the error could not be stored")
    else:
        failure = Failure.of(HoldfastError(f"the database refused what workflow {name!r} wrote: {error}"))
    return End(Ending.FAILED, None, desk.sealed(failure), parent)


def stuck() -> HoldfastError:
    """Why a run that waits for nothing is blocked."""
    return HoldfastError(
        "the workflow waits for something that nothing in it will ever do (no timer, activity, child or signal is open)"
    )
