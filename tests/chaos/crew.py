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
    from tests.chaos.findings import Findings
    from tests.faults.machine import Machine
    from tests.house import House, WorkerProcess

_CLOCK = ROOT / "tests" / "faults" / "wrong_clock"
_OPTIONS = (
    *("--lane", "default", "--lane", "elsewhere"),
    *("--lease", "3s", "--poll", "200ms", "--grace", "3s", "--log-level", "warning"),
)
_PAUSE = 0.05
_GIVEN_UP_AFTER = 30.0
_LEAVES_WITHIN = 15.0
_WORKS = "a worker works until it is told to leave"
_LEAVES = "R7. who is told to leave leaves"
_TAKEN_OVER = "4. what a dead worker held is in other hands"
_CANNOT_BEGIN = (2, 3)
"""The exit codes of a worker that began while the server had no connections left, or was away."""
_REGISTERED = "select exists (select from holdfast.worker where pid = $1 and started_at > to_timestamp($2))"
_HOLDERS = """
select array_agg(distinct b.worker_id)
  from holdfast.task t
  join holdfast.bucket b on b.id = t.bucket_id
  join holdfast.worker w on w.id = b.worker_id
 where w.pid = $1
"""
_BUSY = """
select array_agg(distinct w.pid order by w.pid)
  from holdfast.task t
  join holdfast.bucket b on b.id = t.bucket_id
  join holdfast.worker w on w.id = b.worker_id
 where w.ended_at is null
"""
_HOLDS = """
select exists (select from holdfast.task t join holdfast.bucket b on b.id = t.bucket_id
                where b.worker_id = any ($1::int[]))
"""


class Crew:
    """Worker processes that connect through ``far``."""

    def __init__(self, machine: Machine, far: House, findings: Findings, env: dict[str, str], size: int) -> None:
        self._machine = machine
        self._far = far
        self._findings = findings
        self._env = env
        self._size = size
        self._version = 1
        self._hours = 0
        self.processes: list[WorkerProcess] = []
        self.recoveries: list[float] = []
        """After how many seconds all that a killed worker held was in other hands, or ended."""
        self.thawed: dict[int, list[float]] = {}
        """When the processes that were frozen went on, by the clock of the ledger."""
        self._frozen: set[int] = set()
        self._told: set[int] = set()
        """Those that were told to leave, or killed."""
        self._born: dict[int, float] = {}
        self._watches: set[asyncio.Task[None]] = set()

    async def fill(self) -> None:
        """Starts what is missing."""
        for one in self.processes:
            if not one.is_running:
                await self._look_at_end(one)
        self.processes = [one for one in self.processes if one.is_running]
        while len(self.processes) < self._size:
            self.processes.append(await self._start())

    async def _look_at_end(self, one: WorkerProcess) -> None:
        """Who was not told to leave has either been killed, by what it executed, or has had nobody to turn to."""
        code = await one.exit()
        self._findings.looked[_WORKS] += 1
        if one.pid in self._told or code == -signal.SIGKILL:
            return
        if code in _CANNOT_BEGIN and not await self._machine.ask(_REGISTERED, one.pid, self._born[one.pid]):
            return
        sentence = f"process {one.pid} has ended with exit code {code}"
        self._findings.blame(_WORKS, sentence)

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
        """Ends every worker in order, and says which do not leave."""
        for one in self.processes:
            if one.is_running:
                with suppress(ProcessLookupError):
                    one.send(signal.SIGCONT)
                    self.tell(one)
        for one in self.processes:
            try:
                await one.exit(patience=_LEAVES_WITHIN)
            except TimeoutError:
                sentence = f"process {one.pid} was told to, and was there {_LEAVES_WITHIN:g} s later"
                self._findings.blame(_LEAVES, sentence)
            self._findings.looked[_LEAVES] += 1
            await one.end()
        self.processes = []

    def stop_watching(self) -> None:
        """Nobody waits any more until something is in other hands."""
        for watch in self._watches:
            watch.cancel()

    def tell(self, one: WorkerProcess) -> None:
        """To leave in order."""
        self._told.add(one.pid)
        one.send(signal.SIGTERM)

    async def freeze(self, one: WorkerProcess, seconds: float) -> None:
        """``SIGSTOP``, and ``SIGCONT`` after so long."""
        self._frozen.add(one.pid)
        with suppress(ProcessLookupError):
            one.send(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            self.thawed.setdefault(one.pid, []).append(time.clock_gettime(time.CLOCK_MONOTONIC))
            one.send(signal.SIGCONT)
        self._frozen.discard(one.pid)

    def of(self, pid: int) -> WorkerProcess | None:
        """The one with this process id."""
        return next((one for one in self.processes if one.pid == pid and one.is_running), None)

    def any(self, chance: random.Random) -> WorkerProcess | None:
        """One that runs, and is not frozen."""
        running = [one for one in self.processes if one.is_running and one.pid not in self._frozen]
        return chance.choice(running) if running else None

    async def busy(self, chance: random.Random) -> WorkerProcess | None:
        """One that holds runs just now; or any, if none does; but none that is frozen."""
        pids: list[int] = await self._machine.ask(_BUSY) or []
        busy = [one for pid in pids if pid not in self._frozen and (one := self.of(pid)) is not None]
        return chance.choice(busy) if busy else self.any(chance)

    async def kill(self, one: WorkerProcess) -> None:
        """``kill -9``; how long its runs take to be in other hands is watched, if it has any."""
        self._told.add(one.pid)
        await one.kill()
        workers: list[int] | None = await self._machine.ask(_HOLDERS, one.pid)
        if workers:
            self._watch(workers)

    def _watch(self, workers: list[int]) -> None:
        task = asyncio.create_task(self._recovery(workers))
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _recovery(self, workers: list[int]) -> None:
        began = time.monotonic()
        self._findings.looked[_TAKEN_OVER] += 1
        while await self._machine.ask(_HOLDS, workers) is not False:
            if time.monotonic() - began > _GIVEN_UP_AFTER:
                sentence = f"workers {workers} were killed, and still have runs {_GIVEN_UP_AFTER:g} s later"
                self._findings.blame(_TAKEN_OVER, sentence)
                return
            await asyncio.sleep(_PAUSE)
        self.recoveries.append(time.monotonic() - began)

    async def _start(self) -> WorkerProcess:
        env = {**self._env, "CHAOS_VERSION": str(self._version)}
        if self._hours:
            env |= {"HOLDFAST_TEST_CLOCK": str(self._hours), "PYTHONPATH": os.pathsep.join([str(_CLOCK), str(ROOT)])}
            self._hours = 0
        began = time.time()
        process = await self._far.process("tests.chaos.workload", *_OPTIONS, env=env)
        # Process ids come again.
        self._born[process.pid] = began
        self._told.discard(process.pid)
        return process
