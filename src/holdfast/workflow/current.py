"""Which run the code that asks belongs to: the one whose loop is running in this thread."""

from __future__ import annotations

from holdfast.workflow.cpython import running_loop
from holdfast.workflow.info import RunInfo
from holdfast.workflow.loop import WorkflowLoop


def current_loop() -> WorkflowLoop | None:
    """The loop of the run whose code asks; None outside of workflow code."""
    loop = running_loop()
    return loop if type(loop) is WorkflowLoop else None


def workflow_loop(what: str, otherwise: str) -> WorkflowLoop:
    """The loop of the run whose code asks; ``what`` was called, and ``otherwise`` is what to use outside of a workflow.

    Raises:
        RuntimeError: it is not workflow code that asks.
    """
    loop = running_loop()
    if type(loop) is not WorkflowLoop:
        raise RuntimeError(f"{what} works in workflow code only, while a worker runs it; elsewhere {otherwise}")
    return loop


def run_info() -> RunInfo:
    """The run that this workflow code belongs to."""
    return workflow_loop("run_info()", "use activity_info(), or what client.start() returned").known_as
