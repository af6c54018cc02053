"""What log lines say of where they come from: the run, its name, the step and attempt, and the worker."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from holdfast.workflow.attempted import current_activity
from holdfast.workflow.current import current_loop

FIELDS = ("run_id", "run_name", "step", "attempt", "worker")

_worker: ContextVar[str] = ContextVar("holdfast_worker")
_at_work: set[str] = set()
"""The workers of this process. What is called from a thread has no context of theirs; with one, there is no doubt."""


@contextmanager
def working_as(name: str) -> Generator[None]:
    """Lines that are logged in the block, and in what it starts, are this worker's."""
    _at_work.add(name)
    token = _worker.set(name)
    try:
        yield
    finally:
        _worker.reset(token)
        _at_work.discard(name)


def worker_here() -> str | None:
    """The name of the worker whose code asks, as far as that is known."""
    return _worker.get(None) or (next(iter(_at_work)) if len(_at_work) == 1 else None)


def of_run(run_id: UUID, name: str) -> dict[str, Any]:
    """What the engine gives as ``extra=`` with a line about a run."""
    return {"run_id": str(run_id), "run_name": name}


class LogContext(logging.Filter):
    """Gives each record ``run_id``, ``run_name``, ``step``, ``attempt`` and ``worker``, as far as they are known.

    For handlers: ``handler.addFilter(LogContext())``. ``run_name`` is the name of the workflow, of a job its activity;
    ``step`` and ``attempt`` are those of an activity, ``charge#1`` and 2. What is not known is None, and what a record
    has already stays. It lets all records through.

    Args:
        worker: What is known of the worker, where nothing else is.
    """

    def __init__(self, *, worker: str | None = None) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds what is known where the line is logged, so it has to be called there."""
        known = vars(record)
        for field, value in zip(FIELDS, _here(), strict=True):
            if known.get(field) is None:
                known[field] = self._worker if value is None and field == "worker" else value
        return True


def _here() -> tuple[str | None, str | None, str | None, int | None, str | None]:
    loop = current_loop()
    worker = None if loop is None else loop.worker
    if worker is None:
        worker = worker_here()
    if loop is not None:
        return str(loop.info.run_id), loop.info.name, None, None, worker
    attempt = current_activity.get(None)
    if attempt is not None:
        info = attempt.info()
        return str(info.run_id), info.workflow or info.name, info.key, info.attempt, worker
    return None, None, None, None, worker
