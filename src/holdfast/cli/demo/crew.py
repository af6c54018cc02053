"""The demo's workers: real processes, started by the real command, and killed for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.supervise import Leash

LEASE = timedelta(seconds=3)


class Crew:
    """Worker processes; none outlives this block."""

    def __init__(self, *, lane: str, environment: Mapping[str, str], log: Path) -> None:
        self._lane = lane
        self._environment = environment
        self._log = log
        self._leash = Leash()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._leash.close()

    def start(self, name: str) -> int:
        """Starts a worker and gives its process id."""
        options = [
            *("--app", "holdfast.cli.demo.examples:app", "--lane", self._lane, "--name", name),
            *("--lease", f"{LEASE.total_seconds():g}s", "--skip-warm-up"),
        ]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", "worker", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, **self._leash.environment},
                pass_fds=[self._leash.fd],
                # Ctrl-C is for the demo, which then ends them.
                start_new_session=True,
            )
        self._processes[process.pid] = process
        return process.pid

    def pause(self, pid: int) -> None:
        """Holds a worker still, so that it can be looked at."""
        self._processes[pid].send_signal(signal.SIGSTOP)

    def resume(self, pid: int) -> None:
        """Lets it go on."""
        self._processes[pid].send_signal(signal.SIGCONT)

    def kill(self, pid: int) -> None:
        """Kills it with -9, and returns when it is gone."""
        process = self._processes.pop(pid)
        process.kill()
        process.wait()

    def ended(self) -> dict[int, int]:
        """Those that ended by themselves, with their exit codes."""
        return {pid: code for pid, process in self._processes.items() if (code := process.poll()) is not None}

    async def stop(self) -> dict[int, int]:
        """Ends all in order, and gives their exit codes."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        codes = {pid: await asyncio.to_thread(process.wait, 30) for pid, process in self._processes.items()}
        self._processes.clear()
        return codes
