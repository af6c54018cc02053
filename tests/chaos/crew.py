"""The worker processes, of which there are always as many; who dies is replaced."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.house import ROOT

if TYPE_CHECKING:
    from tests.faults.machine import Machine
    from tests.house import House, WorkerProcess

_CLOCK = ROOT / "tests" / "faults" / "wrong_clock"
_OPTIONS = (
    *("--lane", "default", "--lane", "elsewhere"),
    *("--lease", "3s", "--poll", "200ms", "--grace", "3s", "--log-level", "warning"),
)
_PAUSE = 0.05
_HOLDER = """
select b.worker_id
  from holdfast.task t
  join holdfast.bucket b on b.id = t.bucket_id
  join holdfast.worker w on w.id = b.worker_id
 where w.pid = $1
 limit 1
"""
_BUSY = """
select array_agg(distinct w.pid order by w.pid)
  from holdfast.task t
  join holdfast.bucket b on b.id = t.bucket_id
  join holdfast.worker w on w.id = b.worker_id
 where w.ended_at is null
"""
_HOLDS = """
select exists (select from holdfast.task t join holdfast.bucket b on b.id = t.bucket_id where b.worker_id = $1)
"""


class Crew:
    """Worker processes that connect through ``far``."""

    def __init__(self, machine: Machine, far: House, env: dict[str, str], size: int) -> None:
        self._machine = machine
        self._far = far
        self._env = env
        self._size = size
        self._version = 1
        self._hours = 0
        self.processes: list[WorkerProcess] = []
        self.recoveries: list[float] = []
        """After how many seconds all that a killed worker held was in other hands, or ended."""
        self.thawed: dict[int, float] = {}
        """When the processes that were frozen went on, by the clock of the ledger."""
        self._watches: set[asyncio.Task[None]] = set()

    async def fill(self) -> None:
        """Starts what is missing."""
        self.processes = [one for one in self.processes if one.is_running]
        while len(self.processes) < self._size:
            self.processes.append(await self._start())

    async def ready(self) -> None:
        """Returns when all have registered."""
        for one in self.processes:
            await one.name()

    def deploy(self) -> None:
        """Those who start from now on have the other version."""
        self._version = 3 - self._version

    def settle(self) -> None:
        """Those who start from now on have the newest version, and a clock that is right."""
        self._version, self._hours = 2, 0

    def misset(self, hours: int) -> None:
        """The next to start has a clock that is wrong by so many hours."""
        self._hours = hours

    async def stop_all(self) -> None:
        """Ends every worker in order."""
        for one in self.processes:
            if one.is_running:
                with suppress(ProcessLookupError):
                    one.send(signal.SIGCONT)
                    one.send(signal.SIGTERM)
        for one in self.processes:
            with suppress(TimeoutError):
                await one.exit(patience=15)
            await one.end()
        self.processes = []
        for watch in self._watches:
            watch.cancel()

    def of(self, pid: int) -> WorkerProcess | None:
        """The one with this process id."""
        return next((one for one in self.processes if one.pid == pid and one.is_running), None)

    def any(self, chance: random.Random) -> WorkerProcess | None:
        """One that runs."""
        running = [one for one in self.processes if one.is_running]
        return chance.choice(running) if running else None

    async def busy(self, chance: random.Random) -> WorkerProcess | None:
        """One that holds runs just now; or any, if none does."""
        pids: list[int] = await self._machine.ask(_BUSY) or []
        busy = [one for pid in pids if (one := self.of(pid)) is not None]
        return chance.choice(busy) if busy else self.any(chance)

    async def kill(self, one: WorkerProcess) -> None:
        """``kill -9``; how long its runs take to be in other hands is watched, if it has any."""
        await one.kill()
        worker = await self._machine.ask(_HOLDER, one.pid)
        if worker is not None:
            self._watch(int(worker))

    def _watch(self, worker: int) -> None:
        task = asyncio.create_task(self._recovery(worker))
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _recovery(self, worker: int) -> None:
        began = time.monotonic()
        while await self._machine.ask(_HOLDS, worker) is not False:
            await asyncio.sleep(_PAUSE)
        self.recoveries.append(time.monotonic() - began)

    async def _start(self) -> WorkerProcess:
        env = {**self._env, "CHAOS_VERSION": str(self._version)}
        if self._hours:
            env |= {"HOLDFAST_TEST_CLOCK": str(self._hours), "PYTHONPATH": os.pathsep.join([str(_CLOCK), str(ROOT)])}
            self._hours = 0
        return await self._far.process("tests.chaos.workload", *_OPTIONS, env=env)
