"""Several processes of one kind, kept alive and ended together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from holdfast.supervise.backoff import Backoff
from holdfast.supervise.leash import Leash

_log = logging.getLogger("holdfast.supervise")

_HEALTHY = 30.0
"""A process that has lived for so many seconds is started again at once when it dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that ended though nobody told it to. ``code`` is negative for the signal that killed it."""

    pid: int
    code: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"process {self.pid} ended with code {self.code}"
        with suppress(ValueError):
            return f"process {self.pid} was killed by {signal.Signals(-self.code).name}"
        return f"process {self.pid} was killed by signal {-self.code}"


class Fleet:
    """``count`` processes of ``command``. One that dies is replaced, after a back-off if it did not live long.

    The invariant: at every moment each process that was started is either waited for by its own task here, or has
    ended, or was let go of; and none outlives this process by more than it takes to end in order, because each is on
    its leash.

    Args:
        command: What to start. Each process has a session of its own, so that Ctrl-C reaches it through us alone.
        count: How many.
        on_death: Awaited for each that died, before it is replaced. An error in it is logged.
        hopeless: Exit codes after which a new one would fail alike: the others are stopped, and the code is ours.
        patience: Seconds after a stop until what is still there is killed.
        longest_rest: Seconds that the back-off before a replacement grows to.
        lets_go: Whether the leash ends them, in order, where ``run`` is cancelled; or else they are killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        on_death: Callable[[Death], Awaitable[None]],
        hopeless: frozenset[int] = frozenset(),
        patience: float = 40.0,
        longest_rest: float = 30.0,
        lets_go: bool = False,
    ) -> None:
        self._command = command
        self._count = count
        self._on_death = on_death
        self._hopeless = hopeless
        self._patience = patience
        self._longest_rest = longest_rest
        self._lets_go = lets_go
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stops = 0
        self._stopping = asyncio.Event()
        self._code = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that live now."""
        return tuple(self._processes)

    async def run(self) -> int:
        """Keeps the processes alive until :meth:`stop`, or until each has ended by itself with code 0.

        Gives the exit code for the whole: 0, or that of the process that is hopeless, or 1 if one had to be killed.
        """
        leash = Leash()
        try:
            async with asyncio.TaskGroup() as group:
                members = [group.create_task(self._keep(leash)) for _ in range(self._count)]
                guard = group.create_task(self._end_what_stays())
                await asyncio.wait(members)
                guard.cancel()
        finally:
            leash.close()
        return self._code

    def stop(self) -> None:
        """Ends all in order (SIGTERM); a second call asks them to hurry with another, a third kills them."""
        self._stops += 1
        self._stopping.set()
        for process in self._processes.values():
            self._tell(process)

    async def _keep(self, leash: Leash) -> None:
        backoff = Backoff(first=0.2, most=self._longest_rest)
        while not self._stopping.is_set():
            began = time.monotonic()
            process = await self._start(leash)
            code = await self._wait(process)
            if code == 0:
                return
            await self._report(Death(pid=process.pid, code=code))
            if self._stopping.is_set():
                # A SIGTERM that came before the process could listen for it ended it well enough.
                self._code = self._code or int(code != -signal.SIGTERM)
                return
            if code in self._hopeless:
                self._code = code
                self.stop()
                return
            if time.monotonic() - began >= _HEALTHY:
                backoff.reset()
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff.delay())

    async def _start(self, leash: Leash) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **leash.environment},
            pass_fds=[leash.fd],
            start_new_session=True,
        )
        self._processes[process.pid] = process
        # Told to stop while it was being started: it was not among those that heard of it.
        if self._stops:
            self._tell(process)
        _log.info("process %d started", process.pid)
        return process

    async def _wait(self, process: asyncio.subprocess.Process) -> int:
        try:
            return await process.wait()
        except asyncio.CancelledError:
            if not self._lets_go:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            raise
        finally:
            del self._processes[process.pid]

    async def _report(self, death: Death) -> None:
        _log.warning("%s", death)
        try:
            await self._on_death(death)
        except Exception:
            _log.exception("what was to be done about the dead process %d failed", death.pid)

    async def _end_what_stays(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._patience)
        for process in self._processes.values():
            _log.warning("process %d did not end within %g s; it is killed", process.pid, self._patience)
            process.kill()

    def _tell(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL if self._stops > 2 else signal.SIGTERM)
