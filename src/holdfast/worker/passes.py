"""Passes: the stays of workflow runs in this worker, each inside of its middleware.

The middleware of a pass is a task of the worker's loop; the workflow's code is entered from a callback, as ever, and
knows nothing of it. How the pass is over is told by what the run has had written, once that is durable.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.core.failure import Failure
from holdfast.core.states import Ending
from holdfast.worker.workflow_run import WorkflowRun
from holdfast.workflow.log_context import of_run
from holdfast.workflow.middleware import PassEnding, PassOutcome, WorkflowPass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.core.headers import Headers
    from holdfast.core.seal import Seal
    from holdfast.worker.held import Unit
    from holdfast.worker.surroundings import Surroundings

log = logging.getLogger("holdfast.worker")

_PATIENCE = 2.0
"""Seconds for which middleware may be at it after all passes of a worker are over."""

_ENDED: dict[Ending, PassEnding] = {
    Ending.SUCCEEDED: "succeeded",
    Ending.FAILED: "failed",
    Ending.CANCELLED: "cancelled",
    Ending.CONTINUED: "continued",
}


class Passing:
    """One pass, as its run sees it."""

    __slots__ = ("entered", "over", "told")

    def __init__(self, told: WorkflowPass) -> None:
        self.told = told
        self.entered = False
        """Whether its code may be entered."""
        self.over: asyncio.Future[PassOutcome] = asyncio.get_running_loop().create_future()

    @property
    def headers(self) -> Headers:
        """What activities and children get that the run starts now."""
        return self.told.outgoing

    def lose(self) -> None:
        """The run is not this worker's any more."""
        self._end(PassOutcome(ending="lost"))

    def conclude(self, unit: Unit, seal: Seal) -> None:
        """This was written, and with it the pass is over."""
        if not self.over.done():
            self._end(_outcome(unit, seal))

    def _end(self, outcome: PassOutcome) -> None:
        if not self.over.done():
            self.over.set_result(outcome)


class Passes:
    """Opens the passes of one worker."""

    def __init__(self, surroundings: Surroundings, seal: Seal, *, enter: Callable[[WorkflowRun], None]) -> None:
        self._surroundings = surroundings
        self._seal = seal
        self._enter = enter
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, run: WorkflowRun) -> None:
        """The run's turn has come: its middleware begins, and enters its code. Once for each claim."""
        if run.passing is not None:
            return
        info = run.info
        told = WorkflowPass(
            run=info, worker=self._surroundings.herald.name, number=run.hold, outgoing=dict(info.headers)
        )
        passing = run.passing = Passing(told)
        task = self._loop.create_task(self._pass(run, passing), name=f"holdfast pass {run.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def flushed(self, units: Sequence[Unit]) -> None:
        """These writes are durable: some passes may be over with them."""
        for unit in units:
            if unit.end is None and unit.move is None:
                continue
            passing = unit.owner.passing if isinstance(unit.owner, WorkflowRun) else None
            if passing is not None:
                passing.conclude(unit, self._seal)

    async def close(self) -> None:
        """Returns when all middleware is through, or has taken too long for it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_PATIENCE)

    async def _pass(self, run: WorkflowRun, passing: Passing) -> None:
        async def enter() -> PassOutcome:
            self._let_in(run, passing)
            # Shielded: whoever waits for it here may be cancelled, and the run is not.
            return await asyncio.shield(passing.over)

        try:
            await self._surroundings.around_pass(passing.told, enter)()
        except Exception:
            log.exception(
                "the middleware of run %s of %r has failed", run.run_id, run.name, extra=of_run(run.run_id, run.name)
            )
        finally:
            # Whatever the middleware does: it only looks on.
            self._let_in(run, passing)

    def _let_in(self, run: WorkflowRun, passing: Passing) -> None:
        if not passing.entered:
            passing.entered = True
            if not passing.over.done():
                # Not in the context of the middleware: what it sets there is not for the engine, nor for other runs.
                self._loop.call_soon(self._enter, run, context=self._context)


def _outcome(unit: Unit, seal: Seal) -> PassOutcome:
    end = unit.end
    if end is not None:
        if end.error is None:
            return PassOutcome(ending=_ENDED[end.status])
        try:
            failure = Failure.from_json(seal.open(end.error))
        except Exception:
            return PassOutcome(ending=_ENDED[end.status], error_message="the error cannot be read")
        return PassOutcome(
            ending=_ENDED[end.status],
            error_type=failure.type,
            error_message=failure.message,
            traceback=failure.traceback,
        )
    if unit.blocked is not None:
        return PassOutcome(ending="blocked", error_message=unit.blocked)
    return PassOutcome(ending="parked" if unit.move is not None and unit.move.progress else "given back")
