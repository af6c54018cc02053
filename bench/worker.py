"""The worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.failure import BenchFailed
from bench.footprint import Footprint
from bench.tuning import Tuning

_ROOT = Path(__file__).parent.parent
_PATIENCE = 60.0

WORKLOAD = "bench.workload:app"
"""What is measured mostly."""


class WorkerProcess:
    """One process of ``holdfast worker`` that executes the workload."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._stopping = False
        self.is_lost = False
        """Whether it has ended without having been told to."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def footprint(self) -> Footprint:
        """The memory that it has."""
        return Footprint.of(self._process.pid)

    async def stop(self) -> None:
        """Ends it in order; raises BenchFailed if that does not work."""
        self._stopping = True
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_PATIENCE):
                code = await self._process.wait()
        except TimeoutError:
            raise self.failed("does not stop") from None
        if code != 0:
            raise self.failed(f"stopped with exit code {code}")

    async def watch(self, body: asyncio.Task[Any]) -> None:
        """Cancels ``body``, which may be waiting for results, if the worker ends without having been told to."""
        await self._process.wait()
        if not self._stopping:
            self.is_lost = True
            body.cancel()

    def failed(self, how: str) -> BenchFailed:
        """The error that says how, and what the worker has said."""
        said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        return BenchFailed(f"the worker {how}: {said or 'it said nothing'}")

    async def kill(self) -> None:
        """Ends it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def run_worker(
    url: str, tuning: Tuning, *, app: str = WORKLOAD, lanes: Sequence[str] = ()
) -> AsyncGenerator[WorkerProcess]:
    """A worker on this database for as long as the block lasts, of its default lane or of these."""
    with TemporaryDirectory(prefix="holdfast-bench-worker-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "holdfast", "worker", "--app", app),
                *tuning.arguments,
                *(f"--lane={lane}" for lane in lanes),
                *("--skip-warm-up", "--log-level", "warning"),
                cwd=_ROOT,
                # Not on the command line, which everybody can read.
                env={**os.environ, "HOLDFAST_DATABASE_URL": url},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        worker = WorkerProcess(process, log)
        body = asyncio.current_task()
        assert body is not None
        watch = asyncio.create_task(worker.watch(body))
        try:
            yield worker
            await worker.stop()
        except asyncio.CancelledError:
            if not worker.is_lost:
                raise
            body.uncancel()
            raise worker.failed(f"has ended with exit code {process.returncode}") from None
        finally:
            watch.cancel()
            await worker.kill()
