"""How a workflow run ended, as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.store.children import Next
from holdfast.store.writes import End

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.worker.desk import Desk
    from holdfast.worker.held import Unit
    from holdfast.workflow.instance import Ended

OUT_OF_TIME = Failure(type="holdfast.core.errors:RunTimedOut", message="the run's timeout has passed", reason="timeout")


def as_stored(end: Ended, desk: Desk, *, name: str, parent: UUID | None) -> tuple[End, Next | None]:
    """The end of a run of the workflow ``name``, a child of ``parent``, and what goes on for it, if it is continued.

    A result or an input that cannot be stored is a failure.
    """
    try:
        if end.next_input is not None:
            text = desk.seal.close(end.next_input, what=f"the input of workflow {name!r}")
            return End(end.ending, None, None, parent), Next(desk.ids.next(), text, "\n".join(end.unread))
        output = None if end.output is None else desk.seal.close(end.output, what=f"the result of workflow {name!r}")
    except HoldfastError as refusal:
        return End(Ending.FAILED, None, desk.sealed(Failure.of(refusal)), parent), None
    return End(end.ending, output, None if end.failure is None else desk.sealed(end.failure), parent), None


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
