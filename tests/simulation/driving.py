"""Runs that are driven by hand in a simulation: who triggers them, who takes them, and what each step came to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast import StepStatus
from holdfast.core.errors import DatabaseError, ReceiptLost, RunEnded, StepEnded, UnknownWorkflow
from tests.simulation.programs import DRIVEN

if TYPE_CHECKING:
    from holdfast import DrivenRun
    from holdfast.client import Client, RunHandle
    from tests.simulation.backends import Backends
    from tests.simulation.process import Process
    from tests.simulation.world import World

_WAIT = timedelta(seconds=1)
_VISIBILITY = timedelta(seconds=2)
_RECORDED = """
select exists (select from holdfast.journal j where j.run_id = t.run_id and j.key = $3) as recorded
  from holdfast.task t
 where t.run_id = $1
   and t.hold = $2
   and t.flags & 8 <> 0
   and t.due_at > simulated.clock_timestamp()
"""


class Driving:
    """Two steps, the second of which is tried again as often as the input says."""

    def __init__(self, world: World, backends: Backends) -> None:
        self._world = world
        self._backends = backends

    async def trigger(self, client: Client, n: int) -> RunHandle[Any]:
        """Makes one run; its workflow too, which changes nothing where it is there."""
        await client.driven.create_workflow(DRIVEN)
        return await client.driven.trigger(DRIVEN, {"n": n})

    async def consume(self, process: Process, client: Client) -> None:
        """Takes and drives them, for ever."""
        while True:
            try:
                async with client.driven.consumer(DRIVEN, name=process.name, visibility=_VISIBILITY) as consumer:
                    while True:
                        await self._drive_all(process, await consumer.dequeue(batch_size=2, wait=_WAIT))
            except (DatabaseError, UnknownWorkflow):
                await asyncio.sleep(0.2)

    async def _drive_all(self, process: Process, runs: list[DrivenRun]) -> None:
        # What nobody refers to any more comes again: so none may stay in a variable.
        while runs:
            try:
                await self._drive(process, runs.pop(0))
            except (DatabaseError, ReceiptLost, RunEnded, StepEnded) as error:
                self._world.note(process.name, f"leaves a run that it drives: {type(error).__name__}")

    async def _drive(self, process: Process, run: DrivenRun) -> None:
        n = run.input["n"]
        first = await run.acquire_step("first")
        if first.status is StepStatus.EXECUTE:
            self._execute(process, run, first.key)
            await asyncio.sleep(0.05)
            await first.success(n + 1)
        second = await run.acquire_step("second")
        if second.status is StepStatus.EXECUTE:
            self._execute(process, run, second.key)
            if second.attempt <= n % 3:
                await second.retry(after=timedelta(milliseconds=200), error="not yet")
                return
            await second.success(2 * first.value)
        await run.complete(second.value)

    def _execute(self, process: Process, run: DrivenRun, key: str) -> None:
        """What is recorded is not to be executed, as long as it is in these hands."""
        self._world.note(process.name, f"executes {key} of {run.id}")
        self._world.after(0.0, partial(self._check, run.id, run.receipt.hold, key))

    def _check(self, run_id: object, hold: int, key: str) -> None:
        # The tables are looked at from outside, and not from within a step of a process.
        if any(row["recorded"] for row in self._backends.look(_RECORDED, run_id, hold, key)):
            self._world.blame(f"{key} of run {run_id} is executed, and is recorded")
