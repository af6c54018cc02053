"""The ceiling as the scenarios use it: a process of ``ceiling.py``, on the same server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.failure import BenchFailed
from bench.sitting import Sitting

_PROGRAM = Path(__file__).parent / "ceiling.py"
_SHORTEST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """The bare SQL that corresponds to a scenario, and which of its figures does."""

    steps: int
    reads: Literal["runs_per_second", "steps_per_second", "starts_per_second"]
    room: int = 1000
    pinned: bool = False
    way: Literal["backlog", "singles", "alone"] = "backlog"
    """A backlog of ``room`` runs at once; single starts from ``room`` tasks; runs one after the other, with starts."""

    async def measure(self, sitting: Sitting) -> float:
        """The ceiling of this moment, measured for about as long as the engine is.

        Raises:
            BenchFailed: the program failed.
        """
        return float((await self.look(sitting))[self.reads])

    async def look(self, sitting: Sitting) -> Mapping[str, Any]:
        """All that the program says of this moment.

        Raises:
            BenchFailed: the program failed.
        """
        seconds = sitting.plan.seconds
        pace = sitting.ceilings.get(self) or await self._calibrate(sitting, min(_SHORTEST, seconds))
        said = await self._run(sitting, _rounded(pace * seconds))
        sitting.ceilings[self] = float(said["runs_per_second"])
        sitting.note(f"ceiling {said[self.reads]:,} ({self.reads.replace('_', ' ')})")
        return said

    async def _calibrate(self, sitting: Sitting, length: float) -> float:
        """How many runs it executes per second."""
        runs = max(20, self.room)
        while True:
            said = await self._run(sitting, runs)
            if said["seconds"] >= length:
                return float(said["runs_per_second"])
            runs = _rounded(runs * min(10.0, 1.5 * length / max(float(said["seconds"]), 0.01)))

    async def _run(self, sitting: Sitting, runs: int) -> dict[str, Any]:
        async with sitting.server.database(empty=True) as database:
            await database.settle()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(_PROGRAM),
                *(f"--steps={self.steps}", f"--room={self.room}", f"--runs={runs}", f"--way={self.way}"),
                *(["--pin-xmin"] if self.pinned else []),
                env={**os.environ, "HOLDFAST_DATABASE_URL": database.url},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode != 0:
                raise BenchFailed(f"ceiling.py failed: {err.decode(errors='replace')[-2000:].strip()}")
            said: dict[str, Any] = json.loads(out)
            return said


def _rounded(runs: float) -> int:
    """Full batches, where there are that many."""
    return max(20, round(runs) if runs < 1000 else round(runs / 500) * 500)
