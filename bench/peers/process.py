"""An adapter's process, seen from the benchmark."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bench.failure import BenchFailed
from bench.peers.protocol import URL

Role = Literal["client", "worker"]

_PATIENCE = 120.0
_LONGEST_LINE = 2**26


class Adapter:
    """One adapter that runs; speaks to it and listens to it."""

    def __init__(self, what: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._what = what
        self._process = process
        self._log = log

    async def ask(self, do: str, **wish: Any) -> Mapping[str, Any]:
        """Has an errand done; gives what came of it.

        Raises:
            BenchFailed: it failed, or the process ended or says nothing.
        """
        self.tell(do, **wish)
        return await self.hear()

    def tell(self, do: str, **wish: Any) -> None:
        """Asks for something, whose answer is heard later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **wish}).encode() + b"\n")

    async def hear(self, patience: float = _PATIENCE) -> Mapping[str, Any]:
        """What it says next.

        Raises:
            TimeoutError: it has said nothing for so many seconds.
            BenchFailed: it could not do what it was asked for, or has ended.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(patience):
            line = await self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"{self._what} has ended: {self._said()}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise BenchFailed(f"{self._what} failed: {said['error']}")
        return said

    def end(self) -> None:
        """Ends it and whatever it has started, at once: its database goes too."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _said(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return text[-2000:] or "it said nothing"


@asynccontextmanager
async def run_adapter(
    command: Sequence[str], role: Role, *, url: str, task: Mapping[str, Any], cwd: Path
) -> AsyncGenerator[Adapter]:
    """An adapter in a process of its own, for as long as the block lasts."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                role,
                json.dumps(task),
                cwd=cwd,
                env={**os.environ, URL: url},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        adapter = Adapter(f"the {role} of {command[-1]}", process, log)
        try:
            yield adapter
        finally:
            adapter.end()
            await process.wait()
