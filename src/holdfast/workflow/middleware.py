"""Middleware: what an app puts around the starts, the activities and the workflow passes of all its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from holdfast.core.chain import CallNext

if TYPE_CHECKING:
    from holdfast.client.starting import Starting
    from holdfast.workflow.attempted import ActivityInfo
    from holdfast.workflow.info import RunInfo


PassEnding = Literal["succeeded", "failed", "cancelled", "continued", "parked", "blocked", "given back", "lost"]
"""How a pass is over: the run has ended, or waits, or cannot go on with this code, or goes elsewhere; or this worker
has lost it, and another one goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPass:
    """A stay of a workflow run in a worker: from when its code is about to be entered until it is parked or ended.

    ``outgoing`` begins as the run's headers and may be changed: activities and children that the run starts in this
    pass get these. Its own code sees the run's, ``run_info().headers``, which are the same on every replay.
    """

    run: RunInfo
    worker: str
    number: int
    """The run was held so many times, this one included."""
    outgoing: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOutcome:
    """How a pass is over. What it says is durable, unless the run was lost."""

    ending: PassEnding
    error_type: str | None = None
    """Of a failed run: the class of its error, ``shop.orders:OutOfStock``."""
    error_message: str | None = None
    """Of a failed run its error, of a blocked one why it is blocked."""
    traceback: str | None = field(default=None, repr=False)


class Middleware:
    """What stands around starts, activities and workflow passes: override what you need, and ``app.use(...)`` it.

    Each method gets what it is about, and ``call_next``, which goes on with the middleware registered after this one,
    and at last with the thing itself. It is called at most once. What is not overridden costs nothing.
    """

    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]]) -> Sequence[UUID]:
        """Around a start by a client, before anything is sent; gives the ids of the runs.

        It may change ``starting.headers``. What it raises comes out of ``client.start``, and nothing is started then.
        """
        return await call_next()

    async def activity(self, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
        """Around an attempt at an activity, of a workflow or a job, in the worker; gives what the activity gives.

        What it gives and raises is the attempt's outcome. Context variables that it sets are seen by the activity, in a
        thread too, but not in a process of its own. It is part of the attempt, and of its timeout.
        """
        return await call_next()

    async def workflow_pass(self, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
        """Around a pass of a workflow run, outside of the workflow's own loop: once for each claim.

        The code is entered in ``call_next``, which gives how the pass is over. It only looks on: what it gives is not
        used, and what it raises is logged, so that no replay can come out otherwise because of it.
        """
        return await call_next()
