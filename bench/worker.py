"""The worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.failure import BenchFailed
from bench.tuning import Tuning

_ROOT = Path(__file__).parent.parent
_PATIENCE = 60.0


class WorkerProcess:
    """One process of ``holdfast worker`` that executes the workload."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises BenchFailed if it has ended by itself."""
        if self._process.returncode is not None:
            raise BenchFailed(f"the worker has ended with exit code {self._process.returncode}: {self._said()}")

    async def stop(self) -> None:
        """Ends it in order; raises BenchFailed if that does not work."""
        self.check()
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_PATIENCE):
                code = await self._process.wait()
        except TimeoutError:
            raise BenchFailed(f"the worker does not stop: {self._said()}") from None
        if code != 0:
            raise BenchFailed(f"the worker stopped with exit code {code}: {self._said()}")

    async def kill(self) -> None:
        """Ends it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:].strip() or "it said nothing"


@asynccontextmanager
async def run_worker(url: str, tuning: Tuning, *, profile: Path | None = None) -> AsyncGenerator[WorkerProcess]:
    """A worker on this database for as long as the block lasts; ``profile`` is the file for its profile."""
    with TemporaryDirectory(prefix="holdfast-bench-worker-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *([] if profile is None else ["-m", "cProfile", "-o", str(profile)]),
                *("-m", "holdfast", "worker", "--app", "bench.workload:app"),
                *tuning.arguments,
                *("--skip-warm-up", "--log-level", "warning"),
                cwd=_ROOT,
                # Not on the command line, which everybody can read.
                env={**os.environ, "HOLDFAST_DATABASE_URL": url},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        worker = WorkerProcess(process, log)
        try:
            yield worker
            await worker.stop()
        finally:
            await worker.kill()
