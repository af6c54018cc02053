"""What a worker in this process has in memory."""

from __future__ import annotations

from uuid import UUID

from holdfast.app.hosted import HostedWorker
from holdfast.worker.workflow_run import WorkflowRun


def held_by(worker: HostedWorker, run_id: UUID) -> WorkflowRun:
    """The run as this worker holds it."""
    assert worker._worker is not None
    assert worker._worker._tenure is not None
    run = worker._worker._tenure._holdings.held[run_id]
    assert isinstance(run, WorkflowRun)
    return run
