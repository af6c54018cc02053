"""The deliberate defects as a simulation has them: two of them look otherwise where one process runs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from holdfast.worker import heart
from tests.rules.change import replaced, rewritten
from tests.rules.defects import DEFECTS, Defect

_LOOKED_AT = (
    "    perform 1 from holdfast.worker w where w.id = v_worker.id for update skip locked;\n",
    "    perform 1;\n",
)
_GUARD = (
    """         and w.epoch = v_worker.epoch
         and w.ended_at is null
         and w.lease_until <= clock_timestamp();
""",
    "         and true;\n",
)


class _OnTheLoop:
    """Beside nothing: on the worker's own loop."""

    def __init__(self) -> None:
        self._roused = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, beats: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._task = asyncio.get_running_loop().create_task(beats())

    def rouse(self) -> None:
        self._roused.set()

    async def rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._roused.wait()
        except TimeoutError:
            pass
        self._roused.clear()

    async def end(self, patience: float) -> None:
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience)


class _HeartOnTheLoop(heart.Heart):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "beside": _OnTheLoop()})


ENGINES: Mapping[str, Defect] = {
    **DEFECTS,
    "no epoch check in recovery": Defect(
        # A statement is not interrupted here. So the look at the row goes too, which passes over who is renewing it.
        DEFECTS["no epoch check in recovery"].seen,
        database=rewritten("recover", _LOOKED_AT, _GUARD),
    ),
    "heartbeat on the event loop": Defect(
        # No thread waits for another one here.
        DEFECTS["heartbeat on the event loop"].seen,
        process=replaced("holdfast.worker.roof.Heart", _HeartOnTheLoop),
    ),
}
"""By what was taken out."""
